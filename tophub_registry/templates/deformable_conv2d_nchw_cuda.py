"""`deformable_conv2d_nchw.cuda`: a convolution whose taps lie where a second input says, between the pixels.

Each output has its own offset, in pixels, for every tap of the kernel, and the four pixels around it are weighted by
their distance (https://arxiv.org/abs/1703.06211). Data are interpolated as they are fetched into shared memory. Space
and schedule are those of TVM's `topi/cuda/deformable_conv2d.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.templates import cuda
from tophub_registry.templates.deformable import DeformableConv2d
from tophub_registry.templates.space import ConfigSpace, reorder

if TYPE_CHECKING:
    from tophub_registry.records.record import Config

_NAMES = ("tile_f", "tile_y", "tile_x")
_REDUCTIONS = ("tile_rc", "tile_ry", "tile_rx")


class DeformableConv2dNCHWCuda(cuda.CudaTemplate):
    """A deformable convolution without groups on a CUDA device."""

    task = "deformable_conv2d_nchw.cuda"
    parse = staticmethod(DeformableConv2d.parse)
    workload: DeformableConv2d

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                *cuda.tile_knobs(4, f=w.out_channels, y=w.out_height, x=w.out_width),
                *cuda.tile_knobs(2, rc=w.in_channels, ry=w.kernel_height, rx=w.kernel_width),
                *cuda.unroll_knobs(0, 512, 1500),
                reorder("reorder_inner", len(_REDUCTIONS)),
            ]
        )

    def limits(self, config: Config) -> cuda.CudaLimits:
        f, y, x = (math.prod(config.value(name)[1:]) for name in _NAMES)
        # Pixels of different taps lie in different places, and are fetched one by one.
        shared = math.prod(config.value(name)[1] for name in _REDUCTIONS) * (y * x + f)
        blocks_z = self.workload.batch * cuda.blocks(self.workload.out_channels, config, "tile_f")
        return cuda.tile_limits(config, _NAMES, threads=cuda.threads_of(config), shared=shared, blocks_z=blocks_z)

    def apply(self, sch: Any, config: Config) -> None:
        conv = sch.get_sblock("deformable_conv2d_nchw")
        copy, shared = cuda.in_registers(sch, conv)
        sch.compute_inline(sch.get_sblock("data_deform"))
        outermost, _, tx = cuda.tile_image(sch, copy, config)
        sch.compute_at(conv, tx, preserve_unit_loops=True)

        *_, n, f, y, x, rc, ry, rx = sch.get_loops(conv)
        split = [cuda.tile(sch, loop, config, name) for loop, name in zip((rc, ry, rx), _REDUCTIONS, strict=True)]
        outer, inner = ([pair[place] for pair in split] for place in range(2))
        order = config.value("reorder_inner")
        outer, inner = ([loops[place] for place in order] for loops in (outer, inner))
        sch.reorder(*outer, *inner, n, f, y, x)
        cuda.fetch_both(sch, shared, outer[-1], cuda.threads_of(config), contiguous=True)
        sch.decompose_reduction(conv, outer[0])
        cuda.unroll(sch, outermost, config)

    def placeholders(self, config: Config) -> list[Any]:
        from tvm import te

        names = ("data", "offset", "kernel")
        *given, _ = self.tensors(config)
        return [te.placeholder(t.shape, t.dtype, name=name) for t, name in zip(given, names, strict=True)]

    def computation(self, config: Config) -> list[Any]:
        from tvm import te, tirx

        w = self.workload
        data, offset, kernel = self.placeholders(config)
        top, left, _, _ = w.padding
        rows, columns = w.taps
        shared_by = w.in_channels // w.offset_groups

        def interpolated(n: Any, c: Any, ky: Any, kx: Any, y: Any, x: Any) -> Any:
            tap = te.indexdiv(c, shared_by) * (2 * rows * columns) + 2 * (ky * columns + kx)
            row = y * w.strides[0] - top + ky * w.dilation[0] + offset[n, tap, y, x]
            column = x * w.strides[1] - left + kx * w.dilation[1] + offset[n, tap + 1, y, x]
            inside = tirx.all(row >= 0, column >= 0, row < w.height, column < w.width)
            above, before = te.floor(row), te.floor(column)
            down, right = row - above, column - before
            # Within the image, the last row and the last column have nothing beyond them.
            y0, x0 = (place.astype("int32") for place in (above, before))
            y1, x1 = te.min(y0 + 1, w.height - 1), te.min(x0 + 1, w.width - 1)
            upper = data[n, c, y0, x0] * (1 - right) + data[n, c, y0, x1] * right
            lower = data[n, c, y1, x0] * (1 - right) + data[n, c, y1, x1] * right
            return tirx.if_then_else(inside, upper * (1 - down) + lower * down, tirx.const(0, w.dtype))

        deformed = te.compute((w.batch, w.in_channels, *w.taps, *w.out_size), interpolated, name="data_deform")
        rc, ry, rx = (
            te.reduce_axis((0, size), name=name)
            for size, name in zip((w.in_channels, *w.taps), ("rc", "ry", "rx"), strict=True)
        )

        def output(n: Any, f: Any, y: Any, x: Any) -> Any:
            return te.sum(deformed[n, rc, ry, rx, y, x] * kernel[f, rc, ry, rx], axis=[rc, ry, rx])

        return [data, offset, kernel, te.compute(w.output, output, name="deformable_conv2d_nchw")]
