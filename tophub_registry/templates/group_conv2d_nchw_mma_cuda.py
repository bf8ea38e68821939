"""`group_conv2d_nchw_mma_{float16,tf32,3xtf32}.cuda`: convolutions with groups on tensor cores.

Our own templates: see `conv2d_nchw_mma_cuda`. A group is a matrix product of its own. Groups too narrow for a tile are
computed several at once, with zeros in the weights where a filter does not read another group's channels: that
multiplies what is computed, but not what is read and written, which is what such layers take their time for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.records.tensor_cores import groups_together
from tophub_registry.templates.conv2d_nchw_mma_cuda import Conv2dMma
from tophub_registry.templates.convolution_workloads import Conv2d
from tophub_registry.templates.mma import PRECISIONS
from tophub_registry.templates.mma_cuda import Product

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tophub_registry.records.record import Config


class _GroupConv2dMma(Conv2dMma):
    """A convolution with groups."""

    parse = staticmethod(Conv2d.parse_grouped)

    @property
    def reads_plain(self) -> bool:
        return False

    @property
    def _group(self) -> tuple[int, int]:
        """The output and the input channels of a group."""
        w = self.workload
        return w.out_channels // w.groups, w.in_channels // w.groups

    @property
    def _together(self) -> int:
        return groups_together(self.workload.groups, *self._group, self.precision.vector)

    @property
    def product(self) -> Product:
        w, (filters, channels), groups = self.workload, self._group, self._together
        pixels, taps = w.batch * w.out_height * w.out_width, w.kernel_height * w.kernel_width
        return Product(pixels, groups * filters, groups * channels, taps, w.groups // groups)

    def _not_served(self) -> str:
        if not self._together:
            filters, channels = self._group
            return f"its {self.workload.groups} groups of {channels} and {filters} channels do not fill tiles"
        return super()._not_served()

    def packed(self, config: Config, weights: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        (filters, channels), together, taps = self._group, self._together, self.product.taps
        apart = np.zeros((self.product.batch, together, filters, together, channels, taps), weights.dtype)
        each = weights.reshape(self.product.batch, together, filters, channels, taps)
        for number in range(together):
            apart[:, number, :, number] = each[:, number]
        return super().packed(config, apart)


class GroupConv2dNCHWMmaFloat16(_GroupConv2dMma):
    """In float16, with sums in float32."""

    task = "group_conv2d_nchw_mma_float16.cuda"
    precision = PRECISIONS["float16"]
    tolerance = 5e-3


class GroupConv2dNCHWMmaTF32(_GroupConv2dMma):
    """In TF32: factors are rounded to ten bits."""

    task = "group_conv2d_nchw_mma_tf32.cuda"
    precision = PRECISIONS["tf32"]
    tolerance = 5e-3


class GroupConv2dNCHWMma3xTF32(_GroupConv2dMma):
    """In 3xTF32: each factor is the sum of two of TF32, which is nearly as exact as float32."""

    task = "group_conv2d_nchw_mma_3xtf32.cuda"
    precision = PRECISIONS["3xtf32"]
    tolerance = 2e-5
