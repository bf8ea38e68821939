"""Normalizations: batch norm on its own, softmax, norms over channels, groups and places."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from tvm import relax

from tophub_registry.frontends.mxnet.site import Expression, Site, constant
from tophub_registry.frontends.mxnet.translator import Translator

_op: Any = relax.op


def _batch_norm(site: Site) -> Expression:
    """Multiply and add: `gamma (x - mean) / sqrt(var + eps) + beta`; `fix_gamma`, MXNet's default, makes gamma 1."""
    shape = [1] * len(site.shape_of(0))
    shape[site.attributes.number("axis", 1)] = -1
    gamma, beta, mean, variance = (site.array(index).astype("float64") for index in range(1, 5))
    scale = np.ones_like(gamma) if site.attributes.flag("fix_gamma", default=True) else gamma
    factor = scale / np.sqrt(variance + float(site.attributes.text.get("eps", "1e-3")))
    summand = beta - mean * factor
    scaled = site.emit(_op.multiply(site.tensor(0), constant(factor.reshape(shape))), "scaled")
    return _op.add(scaled, constant(summand.reshape(shape)))


def _batch_norm_with_relu(site: Site) -> Expression:
    return _op.nn.relu(site.emit(_batch_norm(site), "norm"))


def _moments(site: Site) -> list[Expression]:
    """Return the mean and the variance."""
    rank, data = len(site.shape_of(0)), site.tensor(0)
    axes = sorted(axis % rank for axis in site.attributes.numbers("axes")) or [*range(rank)]
    keeps = site.attributes.flag("keepdims", default=False)
    mean = site.emit(_op.mean(data, axis=axes, keepdims=True), "mean")
    distance = site.emit(_op.subtract(data, mean), "distance")
    variance = site.emit(_op.mean(_op.square(distance), axis=axes, keepdims=keeps), "variance")
    shape = tuple(
        1 if axis in axes else size for axis, size in enumerate(site.shape_of(0)) if keeps or axis not in axes
    )
    return [_op.reshape(each, shape or (1,)) for each in (mean, variance)]


def _softmax(site: Site) -> Expression:
    axis = site.attributes.number("axis", -1)
    if site.attributes.flag("use_length", default=False):
        return _softmax_of_first(site, axis % len(site.shape))
    return _op.nn.softmax(_warmed(site), axis=axis)


def _softmax_of_first(site: Site, axis: int) -> Expression:
    """Take only the first elements along an axis, whose number is the second input; the others become 0."""
    shape = [size if place == axis else 1 for place, size in enumerate(site.shape)]
    lengths = site.emit(_op.astype(_op.expand_dims(site.tensor(1), axis), "float32"), "lengths")
    inside = site.emit(_op.less(constant(np.arange(site.shape[axis]).reshape(shape)), lengths), "inside")
    taken = site.emit(_op.where(inside, _warmed(site), constant(-np.inf)), "taken")
    return _op.where(inside, site.emit(_op.nn.softmax(taken, axis=axis), "softmax"), constant(0))


def _log_softmax(site: Site) -> Expression:
    if site.attributes.flag("use_length", default=False):
        site.refuse("with use_length")
    return _op.nn.log_softmax(_warmed(site), axis=site.attributes.number("axis", -1))


def _warmed(site: Site) -> Expression:
    """Return the data divided by the temperature."""
    temperature = float(site.attributes.word("temperature", "1"))
    return (
        site.tensor(0) if temperature == 1 else site.emit(_op.divide(site.tensor(0), constant(temperature)), "warmed")
    )


def _softmin(site: Site) -> Expression:
    return _op.nn.softmax(site.emit(_op.negative(_warmed(site)), "negative"), axis=site.attributes.number("axis", -1))


def _softmax_output(site: Site) -> Expression:
    """Translate a classifier's softmax with loss; the loss is dropped."""
    if site.attributes.flag("multi_output", default=False):
        return _op.nn.softmax(site.tensor(0), axis=1)
    if site.attributes.flag("preserve_shape", default=False):
        return _op.nn.softmax(site.tensor(0), axis=-1)
    shape = site.shape_of(0)
    flat = site.emit(_op.reshape(site.tensor(0), (shape[0], prod(shape[1:]))), "flat")
    return _op.reshape(site.emit(_op.nn.softmax(flat, axis=1), "softmax"), shape)


def _softmax_activation(site: Site) -> Expression:
    channel = site.attributes.word("mode", "instance") == "channel"
    return _op.nn.softmax(site.tensor(0), axis=1 if channel else -1)


