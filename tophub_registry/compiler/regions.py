"""Regions of images pooled as by TVM's `topi.vision.roi_align` and `roi_pool`, in kernels of our own.

TVM computes the places of the samples again for each channel, which takes a processor longer than the samples. If only
a region's size tells how many samples it needs, TVM's sum has a computed length, which its schedules do not take: it
would run on one thread. For a maximum TVM goes over the whole image for each bin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax, s_tir
from tvm.relax.expr_functor import PyExprMutator, mutator
from tvm.script import tirx as T  # noqa: N812  # as TVM script calls it

from tophub_registry.compiler.many_boxes import OPAQUE
from tophub_registry.tasks.reading import calls_of

_ALIGN = "relax.vision.roi_align"
_MAXIMUM = "relax.vision.roi_pool"
_THREADS = 128
_MOST_CHANNELS = 16
"""Channels that are sampled together on a processor; more would not fit into registers."""


@dataclass(frozen=True)
class Pooling:
    """How regions are pooled.

    Attributes
    ----------
    pooled
        Height and width of a pooled region.
    scale
        What corners are multiplied with to get pixels.
    samples
        Samples per bin and axis; 0: one for each pixel of its size, rounded up. Not used for a maximum.
    least
        The least height and width of a region in pixels.
    """

    pooled: tuple[int, int]
    scale: float
    samples: int = 0
    least: float = 1


def pooled_regions(module: tvm.IRModule, target: tvm.target.Target) -> tvm.IRModule:
    """Replace pooling of regions by kernels; call it before `LegalizeOps`."""
    functions = [each for each in module.functions_items() if isinstance(each[1], relax.Function)]
    if not any(_pooling(call) for _, function in functions for _, call in calls_of(function)):
        return module
    replaced = _Regions(module, target.kind.name == "cuda")
    for name, function in functions:
        replaced.builder_.update_func(name, replaced.visit_expr(function))
    return replaced.builder_.finalize()


def _pooling(call: Any) -> Pooling | None:
    """Return how a call pools regions; None for other calls, and for those that the kernels don't cover."""
    name, attrs = getattr(call.op, "name", ""), call.attrs
    if name not in (_ALIGN, _MAXIMUM) or str(attrs.layout) != "NCHW":
        return None
    if {str(value.ty.dtype) for value in call.args} != {"float32"}:
        return None
    height, width = map(int, attrs.pooled_size)
    if name == _MAXIMUM:
        return Pooling((height, width), float(attrs.spatial_scale))
    if str(attrs.mode) != "avg":
        return None
    samples = max(int(attrs.sample_ratio), 0)
    return Pooling((height, width), float(attrs.spatial_scale), samples, 0 if attrs.aligned else 1)


@mutator
class _Regions(PyExprMutator):  # type: ignore[misc]
    def __init__(self, module: tvm.IRModule, on_gpu: bool) -> None:
        super().__init__(module)
        self._on_gpu = on_gpu

    def visit_call_(self, call: Any) -> Any:
        call = self.visit_expr_post_order(call)
        if (pooling := _pooling(call)) is None:
            return call
        images, (count, _) = (tuple(map(int, value.ty.shape)) for value in call.args)
        channels = 1 if self._on_gpu else _together(images[1])
        write = aligned_regions if call.op.name == _ALIGN else greatest_of_regions
        scheduled = _scheduled(write(images, count, pooling, channels=channels), on_gpu=self._on_gpu)
        return relax.call_tir(self.builder_.add_func(scheduled, "pooled_regions"), list(call.args), call.ty)


def _together(channels: int) -> int:
    return next(number for number in range(_MOST_CHANNELS, 0, -1) if channels % number == 0)


