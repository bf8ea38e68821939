"""`dense_tiled.cuda`: dense layers of several rows in float32.

Our own template: see `tiled_cuda`. The weights lie as `[in_units, out_units]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.templates.product_workloads import Matmul
from tophub_registry.templates.template import Tensor
from tophub_registry.templates.tiled_cuda import Factor, Sizes, TiledCuda

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tophub_registry.records.record import Config


class DenseTiledCuda(TiledCuda):
    """A dense layer."""

    task = "dense_tiled.cuda"
    parse = staticmethod(Matmul.parse)
    workload: Matmul

    @property
    def sizes(self) -> Sizes:
        w = self.workload
        return Sizes(w.batch, w.out_units, w.in_units)

    @property
    def factors(self) -> tuple[Factor, Factor]:
        return Factor(terms=self.workload.in_units), Factor(places=self.workload.out_units)

    def left(self, given: Sequence[Any], at: Sequence[Any]) -> tuple[Any, list[Any]]:
        _, term, row = at
        return given[0][row, term], []

    def right(self, given: Sequence[Any], at: Sequence[Any]) -> tuple[Any, list[Any]]:
        _, term, unit = at
        return given[1][term, unit], []

    def output_at(self, at: Sequence[Any]) -> tuple[Any, Any, Any]:
        row, unit = at
        return 0, row, unit

    def tensors(self, config: Config) -> list[Tensor]:
        w, (data, _, output) = self.workload, super().tensors(config)
        return [data, Tensor((w.in_units, w.out_units), w.dtype), output]

    def pack(self, config: Config, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:  # noqa: ARG002  # always the same
        data, weight = inputs
        return [data, weight.transpose(1, 0)]
