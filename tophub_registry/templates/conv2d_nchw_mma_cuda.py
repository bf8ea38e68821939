"""`conv2d_nchw_mma_{float16,tf32,3xtf32}.cuda`: convolutions on tensor cores, as implicit matrix products.

Our own templates: see `mma_cuda`; `conv2d_nchw_wgmma_{float16,tf32,3xtf32}.cuda`, for Hopper: see `wgmma_cuda`. Rows
are the output's pixels. Data and output are `[N, 1, H, W, C]`, so channels last, written as one block of all channels.

Where the input channels are no multiple of what is copied at once, as an image's three, the data are plain,
`[N, C, H, W]`, and a kernel of its own writes them with padding, channels last. What a row of a convolution's kernel
reads then lies side by side, so that all of its pixels' channels are one tap's.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from tophub_registry.templates.convolution_workloads import Conv2d
from tophub_registry.templates.mma import PRECISIONS
from tophub_registry.templates.mma_cuda import MmaTemplate, Product, rounded_up
from tophub_registry.templates.wgmma_cuda import SplitWgmmaTemplate, WgmmaTemplate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tophub_registry.records.record import Config
    from tophub_registry.templates.convolution_workloads import TransposedConv2d

_GATHERED = "gathered"


class ChannelsLastMma(MmaTemplate):
    """A convolution, plain or transposed, whose data and output have their channels last."""

    channels_last = True
    workload: Conv2d | TransposedConv2d

    @property
    def data(self) -> tuple[int, ...]:
        w = self.workload
        return w.batch, 1, w.height, w.width, w.in_channels

    @property
    def written(self) -> tuple[int, ...]:
        w = self.workload
        return w.batch, 1, w.out_height, w.out_width, w.out_channels

    def packed_data(self, data: NDArray[Any]) -> NDArray[Any]:
        """Return data, `[N, C, H, W]`, in the kernel's layout."""
        return data.transpose(0, 2, 3, 1)[:, None].astype(self.precision.dtype)

    def unpack(self, config: Config, output: NDArray[Any]) -> NDArray[Any]:  # noqa: ARG002  # the same for all
        return output[:, 0].transpose(0, 3, 1, 2)


