"""`group_conv2d_nchw.cuda`: grouped convolution, through shared memory.

Space and schedule are those of TVM's `topi/cuda/group_conv2d_nchw.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.templates import cuda
from tophub_registry.templates.convolution import Term
from tophub_registry.templates.convolution_cuda import ConvolutionCuda, sum_by_tiles
from tophub_registry.templates.convolution_workloads import Conv2d
from tophub_registry.templates.space import ConfigSpace, knob

if TYPE_CHECKING:
    from tophub_registry.records.record import Config


class GroupConv2dNCHWCuda(ConvolutionCuda):
    """A convolution with groups on a CUDA device."""

    task = "group_conv2d_nchw.cuda"
    parse = staticmethod(Conv2d.parse_grouped)

    def __init__(self, args: list[Any]) -> None:
        super().__init__(args)
        self.channels = self.workload.in_channels // self.workload.groups
        self.filters = self.workload.out_channels // self.workload.groups

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                *cuda.tile_knobs(4, n=w.batch),
                *cuda.tile_knobs(2, g=w.groups),
                *cuda.tile_knobs(4, f=self.filters, y=w.out_height, x=w.out_width),
                *cuda.tile_knobs(2, rc=self.channels, ry=w.kernel_height, rx=w.kernel_width),
                *cuda.unroll_knobs(0, 512, 1500),
                knob("fuse_yx", [0, 1]),
            ]
        )

    def limits(self, config: Config) -> cuda.CudaLimits:
        names = ("tile_n", "tile_f", "tile_y", "tile_x")
        n, f, y, x = (math.prod(config.value(name)[1:]) for name in names)
        groups = config.value("tile_g")[1]
        rc, ry, rx = self._reductions(config)
        # An upper bound: with several groups, everything between their channels is fetched too.
        channels, filters = (groups - 1) * self.channels + rc, (groups - 1) * self.filters + f
        shared = n * channels * cuda.window(self.workload, (y, x), (ry, rx)) + filters * rc * ry * rx
        blocks_z = cuda.blocks(self.workload.batch, config, "tile_n")
        return cuda.tile_limits(
            config, names, threads=cuda.threads_of_four(config), shared=shared, groups=groups, blocks_z=blocks_z
        )

    def _reductions(self, config: Config) -> tuple[int, int, int]:
        """Return the inner parts of the reductions; AutoTVM splits rows by the columns' knob and vice versa."""
        w = self.workload
        rc, rx, ry = (config.value(name)[1] for name in ("tile_rc", "tile_ry", "tile_rx"))
        return rc, min(ry, w.kernel_height), min(rx, w.kernel_width)

    def apply(self, sch: Any, config: Config) -> None:
        conv, copy, shared = self.stages(sch)
        outermost, tx = cuda.tile_batch(sch, copy, config, self.workload.groups)
        sch.compute_at(conv, tx, preserve_unit_loops=True)
        sum_by_tiles(sch, conv, shared, self._reductions(config), cuda.threads_of_four(config), contiguous=False)
        cuda.unroll(sch, outermost, config)

    def computation(self, config: Config) -> list[Any]:
        def term(f: Any) -> Term:
            from tvm import te

            rc = te.reduce_axis((0, self.channels), name="rc")
            return Term((rc,), (te.indexdiv(f, self.filters) * self.channels + rc,), (f, rc))

        return self.convolution(config, term)
