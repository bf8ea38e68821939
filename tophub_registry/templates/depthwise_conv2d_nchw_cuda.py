"""`depthwise_conv2d_nchw.cuda`: each channel has its own kernel; data goes through shared memory and registers.

Space and schedule are those of TVM's `topi/cuda/depthwise_conv2d.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.templates import cuda
from tophub_registry.templates.convolution import Term
from tophub_registry.templates.convolution_cuda import ConvolutionCuda
from tophub_registry.templates.convolution_workloads import Conv2d
from tophub_registry.templates.space import ConfigSpace

if TYPE_CHECKING:
    from tophub_registry.records.record import Config


class DepthwiseConv2dNCHWCuda(ConvolutionCuda):
    """A depthwise convolution on a CUDA device."""

    task = "depthwise_conv2d_nchw.cuda"
    parse = staticmethod(Conv2d.parse_depthwise)

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                *cuda.tile_knobs(4, f=w.out_channels, y=w.out_height, x=w.out_width),
                *cuda.unroll_knobs(0, 256, 1500),
            ]
        )

    def limits(self, config: Config) -> cuda.CudaLimits:
        w, names = self.workload, ("tile_f", "tile_y", "tile_x")
        f, y, x = (math.prod(config.value(name)[1:]) for name in names)
        taps = w.kernel_height, w.kernel_width
        shared = f * (cuda.window(w, (y, x), taps) + math.prod(taps))
        blocks_z = w.batch * cuda.blocks(w.out_channels, config, "tile_f")
        return cuda.tile_limits(config, names, threads=cuda.threads_of(config), shared=shared, blocks_z=blocks_z)

    def apply(self, sch: Any, config: Config) -> None:
        conv, copy, shared = self.stages(sch)
        local = [sch.cache_read(conv, place, "local") for place in range(2)]
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
        return self.convolution(config, lambda f: Term((), (f,), (f, 0)))
