"""`batch_matmul_mma_{float16,tf32,3xtf32}.cuda`: products of two activations on tensor cores.

Our own templates: see `mma_cuda`. What is multiplied and summed up lies side by side in both factors, `[batch, rows,
in_units]` and `[batch, columns, in_units]`. If it can't be copied 16 bytes at once, a kernel of its own writes it with
zeros to the next 16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.templates.mma import PRECISIONS
from tophub_registry.templates.mma_cuda import MmaTemplate, Product, rounded_up
from tophub_registry.templates.mma_schedule import OTHER
from tophub_registry.templates.product_workloads import BatchMatmul
from tophub_registry.templates.template import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tophub_registry.records.record import Config

_GATHERED = "gathered", "gathered_other"


class _BatchMatmulMma(MmaTemplate):
    """Products of matrices."""

    parse = staticmethod(BatchMatmul.parse)
    workload: BatchMatmul
    packs_late = True
    packs_weights = False
    weights = 0

    @property
    def product(self) -> Product:
        w = self.workload
        return Product(w.rows, w.columns, rounded_up(w.in_units, self.precision.vector), batch=w.batch)

    @property
    def data(self) -> tuple[int, ...]:
        w = self.workload
        return w.batch, w.rows, w.in_units

    @property
    def written(self) -> tuple[int, ...]:
        return self.workload.output

    @property
    def gathers(self) -> Sequence[str]:
        return _GATHERED if self.product.channels != self.workload.in_units else ()

    def gathered(self, data: Any) -> Any:
        return self._in_vectors(data, _GATHERED[0])

    def _in_vectors(self, factor: Any, name: str) -> Any:
        """Return a factor with zeros that fill its rows' last vectors."""
        from tvm import te, tirx

        if not self.gathers:
            return factor
        units, zero = self.workload.in_units, tirx.const(0, self.precision.dtype)
        shape = *factor.shape[:2], self.product.channels
        return te.compute(shape, lambda b, n, k: tirx.if_then_else(k < units, factor[b, n, k], zero), name=name)

    def other(self, config: Config, weights: Any) -> Any:
        from tvm import te, tirx

        p, k, steps = self.product, config.value("tile_k"), self._steps(config)
        columns, vector = rounded_up(p.columns, config.value("tile_n")), self.precision.vector
        read = self._in_vectors(weights, _GATHERED[1])

        def seen(step: Any, n: Any, channel: Any) -> Any:
            first = step % steps * k + channel
            inside = [n < p.columns] if columns != p.columns else []
            if p.channels % k:
                inside.append(first // vector * vector < p.channels)
            value = read[step // steps, n, first]
            return tirx.if_then_else(tirx.all(*inside), value, tirx.const(0, value.dtype)) if inside else value

        return te.compute((p.batch * steps, columns, k), seen, name=OTHER)

    def output_at(self, at: Sequence[Any]) -> tuple[Any, Any, Any]:
        batch, row, column = at
        return batch, row, column

    def seen(self, batch: Any, row: Any, tap: Any, channel: Any) -> tuple[list[Any], list[Any]]:  # noqa: ARG002  # one
        return [batch, row, channel], []

    def tensors(self, config: Config) -> list[Tensor]:
        w, (data, _, output) = self.workload, super().tensors(config)
        return [data, Tensor((w.batch, w.columns, w.in_units), data.dtype), output]

    def pack(self, config: Config, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:  # noqa: ARG002  # always the same
        turned = zip(inputs, self.workload.transposed, (True, False), strict=True)
        factors = [array.transpose(0, 2, 1) if is_turned == first else array for array, is_turned, first in turned]
        return [factor.astype(self.precision.dtype) for factor in factors]


class BatchMatmulMmaFloat16(_BatchMatmulMma):
    """In float16, with sums in float32."""

    task = "batch_matmul_mma_float16.cuda"
    precision = PRECISIONS["float16"]
    tolerance = 5e-3


class BatchMatmulMmaTF32(_BatchMatmulMma):
    """In TF32: factors are rounded to ten bits."""

    task = "batch_matmul_mma_tf32.cuda"
    precision = PRECISIONS["tf32"]
    tolerance = 5e-3


class BatchMatmulMma3xTF32(_BatchMatmulMma):
    """In 3xTF32: each factor is the sum of two of TF32, which is nearly as exact as float32."""

    task = "batch_matmul_mma_3xtf32.cuda"
    precision = PRECISIONS["3xtf32"]
    tolerance = 2e-5
