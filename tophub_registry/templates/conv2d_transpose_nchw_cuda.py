"""`conv2d_transpose_nchw.cuda`: transposed convolution, computed over data with zeros inserted and around it.

Space and schedule are those of TVM's `topi/cuda/conv2d_transpose.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.templates import cuda
from tophub_registry.templates.convolution_workloads import TransposedConv2d
from tophub_registry.templates.space import ConfigSpace, knob

if TYPE_CHECKING:
    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target


class Conv2dTransposeNCHWCuda(cuda.CudaTemplate):
    """A transposed convolution on a CUDA device."""

    task = "conv2d_transpose_nchw.cuda"
    parse = staticmethod(TransposedConv2d.parse)
    workload: TransposedConv2d

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                *cuda.tile_knobs(4, n=w.batch, f=w.out_channels, y=w.out_height, x=w.out_width),
                *cuda.tile_knobs(3, rc=w.in_channels // w.groups),
                *cuda.unroll_knobs(64, 512, 1500),
                knob("fuse_yx", [0, 1]),
            ]
        )

    def default(self, target: Target) -> Config:  # noqa: ARG002  # the same for every device
        w = self.workload
        return self.space.config_of(
            {
                "tile_n": [-1, 1, 1, 4] if w.batch > 1 else [1, 1, 1, 1],
                "tile_f": [-1, 1, 4, 1] if w.out_channels > 1 else [-1, 1, 1, 1],
                "tile_y": [-1, 1, 1, _default_part(w.out_height)],
                "tile_x": [-1, _default_part(w.out_width), 1, 1],
                "tile_rc": [-1, 1, 16],
                "auto_unroll_max_step": 1500,
                # AutoTVM has true here, which is not the option 1 in JSON and in its own space.
                "unroll_explicit": 1,
                "fuse_yx": 0,
            }
        )

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether a block fits a device, its sums a thread's registers, and AutoTVM can apply the config.

        With `fuse_yx` AutoTVM's schedule fuses two axes a second time and fails, in TVM 0.16 as in earlier ones.
        """
        return not config.value("fuse_yx") and super().feasible(config, target)

    def limits(self, config: Config) -> cuda.CudaLimits:
        w, names = self.workload, ("tile_n", "tile_f", "tile_y", "tile_x")
        n, f, y, x = (math.prod(config.value(name)[1:]) for name in names)
        channels, filters = w.in_channels // w.groups, w.out_channels // w.groups
        inner = min(config.value("tile_rc")[2], channels)
        covered = min(f, w.out_channels)
        if w.groups > 1:  # an upper bound: a tile may span groups, and fetches all channels between them
            inner += channels * min(w.groups - 1, -(-covered // filters))
            covered = filters
        shared = min(n, w.batch) * inner * y * x + inner * covered
        blocks_z = cuda.blocks(w.batch, config, "tile_n")
        return cuda.tile_limits(config, names, threads=cuda.threads_of_four(config), shared=shared, blocks_z=blocks_z)

    def apply(self, sch: Any, config: Config) -> None:
        conv = sch.get_sblock("conv2d_transpose_nchw")
        copy, shared = cuda.in_registers(sch, conv)
        sch.compute_inline(sch.get_sblock("data_spread"))
        outermost, tx = cuda.tile_batch(sch, copy, config)
        sch.compute_at(conv, tx, preserve_unit_loops=True)

        *_, n, f, y, x, rc, ry, rx = sch.get_loops(conv)
        rc_outer, rc_middle, rc_inner = cuda.tile(sch, rc, config, "tile_rc")
        sch.reorder(rc_outer, rc_middle, ry, rx, rc_inner, n, f, y, x)
        cuda.fetch_both(sch, shared, rx, cuda.threads_of_four(config), contiguous=True)
        cuda.unroll(sch, outermost, config)
        sch.decompose_reduction(conv, rc_outer)

    def computation(self, config: Config) -> list[Any]:
        from tvm import te, tirx

        w = self.workload
        data, kernel = self.placeholders(config)
        (stride_y, stride_x), (pad_top, pad_left, _, _) = w.strides, w.padding
        top, left = w.kernel_height - 1 - pad_top, w.kernel_width - 1 - pad_left
        channels, filters = w.in_channels // w.groups, w.out_channels // w.groups

        def spread(n: Any, c: Any, y: Any, x: Any) -> Any:
            inside = tirx.all(
                y >= top,
                y < top + (w.height - 1) * stride_y + 1,
                te.indexmod(y - top, stride_y) == 0,
                x >= left,
                x < left + (w.width - 1) * stride_x + 1,
                te.indexmod(x - left, stride_x) == 0,
            )
            value = data[n, c, te.indexdiv(y - top, stride_y), te.indexdiv(x - left, stride_x)]
            return tirx.if_then_else(inside, value, tirx.const(0, w.dtype))

        size = w.out_height + w.kernel_height - 1, w.out_width + w.kernel_width - 1
        spread_data = te.compute((w.batch, w.in_channels, *size), spread, name="data_spread")
        rc = te.reduce_axis((0, channels), name="rc")
        ry = te.reduce_axis((0, w.kernel_height), name="ry")
        rx = te.reduce_axis((0, w.kernel_width), name="rx")

        def convolve(n: Any, f: Any, y: Any, x: Any) -> Any:
            channel = (te.indexdiv(f, filters) * channels if w.groups > 1 else 0) + rc
            tap = kernel[channel, te.indexmod(f, filters), w.kernel_height - 1 - ry, w.kernel_width - 1 - rx]
            return te.sum(spread_data[n, channel, y + ry, x + rx] * tap, axis=[rc, ry, rx])

        return [data, kernel, te.compute(w.output, convolve, name="conv2d_transpose_nchw")]


def _default_part(extent: int) -> int:
    return next((part for part in range(5, 17) if extent % part == 0), 1)
