"""`conv2d_nchw_winograd.cuda`: Winograd's convolution of images.

Space and schedule are those of TVM's `topi/cuda/conv2d_winograd.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.errors import InputError
from tophub_registry.templates import cuda
from tophub_registry.templates.convolution_workloads import Conv2d
from tophub_registry.templates.space import ConfigSpace, split
from tophub_registry.templates.winograd_cuda import TAPS, WinogradCuda

if TYPE_CHECKING:
    from tophub_registry.records.record import Config


class Conv2dNCHWWinogradCuda(WinogradCuda):
    """A convolution with a square kernel, without groups, strides and dilation."""

    task = "conv2d_nchw_winograd.cuda"
    parse = staticmethod(Conv2d.parse)

    def __init__(self, args: list[Any]) -> None:
        super().__init__(args)
        w = self.workload
        if w.kernel_height != w.kernel_width or w.kernel_width not in TAPS or w.strides + w.dilation != (1, 1, 1, 1):
            raise InputError(
                f"Winograd's convolution needs a square kernel of 3 to 7, without strides and dilation: {args!r}"
            )

    def _axes(self) -> int:
        return 2

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                split("tile_b", self.size**2, parts=4, keep=lambda size: size[1:] == [1, 1, 1]),
                *cuda.tile_knobs(4, y=w.out_channels, x=self.tiles),
                *cuda.tile_knobs(2, rc=w.in_channels),
                *cuda.unroll_knobs(0, 128, 1500),
            ]
        )

    def limits(self, config: Config) -> cuda.CudaLimits:
        y, x = config.value("tile_y")[1:], config.value("tile_x")[1:]
        shared = config.value("tile_rc")[1] * (math.prod(y) + math.prod(x))
        return cuda.tile_limits(config, ("tile_y", "tile_x"), threads=(x[1], y[1], 1), shared=shared)
