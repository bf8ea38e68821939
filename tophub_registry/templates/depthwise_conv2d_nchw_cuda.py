"""`depthwise_conv2d_nchw.cuda`: each channel convolved with a kernel of its own, by way of shared memory and registers.

Space and schedule are those of TVM's `topi/cuda/depthwise_conv2d.py`.
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


class DepthwiseConv2dNCHWCuda(cuda.CudaTemplate):
    """A depthwise convolution on a CUDA device."""

    task = "depthwise_conv2d_nchw.cuda"
    parse = staticmethod(Conv2d.parse_depthwise)
    workload: Conv2d

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                split("tile_f", w.out_channels, parts=4),
                split("tile_y", w.out_height, parts=4),
                split("tile_x", w.out_width, parts=4),
                *cuda.unroll_knobs(0, 256, 1500),
            ]
        )

    def limits(self, config: Config) -> cuda.CudaLimits:
        w = self.workload
        f, y, x = (config.value(name)[1:] for name in ("tile_f", "tile_y", "tile_x"))
        taps = w.kernel_height, w.kernel_width
        channel = cuda.window(w, (math.prod(y), math.prod(x)), taps) + math.prod(taps)
        return cuda.CudaLimits(
            threads=cuda.threads_of(config),
            shared_bytes=cuda.FLOAT_BYTES * math.prod(f) * channel,
            vthreads=f[0] * y[0] * x[0],
            sums=f[0] * y[0] * x[0] * f[2] * y[2] * x[2],
        )

    def tensors(self, config: Config) -> list[Tensor]:  # noqa: ARG002  # the same for every config
        return cuda.convolution_tensors(self.workload, (self.workload.in_channels, 1))

    def apply(self, sch: Any, config: Config) -> None:
        conv = sch.get_sblock("depthwise_conv2d_nchw")
        copy = sch.cache_write(conv, 0, "local")  # `conv` now sums up in registers and `copy` writes it out
        shared = [sch.cache_read(conv, place, "shared") for place in range(2)]
        local = [sch.cache_read(conv, place, "local") for place in range(2)]
        sch.compute_inline(sch.get_sblock("data_pad"))

        outermost, bx, tx = cuda.tile_image(sch, copy, config)
        sch.compute_at(conv, tx, preserve_unit_loops=True)
        for load in local:
            sch.compute_at(load, tx, preserve_unit_loops=True)
        for load in shared:
            cuda.fetch(sch, load, bx, cuda.threads_of(config), contiguous=False)
        cuda.unroll(sch, outermost, config)
        *_, ry, _ = sch.get_loops(conv)
        sch.decompose_reduction(conv, ry)

    def computation(self, config: Config) -> list[Any]:
        from tvm import te

        w = self.workload
        data, kernel = cuda.placeholders(self.tensors(config))
        padded = pad(data, w.padding)
        ry = te.reduce_axis((0, w.kernel_height), name="ry")
        rx = te.reduce_axis((0, w.kernel_width), name="rx")

        def convolve(n: Any, f: Any, y: Any, x: Any) -> Any:
            row, column = y * w.strides[0] + ry * w.dilation[0], x * w.strides[1] + rx * w.dilation[1]
            return te.sum(padded[n, f, row, column] * kernel[f, 0, ry, rx], axis=[ry, rx])

        shape = (w.batch, w.out_channels, w.out_height, w.out_width)
        return [data, kernel, te.compute(shape, convolve, name="depthwise_conv2d_nchw")]