def aligned_regions(images: tuple[int, ...], count: int, pooling: Pooling, *, channels: int) -> Any:
    """Return the kernel `(images, regions) -> pooled`, not scheduled yet.

    Parameters
    ----------
    images
        The shape `[N, C, H, W]`; float32.
    count
        The number of regions, each a row with the number of its image and its corners.
    channels
        How many are sampled together.
    """
    batch, depth, height, width = images
    (rows, columns), scale, samples, least = pooling.pooled, pooling.scale, pooling.samples, pooling.least

    @T.prim_func(private=True, s_tir=True)  # type: ignore[untyped-decorator]
    def main(  # type: ignore[no-untyped-def]  # noqa: ANN202
        data: T.Buffer((batch, depth, height, width), "float32"),  # type: ignore[valid-type]
        regions: T.Buffer((count, 5), "float32"),  # type: ignore[valid-type]
        result: T.Buffer((count, depth, rows, columns), "float32"),  # type: ignore[valid-type]
    ):
        T.func_attr({"tirx.noalias": True, "op_pattern": OPAQUE})
        for n, c, y, x in T.grid(count, depth // channels, rows, columns):
            with T.sblock("pooled"):
                vn, vc, vy, vx = T.axis.remap("SSSS", [n, c, y, x])
                T.reads(data[0:batch, vc * channels : vc * channels + channels, 0:height, 0:width], regions[vn, 0:5])
                T.writes(result[vn, vc * channels : vc * channels + channels, vy, vx])
                total = T.alloc_buffer((channels,), "float32", scope="local")
                image = T.Cast("int32", regions[vn, 0])
                left, top = regions[vn, 1] * T.float32(scale), regions[vn, 2] * T.float32(scale)
                tall = T.max(regions[vn, 4] * T.float32(scale) - top, T.float32(least))
                wide = T.max(regions[vn, 3] * T.float32(scale) - left, T.float32(least))
                high, across = tall / T.float32(rows), wide / T.float32(columns)
                down = samples if samples > 0 else T.Cast("int32", T.ceil(high))
                along = samples if samples > 0 else T.Cast("int32", T.ceil(across))
                for k in T.vectorized(channels):
                    total[k] = T.float32(0)
                for i in T.serial(down):
                    for j in T.serial(along):
                        sy = (
                            top
                            + T.Cast("float32", vy) * high
                            + (T.Cast("float32", i) + T.float32(0.5)) * high / T.Cast("float32", down)
                        )
                        sx = (
                            left
                            + T.Cast("float32", vx) * across
                            + (T.Cast("float32", j) + T.float32(0.5)) * across / T.Cast("float32", along)
                        )
                        if (
                            sy >= T.float32(-1)
                            and sx >= T.float32(-1)
                            and sy <= T.float32(height)
                            and sx <= T.float32(width)
                        ):
                            py = T.min(T.max(sy, T.float32(0)), T.float32(height - 1))
                            px = T.min(T.max(sx, T.float32(0)), T.float32(width - 1))
                            y0, x0 = T.Cast("int32", T.floor(py)), T.Cast("int32", T.floor(px))
                            y1, x1 = T.min(y0 + 1, height - 1), T.min(x0 + 1, width - 1)
                            fy, fx = py - T.Cast("float32", y0), px - T.Cast("float32", x0)
                            for k in T.vectorized(channels):
                                total[k] = total[k] + (
                                    (T.float32(1) - fy)
                                    * (
                                        (T.float32(1) - fx) * data[image, vc * channels + k, y0, x0]
                                        + fx * data[image, vc * channels + k, y0, x1]
                                    )
                                    + fy
                                    * (
                                        (T.float32(1) - fx) * data[image, vc * channels + k, y1, x0]
                                        + fx * data[image, vc * channels + k, y1, x1]
                                    )
                                )
                for k in T.vectorized(channels):
                    result[vn, vc * channels + k, vy, vx] = total[k] / T.Cast("float32", T.max(down * along, 1))

    return main


def greatest_of_regions(images: tuple[int, ...], count: int, pooling: Pooling, *, channels: int) -> Any:
    """Return the kernel `(images, regions) -> pooled` of maxima, with the parameters of `aligned_regions`.

    Corners are rounded to pixels, and bins overlap where pixels are shared; an empty bin is 0.
    """
    batch, depth, height, width = images
    (rows, columns), scale = pooling.pooled, pooling.scale

    @T.prim_func(private=True, s_tir=True)  # type: ignore[untyped-decorator]
    def main(  # type: ignore[no-untyped-def]  # noqa: ANN202
        data: T.Buffer((batch, depth, height, width), "float32"),  # type: ignore[valid-type]
        regions: T.Buffer((count, 5), "float32"),  # type: ignore[valid-type]
        result: T.Buffer((count, depth, rows, columns), "float32"),  # type: ignore[valid-type]
    ):
        T.func_attr({"tirx.noalias": True, "op_pattern": OPAQUE})
        for n, c, y, x in T.grid(count, depth // channels, rows, columns):
            with T.sblock("pooled"):
                vn, vc, vy, vx = T.axis.remap("SSSS", [n, c, y, x])
                T.reads(data[0:batch, vc * channels : vc * channels + channels, 0:height, 0:width], regions[vn, 0:5])
                T.writes(result[vn, vc * channels : vc * channels + channels, vy, vx])
                greatest = T.alloc_buffer((channels,), "float32", scope="local")
                image = T.Cast("int32", regions[vn, 0])
                left = T.Cast("int32", T.floor(regions[vn, 1] * T.float32(scale) + T.float32(0.5)))
                top = T.Cast("int32", T.floor(regions[vn, 2] * T.float32(scale) + T.float32(0.5)))
                right = T.Cast("int32", T.floor(regions[vn, 3] * T.float32(scale) + T.float32(0.5)))
                bottom = T.Cast("int32", T.floor(regions[vn, 4] * T.float32(scale) + T.float32(0.5)))
                high = T.Cast("float32", T.max(bottom - top + 1, 1)) / T.float32(rows)
                across = T.Cast("float32", T.max(right - left + 1, 1)) / T.float32(columns)
                y0 = T.Cast("int32", T.floor(T.Cast("float32", vy) * high)) + top
                x0 = T.Cast("int32", T.floor(T.Cast("float32", vx) * across)) + left
                y1 = T.Cast("int32", T.ceil(T.Cast("float32", vy + 1) * high)) + top
                x1 = T.Cast("int32", T.ceil(T.Cast("float32", vx + 1) * across)) + left
                first, last = T.min(T.max(y0, 0), height), T.min(T.max(y1, 0), height)
                start, end = T.min(T.max(x0, 0), width), T.min(T.max(x1, 0), width)
                for k in T.vectorized(channels):
                    greatest[k] = T.if_then_else(last <= first or end <= start, T.float32(0), T.min_value("float32"))
                for i in T.serial(T.max(last - first, 0)):
                    for j in T.serial(T.max(end - start, 0)):
                        for k in T.vectorized(channels):
                            greatest[k] = T.max(greatest[k], data[image, vc * channels + k, first + i, start + j])
                for k in T.vectorized(channels):
                    result[vn, vc * channels + k, vy, vx] = greatest[k]

    return main


def _scheduled(kernel: Any, *, on_gpu: bool) -> Any:
    """Return a kernel with a thread for each output on a GPU, and regions in parallel on a processor."""
    sch = s_tir.Schedule(kernel, debug_mask="none")
    loops = sch.get_loops(sch.get_sblock("pooled"))
    if on_gpu:
        blocks, threads = sch.split(sch.fuse(*loops), [None, _THREADS])
        sch.bind(blocks, "blockIdx.x")
        sch.bind(threads, "threadIdx.x")
    else:
        sch.parallel(sch.fuse(*loops[:2]))
    return sch.mod["main"].with_attr("tirx.is_scheduled", True)
