"""`dense_mma_{float16,tf32,3xtf32}.cuda`: dense layers of several rows on tensor cores.

Our own templates: see `mma_cuda`; `dense_wgmma_{float16,tf32,3xtf32}.cuda` for Hopper: see `wgmma_cuda`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.templates.mma import PRECISIONS
from tophub_registry.templates.mma_cuda import MmaTemplate, Product
from tophub_registry.templates.product_workloads import Matmul
from tophub_registry.templates.wgmma_cuda import SplitWgmmaTemplate, WgmmaTemplate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tophub_registry.records.record import Config


class _DenseMma(MmaTemplate):
    """A dense layer."""

    parse = staticmethod(Matmul.parse)
    workload: Matmul

    @property
    def product(self) -> Product:
        w = self.workload
        return Product(w.batch, w.out_units, w.in_units)

    @property
    def data(self) -> tuple[int, ...]:
        return self.workload.batch, self.workload.in_units

    @property
    def written(self) -> tuple[int, ...]:
        return self.workload.output

    def output_at(self, at: Sequence[Any]) -> tuple[Any, Any, Any]:
        row, column = at
        return 0, row, column

    def seen(self, batch: Any, row: Any, tap: Any, channel: Any) -> tuple[list[Any], list[Any]]:  # noqa: ARG002  # one
        return [row, channel], []

    def pack(self, config: Config, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        data, weight = inputs
        return [data.astype(self.precision.dtype), self.packed(config, weight)]


class DenseMmaFloat16(_DenseMma):
    """In float16, with sums in float32."""

    task = "dense_mma_float16.cuda"
    precision = PRECISIONS["float16"]
    tolerance = 5e-3


class DenseMmaTF32(_DenseMma):
    """In TF32: factors are rounded to ten bits."""

    task = "dense_mma_tf32.cuda"
    precision = PRECISIONS["tf32"]
    tolerance = 5e-3


class DenseMma3xTF32(_DenseMma):
    """In 3xTF32: each factor is the sum of two of TF32, which is nearly as exact as float32."""

    task = "dense_mma_3xtf32.cuda"
    precision = PRECISIONS["3xtf32"]
    tolerance = 2e-5


class DenseWgmmaFloat16(WgmmaTemplate, _DenseMma):
    """In float16 on Hopper, with sums in float32."""

    task = "dense_wgmma_float16.cuda"
    precision = PRECISIONS["float16"]
    tolerance = 5e-3


class DenseWgmmaTF32(WgmmaTemplate, _DenseMma):
    """In TF32 on Hopper: factors are rounded to ten bits."""

    task = "dense_wgmma_tf32.cuda"
    precision = PRECISIONS["tf32"]
    tolerance = 5e-3


class DenseWgmma3xTF32(SplitWgmmaTemplate, _DenseMma):
    """In 3xTF32 on Hopper: each factor is the sum of two of TF32, which is nearly as exact as float32."""

    task = "dense_wgmma_3xtf32.cuda"
    precision = PRECISIONS["3xtf32"]
    tolerance = 2e-5