def _l2_normalization(site: Site) -> Expression:
    rank = len(site.shape)
    axes = {"instance": [*range(1, rank)], "channel": [1], "spatial": [*range(2, rank)]}
    chosen = axes[site.attributes.word("mode", "instance")]
    epsilon = float(site.attributes.text.get("eps", "1e-10"))
    squares = site.emit(_op.sum(_op.square(site.tensor(0)), axis=chosen, keepdims=True), "squares")
    norm = site.emit(_op.sqrt(_op.add(squares, constant(epsilon))), "norm")
    return _op.divide(site.tensor(0), norm)


def _local_response(site: Site) -> Expression:
    """Divide by a power of the sum of squares over neighbouring channels."""
    attributes = site.attributes
    width = attributes.number("nsize", 1)
    alpha, beta, knorm = (
        float(attributes.text.get(name, default))
        for name, default in (("alpha", "1e-4"), ("beta", "0.75"), ("knorm", "2"))
    )
    rank, channels = len(site.shape), site.shape[1]
    margin = [0] * (2 * rank)
    margin[2:4] = [width // 2] * 2
    padded = site.emit(_op.nn.pad(site.emit(_op.square(site.tensor(0)), "squares"), margin), "padded")
    total = padded if width == 1 else None
    for begin in range(width if width > 1 else 0):
        shifted = site.emit(_op.strided_slice(padded, [1], [begin], [begin + channels]), "shifted")
        total = shifted if total is None else site.emit(_op.add(total, shifted), "sum")
    base = site.emit(_op.add(_op.multiply(total, constant(alpha / width)), constant(knorm)), "base")
    return _op.multiply(site.tensor(0), _op.power(base, constant(-beta)))


def _instance_norm(site: Site) -> Expression:
    rank = len(site.shape)
    return _scaled(site, _standardized(site, site.tensor(0), [*range(2, rank)], "1e-3"), 1)


def _layer_norm(site: Site) -> Expression:
    axis = site.attributes.number("axis", -1) % len(site.shape)
    if axis == len(site.shape) - 1:
        epsilon = float(site.attributes.text.get("eps", "1e-5"))
        return _op.nn.layer_norm(site.tensor(0), site.tensor(1), site.tensor(2), axes=[axis], epsilon=epsilon)
    return _scaled(site, _standardized(site, site.tensor(0), [axis], "1e-5"), axis)


def _group_norm(site: Site) -> Expression:
    """Standardize each group of channels; gamma and beta have a number for each group."""
    batch, channels, *rest = site.shape
    groups = site.attributes.number("num_groups", 1)
    apart = site.emit(_op.reshape(site.tensor(0), (batch, groups, channels // groups * prod(rest))), "groups")
    even = _scaled(site, _standardized(site, apart, [2], "1e-5"), 1)
    return _op.reshape(site.emit(even, "scaled"), site.shape)


def _standardized(site: Site, data: Expression, axes: list[int], epsilon: str) -> Expression:
    """Return the data with a mean of 0 and a variance of 1 along some axes."""
    mean = site.emit(_op.mean(data, axis=axes, keepdims=True), "mean")
    centered = site.emit(_op.subtract(data, mean), "centered")
    variance = site.emit(_op.mean(_op.square(centered), axis=axes, keepdims=True), "variance")
    deviation = site.emit(
        _op.sqrt(_op.add(variance, constant(float(site.attributes.text.get("eps", epsilon))))), "deviation"
    )
    return site.emit(_op.divide(centered, deviation), "standardized")


def _scaled(site: Site, data: Expression, axis: int) -> Expression:
    """Multiply by gamma and add beta along an axis."""
    shape = [1] * len(data.ty.shape)
    shape[axis] = int(data.ty.shape[axis])
    gamma, beta = (
        site.emit(_op.reshape(site.tensor(index), shape), name) for index, name in ((1, "gamma"), (2, "beta"))
    )
    return _op.add(site.emit(_op.multiply(data, gamma), "scaled"), beta)


TRANSLATORS: Mapping[str, Translator] = {
    **dict.fromkeys(("BatchNorm", "BatchNorm_v1", "_contrib_SyncBatchNorm"), _batch_norm),
    "GroupNorm": _group_norm,
    "InstanceNorm": _instance_norm,
    "LRN": _local_response,
    "LayerNorm": _layer_norm,
    "L2Normalization": _l2_normalization,
    "SoftmaxActivation": _softmax_activation,
    "SoftmaxOutput": _softmax_output,
    "_contrib_BatchNormWithReLU": _batch_norm_with_relu,
    "log_softmax": _log_softmax,
    "moments": _moments,
    "softmax": _softmax,
    "softmin": _softmin,
}

OF_ANY_TYPE = frozenset({"softmax"})
"""Its data is float32 in any case; its lengths are integers."""
