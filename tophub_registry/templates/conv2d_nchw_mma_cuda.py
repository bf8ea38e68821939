"""`conv2d_nchw_mma_{float16,tf32,3xtf32}.cuda`: convolutions on tensor cores, as implicit matrix products.

Our own templates: see `mma_cuda`. Rows are the output's pixels. Data and output are `[N, 1, H, W, C]`, so channels
last, written as one block of all channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.templates.mma import PRECISIONS
from tophub_registry.templates.mma_cuda import MmaTemplate, Product
from tophub_registry.templates.workloads import Conv2d

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tophub_registry.records.record import Config


class _Conv2dMma(MmaTemplate):
    """A convolution without groups."""

    parse = staticmethod(Conv2d.parse)
    channels_last = True
    workload: Conv2d

    @property
    def product(self) -> Product:
        w = self.workload
        pixels = w.batch * w.out_height * w.out_width
        return Product(pixels, w.out_channels, w.in_channels, w.kernel_height * w.kernel_width)

    @property
    def data(self) -> tuple[int, ...]:
        w = self.workload
        return w.batch, 1, w.height, w.width, w.in_channels

    @property
    def written(self) -> tuple[int, ...]:
        w = self.workload
        return w.batch, 1, w.out_height, w.out_width, w.out_channels

    def seen(self, row: Any, tap: Any) -> tuple[list[Any], list[Any]]:
        w = self.workload
        n, y, x = row // (w.out_height * w.out_width), row // w.out_width % w.out_height, row % w.out_width
        in_y = y * w.strides[0] + tap // w.kernel_width * w.dilation[0] - w.padding[0]
        in_x = x * w.strides[1] + tap % w.kernel_width * w.dilation[1] - w.padding[1]
        inside = [in_y >= 0, in_y < w.height, in_x >= 0, in_x < w.width] if any(w.padding) else []
        return [n, 0, in_y, in_x], inside

    def pack(self, config: Config, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        data, kernel = inputs
        return [data.transpose(0, 2, 3, 1)[:, None].astype(self.precision.dtype), self.packed(config, kernel)]

    def unpack(self, config: Config, output: NDArray[Any]) -> NDArray[Any]:  # noqa: ARG002  # the same for all
        return output[:, 0].transpose(0, 3, 1, 2)


class Conv2dNCHWMmaFloat16(_Conv2dMma):
    """In float16, with sums in float32."""

    task = "conv2d_nchw_mma_float16.cuda"
    precision = PRECISIONS["float16"]
    tolerance = 5e-3


class Conv2dNCHWMmaTF32(_Conv2dMma):
    """In TF32: factors are rounded to ten bits."""

    task = "conv2d_nchw_mma_tf32.cuda"
    precision = PRECISIONS["tf32"]
    tolerance = 5e-3


class Conv2dNCHWMma3xTF32(_Conv2dMma):
    """In 3xTF32: each factor is the sum of two of TF32, which is nearly as exact as float32."""

    task = "conv2d_nchw_mma_3xtf32.cuda"
    precision = PRECISIONS["3xtf32"]
    tolerance = 2e-5
