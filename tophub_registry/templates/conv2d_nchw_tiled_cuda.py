"""`conv2d_nchw_tiled.cuda`: convolutions without groups in float32, as implicit products of filters and pixels.

Our own template: see `tiled_cuda`. Terms are the channels of each tap of the kernel. Data and output are
`[N, C, H, W]`, weights `[taps, channels, filters]`. With a stride only the pixels that are used are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.templates.convolution_workloads import Conv2d
from tophub_registry.templates.template import Tensor
from tophub_registry.templates.tiled_cuda import Factor, Sizes, TiledCuda

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tophub_registry.records.record import Config


class Conv2dNCHWTiledCuda(TiledCuda):
    """A convolution with any kernel, stride, padding and dilation."""

    task = "conv2d_nchw_tiled.cuda"
    parse = staticmethod(Conv2d.parse)
    workload: Conv2d

    @property
    def _taps(self) -> int:
        return self.workload.kernel_height * self.workload.kernel_width

    @property
    def _pixels(self) -> int:
        return self.workload.out_height * self.workload.out_width

    @property
    def sizes(self) -> Sizes:
        w = self.workload
        return Sizes(w.out_channels, w.batch * self._pixels, self._taps * w.in_channels)

    @property
    def factors(self) -> tuple[Factor, Factor]:
        w = self.workload
        as_they_lie = self._taps == 1 and set(w.strides) == {1} and not any(w.padding)
        return Factor(places=w.out_channels), Factor(places=self._pixels if as_they_lie else 1)

    def left(self, given: Sequence[Any], at: Sequence[Any]) -> tuple[Any, list[Any]]:
        _, weights = given
        _, term, filter_ = at
        channels = self.workload.in_channels
        return weights[term // channels, term % channels, filter_], []

    def right(self, given: Sequence[Any], at: Sequence[Any]) -> tuple[Any, list[Any]]:
        w, (data, _) = self.workload, given
        _, term, place = at
        tap, channel = term // w.in_channels, term % w.in_channels
        image, pixel = place // self._pixels, place % self._pixels
        y = pixel // w.out_width * w.strides[0] + tap // w.kernel_width * w.dilation[0] - w.padding[0]
        x = pixel % w.out_width * w.strides[1] + tap % w.kernel_width * w.dilation[1] - w.padding[1]
        inside = [y >= 0, y < w.height, x >= 0, x < w.width] if any(w.padding) else []
        return data[image, channel, y, x], inside

    def output_at(self, at: Sequence[Any]) -> tuple[Any, Any, Any]:
        image, filter_, y, x = at
        return 0, filter_, image * self._pixels + y * self.workload.out_width + x

    def tensors(self, config: Config) -> list[Tensor]:
        w, (data, _, output) = self.workload, super().tensors(config)
        return [data, Tensor((self._taps, w.in_channels, w.out_channels), w.dtype), output]

    def pack(self, config: Config, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:  # noqa: ARG002  # always the same
        data, weights = inputs
        w = self.workload
        return [data, weights.reshape(w.out_channels, w.in_channels, self._taps).transpose(2, 1, 0)]
