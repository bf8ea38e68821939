"""Operators that resize or reduce axes: reductions, upsampling, adaptive pooling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import relax

from tophub_registry.frontends.mxnet.site import Expression, Site
from tophub_registry.frontends.mxnet.translator import Translator

_op: Any = relax.op

_IMAGE = [2, 3]

_REDUCTIONS: Mapping[str, Callable[..., Expression]] = {
    "max": _op.max,
    "mean": _op.mean,
    "min": _op.min,
    "prod": _op.prod,
    "sum": _op.sum,
}


def _adaptive_average(site: Site) -> Expression:
    if set(site.shape[2:]) == {1}:
        return _op.mean(site.tensor(0), axis=_IMAGE, keepdims=True)
    return _op.nn.adaptive_avg_pool2d(site.tensor(0), site.shape[2:])


def _bilinear_resize(site: Site) -> Expression:
    if site.attributes.word("mode", "size") not in {"size", "like"}:
        site.refuse(f"in the mode {site.attributes.word('mode', 'size')}")
    aligned = site.attributes.flag("align_corners", default=True)
    return _op.image.resize2d(
        site.tensor(0),
        site.shape[2:],
        layout="NCHW",
        method="linear",
        coordinate_transformation_mode="align_corners" if aligned else "half_pixel",
    )


def _reduction(function: Callable[..., Expression]) -> Translator:
    def translate(site: Site) -> Expression:
        rank = len(site.shape_of(0))
        named = {axis % rank for axis in site.attributes.numbers("axis")}
        if site.attributes.flag("exclude", default=False):
            named = set(range(rank)) - named
        axes = sorted(named) or [*range(rank)]
        keeps = site.attributes.flag("keepdims", default=False)
        reduced = function(site.tensor(0), axis=axes, keepdims=keeps)
        # If no axis is left, MXNet keeps one.
        return reduced if keeps or len(axes) < rank else _op.reshape(site.emit(reduced, "all"), site.shape)

    return translate


TRANSLATORS: Mapping[str, Translator] = {
    "_contrib_AdaptiveAvgPooling2D": _adaptive_average,
    "_contrib_BilinearResize2D": _bilinear_resize,
    **{name: _reduction(function) for name, function in _REDUCTIONS.items()},
}
