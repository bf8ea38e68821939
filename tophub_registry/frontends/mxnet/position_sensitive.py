"""Regions pooled position-sensitively, as in R-FCN: each bin of a region has channels of its own.

The channels are `[outputs, groups, groups]`; a bin reads those of the group that it lies in.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from tvm import relax, te, tirx
from tvm.script import tirx as T  # noqa: N812  # as TVM script calls it

from tophub_registry.frontends.mxnet.functions import rounded
from tophub_registry.frontends.mxnet.site import Expression, Site
from tophub_registry.frontends.mxnet.translator import Translator
from tophub_registry.tasks.layers import Shape

_op: Any = relax.op

_LEAST = 0.1
"""The least height and width of a region, in pixels."""


_FAR = -1e30
"""Less than any product. Compilers don't compute `max(a * b, _FAR) + c` without rounding the product, which may decide
whether a bin ends on a pixel or behind it."""


class Bins(NamedTuple):
    """How regions are pooled.

    Attributes
    ----------
    outputs
        Channels of the result.
    pooled, groups
        Bins, and groups of channels, along each axis.
    scale
        What corners are multiplied with to get pixels.
    """

    outputs: int
    pooled: int
    groups: int
    scale: float


class Samples(NamedTuple):
    """How a deformable pooling samples.

    Attributes
    ----------
    part
        Parts of a region with an offset of their own, along each axis.
    each
        Samples in each bin along each axis.
    deviation
        What offsets are multiplied with, to be fractions of the region's size.
    """

    part: int
    each: int
    deviation: float


def _pooled(site: Site) -> Expression:
    """Average all pixels of each bin."""
    kernel = averages(site.shape_of(0), site.shape[0], _bins(site))
    function = site.builder.add_func(kernel, "position_sensitive")
    result = relax.TensorType(site.shape, "float32")
    return relax.call_tir(function, relax.Tuple([site.tensor(0), _regions(site)]), out_ty=result)


def _deformed(site: Site) -> Expression:
    """Average samples of each bin, which the third input moves."""
    number, bins = site.attributes.number, _bins(site)
    deviation = float(site.attributes.text.get("trans_std", "0"))
    how = Samples(number("part_size", 0) or bins.pooled, number("sample_per_part", 1), deviation)
    inputs = [site.tensor(0), _regions(site)]
    if not site.attributes.flag("no_trans", default=False):
        inputs.append(site.tensor(2))
    return site.builder.emit_te(partial(samples, bins=bins, how=how), *inputs, primfunc_name_hint="position_sensitive")


def _bins(site: Site) -> Bins:
    number = site.attributes.number
    pooled = number("pooled_size", 0)
    scale = float(site.attributes.text["spatial_scale"])
    return Bins(number("output_dim", 0), pooled, number("group_size", 0) or pooled, scale)


def _regions(site: Site) -> Expression:
    """Return rows of an image's number and of corners in whole pixels of the input image."""
    rows = site.tensor(1)
    number = site.emit(_op.strided_slice(rows, [1], [0], [1]), "number")
    corners = site.emit(rounded(site, site.emit(_op.strided_slice(rows, [1], [1], [5]), "corners")), "rounded")
    images = site.emit(_op.clip(number, 0, float(site.shape_of(0)[0] - 1)), "images")
    return site.emit(_op.concat([images, corners], axis=1), "regions")


