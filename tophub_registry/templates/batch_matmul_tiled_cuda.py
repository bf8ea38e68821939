"""`batch_matmul_tiled.cuda`: products of two activations in float32.

Our own template: see `tiled_cuda`. The factors lie as `[batch, rows, in_units]` and `[batch, in_units, columns]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.templates.product_workloads import BatchMatmul
from tophub_registry.templates.template import Tensor
from tophub_registry.templates.tiled_cuda import Factor, Sizes, TiledCuda

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tophub_registry.records.record import Config


class BatchMatmulTiledCuda(TiledCuda):
    """Matrix products."""

    task = "batch_matmul_tiled.cuda"
    parse = staticmethod(BatchMatmul.parse)
    workload: BatchMatmul
    weights = 0

    @property
    def sizes(self) -> Sizes:
        w = self.workload
        return Sizes(w.rows, w.columns, w.in_units, w.batch)

    @property
    def factors(self) -> tuple[Factor, Factor]:
        return Factor(terms=self.workload.in_units), Factor(places=self.workload.columns)

    def left(self, given: Sequence[Any], at: Sequence[Any]) -> tuple[Any, list[Any]]:
        batch, term, row = at
        return given[0][batch, row, term], []

    def right(self, given: Sequence[Any], at: Sequence[Any]) -> tuple[Any, list[Any]]:
        return given[1][tuple(at)], []

    def output_at(self, at: Sequence[Any]) -> tuple[Any, Any, Any]:
        batch, row, column = at
        return batch, row, column

    def tensors(self, config: Config) -> list[Tensor]:  # noqa: ARG002  # always the same
        w = self.workload
        shapes = (w.batch, w.rows, w.in_units), (w.batch, w.in_units, w.columns), w.output
        return [Tensor(shape, w.dtype) for shape in shapes]

    def pack(self, config: Config, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:  # noqa: ARG002  # always the same
        turned = zip(inputs, self.workload.transposed, strict=True)
        return [array.transpose(0, 2, 1) if is_turned else array for array, is_turned in turned]
