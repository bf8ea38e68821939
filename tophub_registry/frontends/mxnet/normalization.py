"""Normalizations: batch norm on its own, softmax, norms over channels."""

from __future__ import annotations

from collections.abc import Mapping
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


def _softmax(site: Site) -> Expression:
    return _op.nn.softmax(_warmed(site), axis=site.attributes.number("axis", -1))


def _log_softmax(site: Site) -> Expression:
    return _op.nn.log_softmax(_warmed(site), axis=site.attributes.number("axis", -1))


def _warmed(site: Site) -> Expression:
    """Return the data divided by the temperature."""
    if site.attributes.flag("use_length", default=False):
        site.refuse("with use_length")
    temperature = float(site.attributes.word("temperature", "1"))
    return (
        site.tensor(0) if temperature == 1 else site.emit(_op.divide(site.tensor(0), constant(temperature)), "warmed")
    )


def _softmax_output(site: Site) -> Expression:
    """Translate a classifier's softmax with loss; the loss is dropped."""
    image = site.attributes.flag("multi_output", default=False)
    if not image and not site.attributes.flag("preserve_shape", default=False) and len(site.shape) > 2:  # noqa: PLR2004
        site.refuse("over all axes but the first")
    return _op.nn.softmax(site.tensor(0), axis=1 if image else -1)


def _softmax_activation(site: Site) -> Expression:
    channel = site.attributes.word("mode", "instance") == "channel"
    if not channel and len(site.shape) > 2:  # noqa: PLR2004
        site.refuse("over all axes but the first")
    return _op.nn.softmax(site.tensor(0), axis=1)


def _l2_normalization(site: Site) -> Expression:
    rank = len(site.shape)
    axes = {"instance": [*range(1, rank)], "channel": [1], "spatial": [*range(2, rank)]}
    chosen = axes[site.attributes.word("mode", "instance")]
    epsilon = float(site.attributes.text.get("eps", "1e-10"))
    squares = site.emit(_op.sum(_op.square(site.tensor(0)), axis=chosen, keepdims=True), "squares")
    norm = site.emit(_op.sqrt(_op.add(squares, constant(epsilon))), "norm")
    return _op.divide(site.tensor(0), norm)


TRANSLATORS: Mapping[str, Translator] = {
    "BatchNorm": _batch_norm,
    "_contrib_SyncBatchNorm": _batch_norm,
    "L2Normalization": _l2_normalization,
    "SoftmaxActivation": _softmax_activation,
    "SoftmaxOutput": _softmax_output,
    "log_softmax": _log_softmax,
    "softmax": _softmax,
}
