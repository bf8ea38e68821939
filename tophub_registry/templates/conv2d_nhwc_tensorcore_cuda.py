"""`conv2d_nhwc_tensorcore.cuda`: convolutions with channels last on tensor cores, for batches of at least eight.

Space and tiles are those of TVM's `topi/cuda/conv2d_nhwc_tensorcore.py`: each pixel of the output is a product of its
own, of the batch's images and the filters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.templates.convolution_workloads import Conv2dNHWC
from tophub_registry.templates.mma_cuda import Product
from tophub_registry.templates.wmma_cuda import WmmaTemplate

if TYPE_CHECKING:
    from collections.abc import Sequence


class Conv2dNHWCTensorcoreCuda(WmmaTemplate):
    """A convolution without groups, NHWC times HWIO."""

    task = "conv2d_nhwc_tensorcore.cuda"
    parse = staticmethod(Conv2dNHWC.parse)
    workload: Conv2dNHWC
    sizes = "batch, input and output channels"
    vector = "vector_width"
    sums_offset = "offset"
    preferred = (16, 8, 32)
    transposed = False
    converted = ("float32",)

    @property
    def product(self) -> Product:
        w = self.workload
        taps = w.kernel_height * w.kernel_width
        return Product(w.batch, w.out_channels, w.in_channels, taps, batch=w.out_height * w.out_width)

    def seen(self, batch: Any, row: Any, tap: Any, channel: Any) -> tuple[list[Any], list[Any]]:
        w = self.workload
        top, left, bottom, right = w.padding
        y, x = batch // w.out_width, batch % w.out_width
        y = y * w.strides[0] + tap // w.kernel_width * w.dilation[0] - top
        x = x * w.strides[1] + tap % w.kernel_width * w.dilation[1] - left
        inside = [y >= 0, y < w.height] if top or bottom else []
        inside += [x >= 0, x < w.width] if left or right else []
        return [row, y, x, channel], inside

    def weight(self, batch: Any, tap: Any, channel: Any, column: Any) -> list[Any]:  # noqa: ARG002  # all have the same
        return [tap // self.workload.kernel_width, tap % self.workload.kernel_width, channel, column]

    def output_at(self, at: Sequence[Any]) -> tuple[Any, Any, Any]:
        image, y, x, channel = at
        return y * self.workload.out_width + x, image, channel
