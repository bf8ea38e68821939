"""`conv2d_transpose_nchw_mma_{float16,tf32,3xtf32}.cuda`: transposed convolutions on tensor cores.

Our own templates: see `mma_cuda`, and `conv2d_nchw_mma_cuda` for the layout. Each phase (see `transposed_phases`) is a
matrix product of its own, whose rows are the phase's pixels. All phases have as many rows as the first; those of pixels
beyond the image are computed, but not written.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from tophub_registry.templates.conv2d_nchw_mma_cuda import ChannelsLastMma
from tophub_registry.templates.convolution_workloads import TransposedConv2d
from tophub_registry.templates.mma import PRECISIONS
from tophub_registry.templates.mma_cuda import Product
from tophub_registry.templates.transposed_phases import Axis, axes, kernels_of_phases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tophub_registry.records.record import Config


class _TransposedMma(ChannelsLastMma):
    """A transposed convolution without groups."""

    parse = staticmethod(TransposedConv2d.parse)
    workload: TransposedConv2d

    @cached_property
    def _axes(self) -> tuple[Axis, Axis]:
        return axes(self.workload)

    @property
    def product(self) -> Product:
        w, (rows, columns) = self.workload, self._axes
        pixels, taps = w.batch * rows.length * columns.length, rows.taps * columns.taps
        return Product(pixels, w.out_channels, w.in_channels, taps, rows.phases * columns.phases)

    def _not_served(self) -> str:
        if (groups := self.workload.groups) > 1:
            return f"it has {groups} groups"
        return super()._not_served()

    @property
    def writes_all(self) -> bool:
        return all(axis.out == axis.phases * axis.length for axis in self._axes)

    def output_at(self, at: Sequence[Any]) -> tuple[Any, Any, Any]:
        (rows, columns), (n, _, y, x, channel) = self._axes, at
        phase = y % rows.phases * columns.phases + x % columns.phases
        return phase, (n * rows.length + y // rows.phases) * columns.length + x // columns.phases, channel

    def seen(self, batch: Any, row: Any, tap: Any, channel: Any) -> tuple[list[Any], list[Any]]:
        rows, columns = self._axes
        pixels = rows.length * columns.length
        inside = []

        def along(axis: Axis, phase: Any, place: Any, tap: Any) -> Any:
            before, after = axis.padding(axis.length)
            at = axis.first(phase) + place + tap - before
            if before > 0:
                inside.append(at >= 0)
            if after > 0:
                inside.append(at < axis.size)
            return at

        y = along(rows, batch // columns.phases, row % pixels // columns.length, tap // columns.taps)
        x = along(columns, batch % columns.phases, row % columns.length, tap % columns.taps)
        return [row // pixels, 0, y, x, channel], inside

    def pack(self, config: Config, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        data, kernel = inputs
        weights = kernels_of_phases(self.workload, kernel).transpose(2, 4, 1, 0, 3, 5)
        return [self.packed_data(data), self.packed(config, weights)]


class Conv2dTransposeNCHWMmaFloat16(_TransposedMma):
    """In float16, with sums in float32."""

    task = "conv2d_transpose_nchw_mma_float16.cuda"
    precision = PRECISIONS["float16"]
    tolerance = 5e-3


class Conv2dTransposeNCHWMmaTF32(_TransposedMma):
    """In TF32: factors are rounded to ten bits."""

    task = "conv2d_transpose_nchw_mma_tf32.cuda"
    precision = PRECISIONS["tf32"]
    tolerance = 5e-3


class Conv2dTransposeNCHWMma3xTF32(_TransposedMma):
    """In 3xTF32: each factor is the sum of two of TF32, which is nearly as exact as float32."""

    task = "conv2d_transpose_nchw_mma_3xtf32.cuda"
    precision = PRECISIONS["3xtf32"]
    tolerance = 2e-5
