"""`batch_matmul.x86`: products of two activations, with vectors along `k`.

Space and default are those of TVM's `topi/x86/batch_matmul.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.templates.product_workloads import BatchMatmul
from tophub_registry.templates.space import ConfigSpace, split
from tophub_registry.templates.template import Template
from tophub_registry.templates.x86 import largest_divisor, schedule_dot_products, written_out

if TYPE_CHECKING:
    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target

_LANES, _TILE = 16, 8


class BatchMatmulX86(Template):
    """Matrix products with both factors in the model's layout."""

    task = "batch_matmul.x86"
    parse = staticmethod(BatchMatmul.parse)
    workload: BatchMatmul

    def _space(self) -> ConfigSpace:
        # AutoTVM takes the sizes from the first factor as it lies.
        _, rows, in_units = self.workload.inputs[0]
        return ConfigSpace(
            [
                split("tile_y", rows, parts=2),
                split("tile_x", self.workload.columns, parts=2),
                split("tile_k", in_units, parts=2),
            ]
        )

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether the unrolled code compiles quickly."""
        outputs = config.value("tile_y")[-1] * config.value("tile_x")[-1]
        return written_out(config.value("tile_k")[-1], outputs, target)

    def default(self, target: Target) -> Config:  # noqa: ARG002  # AutoTVM's is the same everywhere
        w = self.workload
        k = largest_divisor(w.in_units, _LANES)
        y, x = (next(power for power in (_TILE, 4, 2, 1) if size % power == 0) for size in (w.rows, w.columns))
        return self.space.config_of(
            {"tile_y": [w.rows // y, y], "tile_x": [w.columns // x, x], "tile_k": [w.in_units // k, k]}
        )

    def apply(self, sch: Any, config: Config) -> None:
        schedule_dot_products(sch, sch.get_sblock("batch_matmul"), config)

    def computation(self, config: Config) -> list[Any]:
        from tvm import te, tirx

        w = self.workload
        lanes = config.value("tile_k")[-1]
        data, kernel = self.placeholders(config)
        transpose_data, transpose_kernel = w.transposed

        def term(b: Any, y: Any, x: Any, k: Any) -> Any:
            left = data[b, k, y] if transpose_data else data[b, y, k]
            product = left * (kernel[b, x, k] if transpose_kernel else kernel[b, k, x])
            # In AutoTVM's space of a transposed first factor, lanes need not divide the sum.
            return (
                product if w.in_units % lanes == 0 else te.if_then_else(k < w.in_units, product, tirx.const(0, w.dtype))
            )

        steps = te.reduce_axis((0, -(-w.in_units // lanes)), name="k")
        partial = te.compute(
            (*w.output, lanes),
            lambda b, y, x, lane: te.sum(term(b, y, x, steps * lanes + lane), axis=steps),
            name="partial",
        )
        lane = te.reduce_axis((0, lanes), name="lane")
        total = te.compute(w.output, lambda b, y, x: te.sum(partial[b, y, x, lane], axis=lane), name="batch_matmul")
        return [data, kernel, total]
