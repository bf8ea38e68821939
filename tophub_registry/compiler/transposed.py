"""A transposed convolution as the plain convolution that AutoTVM turns it into on a processor.

Zeros are inserted between and around the pixels, and the kernel is flipped. The result is a convolution without padding
and strides, which uses the records of `conv2d_NCHWc.x86`. `conv2d_transpose_NCHWc.x86` needs none of this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import te, tirx

from tophub_registry.tasks.layers import TransposedConvolution

if TYPE_CHECKING:
    from numpy.typing import NDArray


def spread(data: te.Tensor, layer: TransposedConvolution) -> te.Tensor:
    """Insert zeros between and around the pixels.

    Parameters
    ----------
    data
        `[N, C, H, W]` or `[N, C/c, H, W, c]`; the result has the same layout.
    """
    stride_y, stride_x = layer.strides
    reach = [size - 1 for size in layer.kernel[2:]]
    top, left, bottom, right = (far - cut for far, cut in zip(reach * 2, layer.padding, strict=True))
    batch, channels, height, width, *block = data.shape
    sizes = [
        (size - 1) * stride + 1 + before + after + extra
        for size, stride, before, after, extra in zip(
            (height, width), layer.strides, (top, left), (bottom, right), layer.output_padding, strict=True
        )
    ]

    def pixel(n: Any, c: Any, y: Any, x: Any, *lane: Any) -> Any:
        y, x = y - top, x - left
        inside = tirx.all(
            y >= 0,
            y < (height - 1) * stride_y + 1,
            x >= 0,
            x < (width - 1) * stride_x + 1,
            te.indexmod(y, stride_y) == 0,
            te.indexmod(x, stride_x) == 0,
        )
        given = (n, c, te.indexdiv(y, stride_y), te.indexdiv(x, stride_x), *lane)
        return tirx.if_then_else(inside, data[given], tirx.const(0, data.dtype))

    return te.compute((batch, channels, *sizes, *block), pixel, name="spread")


def turned_over(kernel: NDArray[Any]) -> NDArray[Any]:
    """Return the flipped kernel, `[out, in, height, width]`, of a kernel `[in, out, height, width]`."""
    return np.ascontiguousarray(kernel.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1])
