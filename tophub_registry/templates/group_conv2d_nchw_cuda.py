"""`group_conv2d_nchw.cuda`: convolution of the channels in groups, by way of shared memory.

Space and schedule are those of TVM's `topi/cuda/group_conv2d_nchw.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.templates import cuda
from tophub_registry.templates.padding import pad
from tophub_registry.templates.space import ConfigSpace, knob, split
from tophub_registry.templates.workloads import Conv2d

if TYPE_CHECKING:
    from tophub_registry.records.record import Config
    from tophub_registry.templates.template import Tensor


class GroupConv2dNCHWCuda(cuda.CudaTemplate):
    """A convolution with groups on a CUDA device."""

    task = "group_conv2d_nchw.cuda"
    parse = staticmethod(Conv2d.parse_grouped)
    workload: Conv2d

    def __init__(self, args: list[Any]) -> None:
        super().__init__(args)
        self.channels = self.workload.in_channels // self.workload.groups
        self.filters = self.workload.out_channels // self.workload.groups

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                split("tile_n", w.batch, parts=4),
                split("tile_g", w.groups, parts=2),
                split("tile_f", self.filters, parts=4),
                split("tile_y", w.out_height, parts=4),
                split("tile_x", w.out_width, parts=4),
                split("tile_rc", self.channels, parts=2),
                split("tile_ry", w.kernel_height, parts=2),
                split("tile_rx", w.kernel_width, parts=2),
                *cuda.unroll_knobs(0, 512, 1500),
                knob("fuse_yx", [0, 1]),
            ]
        )

    def limits(self, config: Config) -> cuda.CudaLimits:
        n, f, y, x = (config.value(name)[1:] for name in ("tile_n", "tile_f", "tile_y", "tile_x"))
        groups = config.value("tile_g")[1]
        rc, ry, rx = self._reductions(config)
        # At most: of several groups, what lies between their channels is fetched as well.
        channels = (groups - 1) * self.channels + rc
        filters = (groups - 1) * self.filters + math.prod(f) if groups > 1 else math.prod(f)
        data = math.prod(n) * channels * cuda.window(self.workload, (math.prod(y), math.prod(x)), (ry, rx))
        vthreads = groups * n[0] * f[0] * y[0] * x[0]
        return cuda.CudaLimits(
            threads=cuda.threads_of_four(config),
            shared_bytes=cuda.FLOAT_BYTES * (data + filters * rc * ry * rx),
            vthreads=vthreads,
            sums=vthreads * n[2] * f[2] * y[2] * x[2],
        )

    def _reductions(self, config: Config) -> tuple[int, int, int]:
        """Return the inner parts of the sums; AutoTVM splits the rows by the columns' knob, and the other way round."""
        w = self.workload
        rc, rx, ry = (config.value(name)[1] for name in ("tile_rc", "tile_ry", "tile_rx"))
        return rc, min(ry, w.kernel_height), min(rx, w.kernel_width)

    def tensors(self, config: Config) -> list[Tensor]:  # noqa: ARG002  # the same for every config
        return cuda.convolution_tensors(self.workload, (self.workload.out_channels, self.channels))

    def apply(self, sch: Any, config: Config) -> None:
        conv = sch.get_sblock("group_conv2d_nchw")
        copy = sch.cache_write(conv, 0, "local")  # `conv` now sums up in registers and `copy` writes it out
        data, kernel = (sch.cache_read(conv, place, "shared") for place in range(2))
        sch.compute_inline(sch.get_sblock("data_pad"))

        n, f, y, x = sch.get_loops(copy)
        g, f = sch.split(f, [self.workload.groups, None])
        bn, vn, tn, ni = cuda.tile(sch, n, config, "tile_n")
        bg, vg = cuda.tile(sch, g, config, "tile_g")
        bf, vf, tf, fi = cuda.tile(sch, f, config, "tile_f")
        by, vy, ty, yi = cuda.tile(sch, y, config, "tile_y")
        bx, vx, tx, xi = cuda.tile(sch, x, config, "tile_x")
        sch.reorder(bn, bg, bf, by, bx, vn, vg, vf, vy, vx, tn, tf, ty, tx, ni, fi, yi, xi)
        cuda.bind(sch, blockIdx_z=bn, blockIdx_y=sch.fuse(bg, bf), blockIdx_x=sch.fuse(by, bx))
        cuda.bind_virtual(sch, [vn, vg, vf, vy, vx])
        innermost = cuda.bind_four(sch, config, [tn, tf, ty, tx])
        sch.compute_at(conv, innermost, preserve_unit_loops=True)

        *_, n, f, y, x, rc, ry, rx = sch.get_loops(conv)
        parts = self._reductions(config)
        outer, inner = zip(
            *(sch.split(loop, [None, part]) for loop, part in zip((rc, ry, rx), parts, strict=True)), strict=True
        )
        sch.reorder(*outer, *inner, n, f, y, x)
        for load in (data, kernel):
            cuda.fetch(sch, load, outer[-1], cuda.threads_of_four(config), contiguous=False)
        cuda.unroll(sch, bn, config)
        sch.decompose_reduction(conv, outer[0])

    def computation(self, config: Config) -> list[Any]:
        from tvm import te

        w = self.workload
        data, kernel = cuda.placeholders(self.tensors(config))
        padded = pad(data, w.padding)
        rc = te.reduce_axis((0, self.channels), name="rc")
        ry = te.reduce_axis((0, w.kernel_height), name="ry")
        rx = te.reduce_axis((0, w.kernel_width), name="rx")

        def convolve(n: Any, f: Any, y: Any, x: Any) -> Any:
            row, column = y * w.strides[0] + ry * w.dilation[0], x * w.strides[1] + rx * w.dilation[1]
            channel = te.indexdiv(f, self.filters) * self.channels + rc
            return te.sum(padded[n, channel, row, column] * kernel[f, rc, ry, rx], axis=[rc, ry, rx])

        shape = (w.batch, w.out_channels, w.out_height, w.out_width)
        return [data, kernel, te.compute(shape, convolve, name="group_conv2d_nchw")]