class Conv2dMma(ChannelsLastMma):
    """A convolution without groups."""

    parse = staticmethod(Conv2d.parse)
    workload: Conv2d

    @property
    def reads_plain(self) -> bool:
        return self.workload.in_channels % self.precision.vector != 0

    @property
    def product(self) -> Product:
        w = self.workload
        pixels = w.batch * w.out_height * w.out_width
        if self.reads_plain:
            row = rounded_up(w.kernel_width * self._pixel, self.precision.vector)
            return Product(pixels, w.out_channels, row, w.kernel_height)
        return Product(pixels, w.out_channels, w.in_channels, w.kernel_height * w.kernel_width)

    @property
    def _pixel(self) -> int:
        """A gathered pixel's numbers: its channels, and zeros so that what an output reads begins at a vector."""
        w, vector = self.workload, self.precision.vector
        return next(size for size in itertools.count(w.in_channels) if size * w.strides[1] % vector == 0)

    @property
    def data(self) -> tuple[int, ...]:
        return self.workload.inputs[0] if self.reads_plain else super().data

    @property
    def taken(self) -> str:
        return self.workload.dtype if self.reads_plain else self.precision.dtype

    def _not_served(self) -> str:
        w = self.workload
        if self.reads_plain and w.kernel_width > 1 and w.dilation[1] > 1:
            return f"its {w.in_channels} input channels are no multiple of {self.precision.vector}, and it is dilated"
        return super()._not_served()

    @property
    def gathers(self) -> Sequence[str]:
        return [_GATHERED] if self.reads_plain else []

    def gathered(self, data: Any) -> Any:
        from tvm import te, tirx

        if not self.reads_plain:
            return data
        w, pixel, dtype = self.workload, self._pixel, self.precision.dtype
        rows = (w.out_height - 1) * w.strides[0] + (w.kernel_height - 1) * w.dilation[0] + 1
        numbers = rounded_up((w.out_width - 1) * w.strides[1] * pixel + self.product.channels, self.precision.vector)

        def padded(n: Any, row: Any, number: Any) -> Any:
            y, x, channel = row - w.padding[0], number // pixel - w.padding[1], number % pixel
            inside = tirx.all(y >= 0, y < w.height, x >= 0, x < w.width, channel < w.in_channels)
            return tirx.if_then_else(inside, data[n, channel, y, x].astype(dtype), tirx.const(0, dtype))

        return te.compute((w.batch, rows, numbers), padded, name=_GATHERED)

    def output_at(self, at: Sequence[Any]) -> tuple[Any, Any, Any]:
        w, columns = self.workload, self.product.columns
        n, _, y, x, channel = at
        return channel // columns, (n * w.out_height + y) * w.out_width + x, channel % columns

    def seen(self, batch: Any, row: Any, tap: Any, channel: Any) -> tuple[list[Any], list[Any]]:
        w = self.workload
        n, y, x = row // (w.out_height * w.out_width), row // w.out_width % w.out_height, row % w.out_width
        if self.reads_plain:
            return [n, y * w.strides[0] + tap * w.dilation[0], x * (w.strides[1] * self._pixel) + channel], []
        in_y = y * w.strides[0] + tap // w.kernel_width * w.dilation[0] - w.padding[0]
        in_x = x * w.strides[1] + tap % w.kernel_width * w.dilation[1] - w.padding[1]
        inside = [in_y >= 0, in_y < w.height, in_x >= 0, in_x < w.width] if any(w.padding) else []
        return [n, 0, in_y, in_x, batch * self.product.channels + channel], inside

    def pack(self, config: Config, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        import numpy as np

        data, kernel = inputs
        if not self.reads_plain:
            return [self.packed_data(data), self.packed(config, kernel)]
        w, p = self.workload, self.product
        rows = np.zeros((p.columns, w.kernel_height, p.channels), kernel.dtype)
        pixels = rows[:, :, : w.kernel_width * self._pixel].reshape(*rows.shape[:2], w.kernel_width, self._pixel)
        pixels[..., : w.in_channels] = kernel.transpose(0, 2, 3, 1)
        rows[:, :, : w.kernel_width * self._pixel] = pixels.reshape(*rows.shape[:2], -1)
        return [data, self.packed(config, rows.transpose(0, 2, 1))]


class Conv2dNCHWMmaFloat16(Conv2dMma):
    """In float16, with sums in float32."""

    task = "conv2d_nchw_mma_float16.cuda"
    precision = PRECISIONS["float16"]
    tolerance = 5e-3


class Conv2dNCHWMmaTF32(Conv2dMma):
    """In TF32: factors are rounded to ten bits."""

    task = "conv2d_nchw_mma_tf32.cuda"
    precision = PRECISIONS["tf32"]
    tolerance = 5e-3


class Conv2dNCHWMma3xTF32(Conv2dMma):
    """In 3xTF32: each factor is the sum of two of TF32, which is nearly as exact as float32."""

    task = "conv2d_nchw_mma_3xtf32.cuda"
    precision = PRECISIONS["3xtf32"]
    tolerance = 2e-5


class Conv2dNCHWWgmmaFloat16(WgmmaTemplate, Conv2dMma):
    """In float16 on Hopper, with sums in float32."""

    task = "conv2d_nchw_wgmma_float16.cuda"
    precision = PRECISIONS["float16"]
    tolerance = 5e-3


class Conv2dNCHWWgmmaTF32(WgmmaTemplate, Conv2dMma):
    """In TF32 on Hopper: factors are rounded to ten bits."""

    task = "conv2d_nchw_wgmma_tf32.cuda"
    precision = PRECISIONS["tf32"]
    tolerance = 5e-3


class Conv2dNCHWWgmma3xTF32(SplitWgmmaTemplate, Conv2dMma):
    """In 3xTF32 on Hopper: each factor is the sum of two of TF32, which is nearly as exact as float32."""

    task = "conv2d_nchw_wgmma_3xtf32.cuda"
    precision = PRECISIONS["3xtf32"]
    tolerance = 2e-5
