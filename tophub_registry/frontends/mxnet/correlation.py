"""Correlation of the patches of two images, as optical flow networks compute it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from tvm import te, tirx

from tophub_registry.frontends.mxnet.site import Expression, Site
from tophub_registry.frontends.mxnet.translator import Translator
from tophub_registry.tasks.layers import Shape


class Patches(NamedTuple):
    """Which patches are compared.

    Attributes
    ----------
    kernel
        Height and width of a patch.
    reach
        By how many pixels a patch of the second image may be moved along each axis.
    stride
        Between patches of the first image.
    step
        Between patches of the second.
    padding
        Zeros around both images.
    multiplies
        Whether patches are multiplied; otherwise their absolute differences are added.
    """

    kernel: int
    reach: int
    stride: int
    step: int
    padding: int
    multiplies: bool


def _correlation(site: Site) -> Expression:
    number = site.attributes.number
    patches = Patches(
        number("kernel_size", 1),
        number("max_displacement", 1),
        number("stride1", 1),
        number("stride2", 1),
        number("pad_size", 0),
        site.attributes.flag("is_multiply", default=True),
    )
    if set(site.node.shapes) != {0}:
        site.refuse("whose padded images are used")
    compared = partial(correlated, patches=patches, size=site.shape[2:])
    return site.builder.emit_te(compared, *site.tensors(), primfunc_name_hint="correlated")


def correlated(first: te.Tensor, second: te.Tensor, *, patches: Patches, size: Shape) -> te.Tensor:
    """Return `[N, moves, *size]`, the average of products or differences for each move of the second patch."""
    batch, channels, height, width = map(int, first.shape)
    radius = patches.reach // patches.step
    across = 2 * radius + 1
    channel = te.reduce_axis((0, channels), "channel")
    row, column = (te.reduce_axis((0, patches.kernel), name) for name in ("row", "column"))
    scale = tirx.const(1 / (patches.kernel**2 * channels), "float32")

    def pixel(image: te.Tensor, n: Any, y: Any, x: Any) -> Any:
        inside = tirx.all(y >= 0, y < height, x >= 0, x < width)
        return tirx.if_then_else(inside, image[n, channel, y, x], tirx.const(0.0, "float32"))

    def total(n: Any, move: Any, y: Any, x: Any) -> Any:
        top = y * patches.stride + patches.reach + row - patches.padding
        left = x * patches.stride + patches.reach + column - patches.padding
        down = (te.indexdiv(move, across) - radius) * patches.step
        along = (te.indexmod(move, across) - radius) * patches.step
        one, other = pixel(first, n, top, left), pixel(second, n, top + down, left + along)
        return te.sum(one * other if patches.multiplies else te.abs(one - other), axis=[channel, row, column])

    totals = te.compute((batch, across * across, *size), total, name="total")
    return te.compute(totals.shape, lambda *index: totals(*index) * scale, name="correlated")


TRANSLATORS: Mapping[str, Translator] = {"Correlation": _correlation}