def averages(images: Shape, count: int, bins: Bins) -> Any:
    """Return a function `(images, regions) -> pooled` of the averages over whole pixels; those of empty bins are 0."""
    batch, channels, height, width = images
    outputs, pooled, groups, scale = bins

    @T.prim_func(private=True, s_tir=True)  # type: ignore[untyped-decorator]
    def main(  # type: ignore[no-untyped-def]  # noqa: ANN202
        data: T.Buffer((batch, channels, height, width), "float32"),  # type: ignore[valid-type]
        regions: T.Buffer((count, 5), "float32"),  # type: ignore[valid-type]
        result: T.Buffer((count, outputs, pooled, pooled), "float32"),  # type: ignore[valid-type]
    ):
        T.func_attr({"tirx.noalias": True})
        for n, c, y, x in T.grid(count, outputs, pooled, pooled):
            with T.sblock("averages"):
                vn, vc, vy, vx = T.axis.remap("SSSS", [n, c, y, x])
                T.reads(data[0:batch, 0:channels, 0:height, 0:width], regions[vn, 0:5])
                T.writes(result[vn, vc, vy, vx])
                total = T.alloc_buffer((1,), "float32", scope="local")
                image = T.Cast("int32", regions[vn, 0])
                left = T.max(regions[vn, 1] * T.float32(scale), T.float32(_FAR))
                top = T.max(regions[vn, 2] * T.float32(scale), T.float32(_FAR))
                right = T.max((regions[vn, 3] + T.float32(1)) * T.float32(scale), T.float32(_FAR))
                bottom = T.max((regions[vn, 4] + T.float32(1)) * T.float32(scale), T.float32(_FAR))
                high = T.max(bottom - top, T.float32(_LEAST)) / T.float32(pooled)
                across = T.max(right - left, T.float32(_LEAST)) / T.float32(pooled)
                y0 = T.Cast("int32", T.floor(T.max(T.Cast("float32", vy) * high, T.float32(_FAR)) + top))
                x0 = T.Cast("int32", T.floor(T.max(T.Cast("float32", vx) * across, T.float32(_FAR)) + left))
                y1 = T.Cast("int32", T.ceil(T.max(T.Cast("float32", vy + 1) * high, T.float32(_FAR)) + top))
                x1 = T.Cast("int32", T.ceil(T.max(T.Cast("float32", vx + 1) * across, T.float32(_FAR)) + left))
                first, last = T.min(T.max(y0, 0), height), T.min(T.max(y1, 0), height)
                start, end = T.min(T.max(x0, 0), width), T.min(T.max(x1, 0), width)
                channel = (vc * groups + vy * groups // pooled) * groups + vx * groups // pooled
                total[0] = T.float32(0)
                for i in T.serial(T.max(last - first, 0)):
                    for j in T.serial(T.max(end - start, 0)):
                        total[0] = total[0] + data[image, channel, first + i, start + j]
                area = T.Cast("float32", T.max(last - first, 0) * T.max(end - start, 0))
                result[vn, vc, vy, vx] = total[0] / T.max(area, T.float32(1))

    return main


def samples(
    data: te.Tensor, regions: te.Tensor, offsets: te.Tensor | None = None, *, bins: Bins, how: Samples
) -> te.Tensor:
    """Return the averages of samples, interpolated between pixels; those outside of the image don't count."""
    height, width = map(int, data.shape[2:])
    shape = (int(regions.shape[0]), bins.outputs, bins.pooled, bins.pooled)
    down, along = (te.reduce_axis((0, how.each), name) for name in ("down", "along"))
    together = 1 if offsets is None else max(1, bins.outputs // (int(offsets.shape[1]) // 2))

    def place(axis: int, n: Any, c: Any, at: tuple[Any, Any], step: Any) -> Any:
        """Return where a sample is on an axis: 0 vertical, 1 horizontal."""
        start = regions[n, 2 - axis] * _number(bins.scale) - _number(0.5)
        end = (regions[n, 4 - axis] + _number(1)) * _number(bins.scale) - _number(0.5)
        size = te.max(end - start, _number(_LEAST))
        each = size / _number(bins.pooled)
        begin = at[axis].astype("float32") * each + start
        if offsets is not None:
            part = [te.indexdiv(one * how.part, bins.pooled) for one in at]
            begin += (
                offsets[n, te.indexdiv(c, together) * 2 + 1 - axis, part[0], part[1]] * _number(how.deviation) * size
            )
        return begin + step.astype("float32") * (each / _number(how.each))

    def inside(at: Any, size: int) -> Any:
        return tirx.all(at >= _number(-0.5), at <= _number(size - 0.5))

    def sample(n: Any, c: Any, y: Any, x: Any) -> Any:
        ends, counts = [], []
        for axis, (step, size) in enumerate(((down, height), (along, width))):
            found = place(axis, n, c, (y, x), step)
            at = te.min(te.max(found, _number(0)), _number(size - 1))
            low = te.floor(at)
            index = tirx.max(0, tirx.min(size - 1, low.astype("int32")))
            ends.append(((index, _number(1) - (at - low)), (tirx.min(index + 1, size - 1), at - low)))
            counts.append(inside(found, size))
        group = [te.indexdiv(one * bins.groups, bins.pooled) for one in (y, x)]
        channel = (c * bins.groups + group[0]) * bins.groups + group[1]
        image = regions[n, 0].astype("int32")
        value: Any = _number(0)
        for row, row_weight in ends[0]:
            for column, weight in ends[1]:
                value = value + data[image, channel, row, column] * (row_weight * weight)
        return te.sum(tirx.Select(tirx.all(*counts), value, _number(0)), axis=[down, along])

    def average(n: Any, c: Any, y: Any, x: Any) -> Any:
        number: Any = _number(1)  # of samples inside: as many rows times as many columns
        for axis, size in enumerate((height, width)):
            steps = [tirx.const(step, "int32") for step in range(how.each)]
            there = [inside(place(axis, n, c, (y, x), step), size) for step in steps]
            number = number * sum((tirx.Select(each, _number(1), _number(0)) for each in there), _number(0))
        return total[n, c, y, x] / te.max(number, _number(1))

    total = te.compute(shape, sample, name="total")
    return te.compute(shape, average, name="averages")


def _number(value: float) -> Any:
    return tirx.const(value, "float32")


TRANSLATORS: Mapping[str, Translator] = {
    "_contrib_DeformablePSROIPooling": _deformed,
    "_contrib_PSROIPooling": _pooled,
}
