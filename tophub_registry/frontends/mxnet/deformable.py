"""Deformable convolutions: pixels sampled at learned places, then a convolution of one pixel over all samples.

So the arithmetic is a layer like others, with templates and records; the samples are computed in parallel.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from tvm import relax, te, tirx

from tophub_registry.frontends.mxnet.site import Expression, Site, constant
from tophub_registry.frontends.mxnet.translator import Translator
from tophub_registry.tasks.layers import Shape

_RANK = 4


class Grid(NamedTuple):
    """The regular places that offsets start from.

    Attributes
    ----------
    groups
        The number of groups of channels with the same offsets.
    """

    kernel: Shape
    strides: Shape
    padding: Shape
    dilation: Shape
    groups: int


def _deformable(site: Site, *, modulated: bool) -> Expression:
    """Translate a deformable convolution of data and offsets, `modulated` by a factor for each sample."""
    attributes = site.attributes
    if len(site.shape) != _RANK or attributes.word("layout", "NCHW") != "NCHW":
        site.refuse(f"over {len(site.shape) - 2} axes in the layout {attributes.word('layout', 'NCHW')}")
    place = 3 if modulated else 2
    weight = site.array(place)
    filters, channels, *kernel = weight.shape
    grid = Grid(
        tuple(kernel),
        attributes.numbers("stride", (1, 1)),
        attributes.numbers("pad", (0, 0)),
        attributes.numbers("dilate", (1, 1)),
        attributes.number("num_deformable_group", 1),
    )
    inputs = [site.tensor(index) for index in range(place)]
    samples = site.builder.emit_te(partial(sampled, grid=grid, fades=modulated), *inputs, primfunc_name_hint="sampled")
    call = relax.op.nn.conv2d(
        samples,
        constant(weight.reshape(filters, channels * kernel[0] * kernel[1], 1, 1)),
        groups=attributes.number("num_group", 1),
    )
    if len(site) == place + 1:
        return call
    return relax.op.add(site.emit(call), constant(site.array(place + 1).reshape(1, -1, 1, 1)))


def sampled(data: te.Tensor, offset: te.Tensor, mask: te.Tensor | None = None, *, grid: Grid, fades: bool) -> te.Tensor:
    """Return samples `[N, C KH KW, height, width]` of an image, interpolated between its pixels; zero outside of it.

    Parameters
    ----------
    data
        `[N, C, H, W]`.
    offset
        `[N, 2 groups KH KW, height, width]`, the vertical one of each sample before the horizontal one.
    mask
        `[N, groups KH KW, height, width]`, the factors.
    fades
        Whether samples fade from an outermost pixel to zero over the length of one pixel. Otherwise those up to one
        pixel behind the last are like that, and those before the first are zero, as MXNet has it without a mask.
    """
    batch, channels, *size = map(int, data.shape)
    taps = grid.kernel[0] * grid.kernel[1]
    together = channels // grid.groups
    height, width = offset.shape[2:]

    def sample(n: Any, c: Any, y: Any, x: Any) -> Any:
        channel, tap = te.indexdiv(c, taps), te.indexmod(c, taps)
        number = te.indexdiv(channel, together) * taps + tap
        ends = []
        for axis, (at, step) in enumerate(zip((y, x), (te.indexdiv, te.indexmod), strict=True)):
            regular = at * grid.strides[axis] - grid.padding[axis] + step(tap, grid.kernel[1]) * grid.dilation[axis]
            place = offset[n, 2 * number + axis, y, x] + regular.astype("float32")
            ends.append(_neighbours(place, size[axis], fades=fades))
        total: Any = None
        for row, row_weight in ends[0]:
            for column, column_weight in ends[1]:
                # Where the index is compared instead, TVM believes what was compared and no longer limits the index.
                weight = row_weight * column_weight
                term = tirx.Select(weight > 0, data[n, channel, row, column] * weight, _number(0.0))
                total = term if total is None else total + term
        return total if mask is None else total * mask[n, number, y, x]

    return te.compute((batch, channels * taps, height, width), sample, name="sampled")


def _neighbours(place: Any, size: int, *, fades: bool) -> list[tuple[Any, Any]]:
    """Return the pixels before and after a place on an axis: index and weight, which is 0 for one that does not count.

    The indices are those of pixels in any case; nothing is known of the place, which may be NaN.
    """
    near = tirx.max(_number(-2.0), tirx.min(_number(size + 1.0), place))  # in this order, NaN becomes a number
    low = tirx.floor(near)
    index, after = low.astype("int32"), near - low
    found = []
    for pixel, weight in ((index, _number(1.0) - after), (index + 1, after)):
        there = pixel if fades else index
        counted = tirx.Select(tirx.all(there >= 0, there < size), weight, _number(0.0))
        found.append((tirx.max(0, tirx.min(size - 1, pixel)), counted))
    return found


def _number(value: float) -> Any:
    return tirx.const(value, "float32")


TRANSLATORS: Mapping[str, Translator] = {
    "_contrib_DeformableConvolution": partial(_deformable, modulated=False),
    "_contrib_ModulatedDeformableConvolution": partial(_deformable, modulated=True),
}
