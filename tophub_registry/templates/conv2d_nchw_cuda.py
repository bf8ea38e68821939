"""`conv2d_nchw.cuda`: direct convolution, data and kernel fetched into shared memory tile by tile.

Space and schedule are those of TVM's `topi/cuda/conv2d_direct.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.templates import cuda
from tophub_registry.templates.padding import pad
from tophub_registry.templates.space import ConfigSpace, split
from tophub_registry.templates.workloads import Conv2d

if TYPE_CHECKING:
    from tophub_registry.records.record import Config
    from tophub_registry.templates.template import Tensor


class Conv2dNCHWCuda(cuda.CudaTemplate):
    """A convolution without groups on a CUDA device."""

    task = "conv2d_nchw.cuda"
    parse = staticmethod(Conv2d.parse)
    workload: Conv2d

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                split("tile_f", w.out_channels, parts=4),
                split("tile_y", w.out_height, parts=4),
                split("tile_x", w.out_width, parts=4),
                split("tile_rc", w.in_channels, parts=2),
                split("tile_ry", w.kernel_height, parts=2),
                split("tile_rx", w.kernel_width, parts=2),
                *cuda.unroll_knobs(0, 512, 1500),
            ]
        )

    def limits(self, config: Config) -> cuda.CudaLimits:
        f, y, x = (config.value(name)[1:] for name in ("tile_f", "tile_y", "tile_x"))
        rc, ry, rx = (config.value(name)[1] for name in ("tile_rc", "tile_ry", "tile_rx"))
        data = rc * cuda.window(self.workload, (math.prod(y), math.prod(x)), (ry, rx))
        kernel = math.prod(f) * rc * ry * rx
        return cuda.CudaLimits(
            threads=cuda.threads_of(config),
            shared_bytes=cuda.FLOAT_BYTES * (data + kernel),
            vthreads=f[0] * y[0] * x[0],
            sums=f[0] * y[0] * x[0] * f[2] * y[2] * x[2],
        )

    def tensors(self, config: Config) -> list[Tensor]:  # noqa: ARG002  # the same for every config
        return cuda.convolution_tensors(self.workload, (self.workload.out_channels, self.workload.in_channels))

    def apply(self, sch: Any, config: Config) -> None:
        conv = sch.get_sblock("conv2d_nchw")
        copy = sch.cache_write(conv, 0, "local")  # `conv` now sums up in registers and `copy` writes it out
        data, kernel = (sch.cache_read(conv, place, "shared") for place in range(2))
        sch.compute_inline(sch.get_sblock("data_pad"))

        outermost, _, tx = cuda.tile_image(sch, copy, config)
        sch.compute_at(conv, tx, preserve_unit_loops=True)

        *_, n, f, y, x, rc, ry, rx = sch.get_loops(conv)
        rc_outer, rc_inner = cuda.tile(sch, rc, config, "tile_rc")
        ry_outer, ry_inner = cuda.tile(sch, ry, config, "tile_ry")
        rx_outer, rx_inner = cuda.tile(sch, rx, config, "tile_rx")
        sch.reorder(rc_outer, ry_outer, rx_outer, rc_inner, ry_inner, rx_inner, n, f, y, x)
        for load in (data, kernel):
            cuda.fetch(sch, load, rx_outer, cuda.threads_of(config), contiguous=True)
        cuda.unroll(sch, outermost, config)
        sch.decompose_reduction(conv, rc_outer)

    def computation(self, config: Config) -> list[Any]:
        from tvm import te

        w = self.workload
        data, kernel = cuda.placeholders(self.tensors(config))
        padded = pad(data, w.padding)
        rc = te.reduce_axis((0, w.in_channels), name="rc")
        ry = te.reduce_axis((0, w.kernel_height), name="ry")
        rx = te.reduce_axis((0, w.kernel_width), name="rx")

        def convolve(n: Any, f: Any, y: Any, x: Any) -> Any:
            row, column = y * w.strides[0] + ry * w.dilation[0], x * w.strides[1] + rx * w.dilation[1]
            return te.sum(padded[n, rc, row, column] * kernel[f, rc, ry, rx], axis=[rc, ry, rx])

        shape = (w.batch, w.out_channels, w.out_height, w.out_width)
        return [data, kernel, te.compute(shape, convolve, name="conv2d_nchw")]
