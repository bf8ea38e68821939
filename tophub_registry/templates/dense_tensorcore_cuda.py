"""`dense_tensorcore.cuda`: dense layers of at least eight rows on tensor cores.

Space and tiles are those of TVM's `topi/cuda/dense_tensorcore.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.templates.mma_cuda import Product
from tophub_registry.templates.product_workloads import Matmul
from tophub_registry.templates.wmma_cuda import WmmaTemplate

if TYPE_CHECKING:
    from collections.abc import Sequence


class DenseTensorcoreCuda(WmmaTemplate):
    """A dense layer."""

    task = "dense_tensorcore.cuda"
    parse = staticmethod(Matmul.parse_mixed)
    workload: Matmul
    sizes = "rows, input and output units"

    @property
    def product(self) -> Product:
        w = self.workload
        return Product(w.batch, w.out_units, w.in_units)

    def seen(self, batch: Any, row: Any, tap: Any, channel: Any) -> tuple[list[Any], list[Any]]:  # noqa: ARG002
        return [row, channel], []

    def weight(self, batch: Any, tap: Any, channel: Any, column: Any) -> list[Any]:  # noqa: ARG002
        return [column, channel]

    def output_at(self, at: Sequence[Any]) -> tuple[Any, Any, Any]:
        row, column = at
        return 0, row, column
