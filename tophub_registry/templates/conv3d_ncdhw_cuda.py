"""`conv3d_ncdhw.cuda`: direct convolution over three axes, through shared memory.

Space and schedule are those of TVM's `topi/cuda/conv3d_direct.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.templates import cuda
from tophub_registry.templates.convolution_cuda import DirectConvolutionCuda, sum_by_tiles
from tophub_registry.templates.convolution_workloads import Conv3d
from tophub_registry.templates.space import ConfigSpace
from tophub_registry.templates.x86 import largest_divisor

if TYPE_CHECKING:
    from tophub_registry.records.record import Config

_NAMES = ("tile_f", "tile_d", "tile_y", "tile_x")


class Conv3dNCDHWCuda(DirectConvolutionCuda):
    """A convolution over depth, height and width on a CUDA device, in groups or not."""

    task = "conv3d_ncdhw.cuda"
    parse = staticmethod(Conv3d.parse_grouped)

    def _space(self) -> ConfigSpace:
        w = self.workload
        _, height, width = w.taps
        return ConfigSpace(
            [
                *cuda.tile_knobs(4, f=w.out_channels, d=w.out_size[0], y=w.out_height, x=w.out_width),
                # AutoTVM splits the kernel's depth as if it were its height.
                *cuda.tile_knobs(2, rc=self.channels, rd=height, ry=height, rx=width),
                *cuda.unroll_knobs(0, 512, 1500),
            ]
        )

    def limits(self, config: Config) -> cuda.CudaLimits:
        f, *tile = (math.prod(config.value(name)[1:]) for name in _NAMES)
        rc, *taps = self._reductions(config)
        channels = self.channels_fetched(f, rc)
        shared = channels * cuda.window(self.workload, tile, taps) + f * rc * math.prod(taps)
        blocks_z = self.workload.batch * cuda.blocks(self.workload.out_channels, config, "tile_f")
        return cuda.tile_limits(config, _NAMES, threads=_threads(config), shared=shared, blocks_z=blocks_z)

    def _reductions(self, config: Config) -> list[int]:
        """Return the inner parts of the reductions: channels, and the kernel's depth, height and width."""
        rc, rd, ry, rx = (config.value(f"tile_{name}")[1] for name in ("rc", "rd", "ry", "rx"))
        return [rc, largest_divisor(self.workload.taps[0], rd), ry, rx]

    def apply(self, sch: Any, config: Config) -> None:
        conv, copy, shared = self.stages(sch)
        outermost, _, tx = cuda.tile_image(sch, copy, config, _NAMES)
        sch.compute_at(conv, tx, preserve_unit_loops=True)
        sum_by_tiles(sch, conv, shared, self._reductions(config), _threads(config), contiguous=True)
        cuda.unroll(sch, outermost, config)


def _threads(config: Config) -> tuple[int, int, int]:
    """Return the threads along x, y and z: of columns, of rows, and of filters and depth."""
    f, d, y, x = (config.value(name)[2] for name in _NAMES)
    return x, y, f * d
