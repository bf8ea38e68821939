"""`batch_matmul_tensorcore.cuda`: batches of matrix products on tensor cores.

Space and tiles are those of TVM's `topi/cuda/batch_matmul_tensorcore.py`, which serves products whose second factor is
transposed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.templates.mma_cuda import Product
from tophub_registry.templates.product_workloads import BatchMatmul
from tophub_registry.templates.wmma_cuda import WmmaTemplate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target


class BatchMatmulTensorcoreCuda(WmmaTemplate):
    """A batch of matrix products."""

    task = "batch_matmul_tensorcore.cuda"
    parse = staticmethod(BatchMatmul.parse_mixed)
    workload: BatchMatmul
    sizes = "rows, inner size and columns"
    batched = True

    @property
    def product(self) -> Product:
        w = self.workload
        return Product(w.rows, w.columns, w.in_units, batch=w.batch)

    def _not_served(self) -> str:
        if self.workload.transposed != (False, True):
            return "only the second factor must be transposed"
        return super()._not_served()

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether AutoTVM builds a config too, which needs as many warps along rows as along columns."""
        return config.value("block_row_warps") == config.value("block_col_warps") and super().feasible(config, target)

    def seen(self, batch: Any, row: Any, tap: Any, channel: Any) -> tuple[list[Any], list[Any]]:  # noqa: ARG002
        return [batch, row, channel], []

    def weight(self, batch: Any, tap: Any, channel: Any, column: Any) -> list[Any]:  # noqa: ARG002
        return [batch, column, channel]

    def output_at(self, at: Sequence[Any]) -> tuple[Any, Any, Any]:
        batch, row, column = at
        return batch, row, column
