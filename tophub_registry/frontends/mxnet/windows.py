"""Pooling over windows of one, two or three axes: maxima, means, sums and norms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np
from tvm import relax

from tophub_registry.frontends.mxnet.site import Array, Expression, Site, constant
from tophub_registry.frontends.mxnet.translator import Translator
from tophub_registry.tasks.layers import Shape

_op: Any = relax.op

_LAYOUTS = {1: "NCW", 2: "NCHW", 3: "NCDHW"}
_MAXIMA: Mapping[int, Callable[..., Expression]] = {
    1: _op.nn.max_pool1d,
    2: _op.nn.max_pool2d,
    3: _op.nn.max_pool3d,
}
_MEANS: Mapping[int, Callable[..., Expression]] = {
    1: _op.nn.avg_pool1d,
    2: _op.nn.avg_pool2d,
    3: _op.nn.avg_pool3d,
}
_LARGEST_POWER = 3


def _pooling(site: Site) -> Expression:
    """Translate pooling; MXNet's norm `lp` adds up powers without taking absolute values."""
    axes = len(site.shape) - 2
    if axes not in _LAYOUTS:
        site.refuse(f"over {axes} axes")
    kind, layout = site.attributes.word("pool_type", "max"), site.attributes.word("layout", _LAYOUTS[axes])
    power = site.attributes.number("p_value", 0) if kind == "lp" else 1
    if kind not in {"max", "avg", "sum", "lp"} or not 1 <= power <= _LARGEST_POWER:
        site.refuse(f"of the kind {kind}")
    data, before, after = site.tensor(0), site.shape_of(0), site.shape
    last = layout == _LAYOUTS[axes].replace("C", "") + "C"
    if last:
        order = (0, axes + 1, *range(1, axes + 1))
        data = site.emit(_op.permute_dims(data, order), "channels_first")
        before, after = (tuple(shape[axis] for axis in order) for shape in (before, after))
    elif layout != _LAYOUTS[axes]:
        site.refuse(f"in the layout {layout}")
    raised = site.emit(_op.power(data, constant(power)), "powers") if power > 1 else data
    if site.attributes.flag("global_pool", default=False):
        reduction = {"max": _op.max, "avg": _op.mean}.get(kind, _op.sum)
        pooled = reduction(raised, axis=[*range(2, axes + 2)], keepdims=True)
    else:
        pooled = _of_windows(site, raised, kind, before[2:], after[2:])
    if power > 1:
        pooled = _root(site, site.emit(pooled, "summed"), power)
    return _op.permute_dims(site.emit(pooled, "pooled"), (0, *range(2, axes + 2), 1)) if last else pooled


def _root(site: Site, summed: Expression, power: int) -> Expression:
    """Return the square or cubic root; the latter is negative for negative sums."""
    if power == 2:  # noqa: PLR2004
        return _op.sqrt(summed)
    magnitude = site.emit(_op.power(site.emit(_op.abs(summed), "magnitude"), constant(1 / power)), "root")
    return _op.multiply(site.emit(_op.sign(summed), "sign"), magnitude)


def _of_windows(site: Site, data: Expression, kind: str, before: Shape, after: Shape) -> Expression:
    """Pool windows; `before` and `after` are the sizes of the axes, which say how many windows there are.

    MXNet's convention `full` rounds their number up, so that the last ones may reach beyond the padding.
    """
    axes = len(before)
    kernel, stride = (site.attributes.numbers(name, (1,) * axes) for name in ("kernel", "stride"))
    padding = site.attributes.numbers("pad", (0,) * axes)
    reach = [(count - 1) * step + k for count, step, k in zip(after, stride, kernel, strict=True)]
    beyond = [max(0, end - pad - size) for end, pad, size in zip(reach, padding, before, strict=True)]
    window = {"pool_size": kernel, "strides": stride, "layout": _LAYOUTS[axes]}
    around = {"padding": (*padding, *beyond)}
    if kind == "max":
        return _MAXIMA[axes](data, **window, **around)
    counts_all = site.attributes.flag("count_include_pad", default=True)
    if kind == "avg" and all(b <= pad for b, pad in zip(beyond, padding, strict=True)):
        return _MEANS[axes](data, **window, **around, count_include_pad=counts_all)
    widths = [0] * 4 + [width for pair in zip(padding, beyond, strict=True) for width in pair]
    padded = site.emit(_op.nn.pad(data, widths), "padded") if any(widths) else data
    mean = site.emit(_MEANS[axes](padded, **window), "mean")
    if kind != "avg":
        return _op.multiply(mean, constant(prod(kernel)))
    counted = padding if counts_all else (0,) * axes
    sizes = _sizes(before, after, kernel, stride, padding, counted)
    return _op.multiply(mean, constant(prod(kernel) / sizes))


def _sizes(before: Shape, after: Shape, kernel: Shape, stride: Shape, padding: Shape, counted: Shape) -> Array:
    """Return how many elements each window has, the counted padding included; 1 for an empty window."""
    sizes: Array = np.ones((), "float64")
    for size, count, k, step, pad, more in zip(before, after, kernel, stride, padding, counted, strict=True):
        start = np.arange(count) * step - pad
        length = np.minimum(start + k, size + more) - np.maximum(start, -more)
        sizes = np.multiply.outer(sizes, np.maximum(length, 0))
    return np.maximum(sizes, 1)


TRANSLATORS: Mapping[str, Translator] = {"Pooling": _pooling}
