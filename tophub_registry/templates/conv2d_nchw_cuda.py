"""`conv2d_nchw.cuda`: direct convolution; data and kernel are fetched into shared memory tile by tile.

Space and schedule are those of TVM's `topi/cuda/conv2d_direct.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.templates import cuda
from tophub_registry.templates.convolution import Term
from tophub_registry.templates.convolution_cuda import ConvolutionCuda, sum_by_tiles
from tophub_registry.templates.convolution_workloads import Conv2d
from tophub_registry.templates.space import ConfigSpace

if TYPE_CHECKING:
    from tophub_registry.records.record import Config


class Conv2dNCHWCuda(ConvolutionCuda):
    """A convolution without groups on a CUDA device."""

    task = "conv2d_nchw.cuda"
    parse = staticmethod(Conv2d.parse)

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                *cuda.tile_knobs(4, f=w.out_channels, y=w.out_height, x=w.out_width),
                *cuda.tile_knobs(2, rc=w.in_channels, ry=w.kernel_height, rx=w.kernel_width),
                *cuda.unroll_knobs(0, 512, 1500),
            ]
        )

    def limits(self, config: Config) -> cuda.CudaLimits:
        names = ("tile_f", "tile_y", "tile_x")
        f, y, x = (math.prod(config.value(name)[1:]) for name in names)
        rc, ry, rx = (config.value(name)[1] for name in ("tile_rc", "tile_ry", "tile_rx"))
        shared = rc * cuda.window(self.workload, (y, x), (ry, rx)) + f * rc * ry * rx
        blocks_z = self.workload.batch * cuda.blocks(self.workload.out_channels, config, "tile_f")
        return cuda.tile_limits(config, names, threads=cuda.threads_of(config), shared=shared, blocks_z=blocks_z)

    def apply(self, sch: Any, config: Config) -> None:
        conv, copy, shared = self.stages(sch)
        outermost, _, tx = cuda.tile_image(sch, copy, config)
        sch.compute_at(conv, tx, preserve_unit_loops=True)
        parts = [config.value(name)[1] for name in ("tile_rc", "tile_ry", "tile_rx")]
        sum_by_tiles(sch, conv, shared, parts, cuda.threads_of(config), contiguous=True)
        cuda.unroll(sch, outermost, config)

    def computation(self, config: Config) -> list[Any]:
        def term(f: Any) -> Term:
            from tvm import te

            rc = te.reduce_axis((0, self.workload.in_channels), name="rc")
            return Term((rc,), (rc,), (f, rc))

        return self.convolution(config, term)
