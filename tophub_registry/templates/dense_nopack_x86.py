"""`dense_nopack.x86`: a dense layer that reads the weight unpacked, with vectors along `k`.

Space and schedule are those of TVM's `topi/x86/dense.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.templates.product_workloads import Matmul
from tophub_registry.templates.space import ConfigSpace, split
from tophub_registry.templates.template import Template
from tophub_registry.templates.x86 import largest_divisor, schedule_dot_products, simd_lanes, written_out

if TYPE_CHECKING:
    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target


class DenseNopackX86(Template):
    """A dense layer with the weight in the model's layout."""

    task = "dense_nopack.x86"
    parse = staticmethod(Matmul.parse)
    workload: Matmul

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                split("tile_y", w.batch, parts=2),
                split("tile_x", w.out_units, parts=2),
                split("tile_k", w.in_units, parts=2),
            ]
        )

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether the unrolled code compiles quickly."""
        outputs = config.value("tile_y")[-1] * config.value("tile_x")[-1]
        return written_out(config.value("tile_k")[-1], outputs, target)

    def default(self, target: Target) -> Config:
        w = self.workload
        k = largest_divisor(w.in_units, 2 * simd_lanes(target))
        return self.space.config_of(
            {"tile_y": [1, w.batch], "tile_x": [w.out_units, 1], "tile_k": [w.in_units // k, k]}
        )

    def apply(self, sch: Any, config: Config) -> None:
        schedule_dot_products(sch, sch.get_sblock("dense"), config)

    def computation(self, config: Config) -> list[Any]:
        from tvm import te

        w = self.workload
        lanes = config.value("tile_k")[-1]
        data, weight = self.placeholders(config)
        k = te.reduce_axis((0, w.in_units // lanes), name="k")
        partial = te.compute(
            (w.batch, w.out_units, lanes),
            lambda y, x, lane: te.sum(data[y, k * lanes + lane] * weight[x, k * lanes + lane], axis=k),
            name="partial",
        )
        lane = te.reduce_axis((0, lanes), name="lane")
        total = te.compute(w.output, lambda y, x: te.sum(partial[y, x, lane], axis=lane), name="dense")
        return [data, weight, total]
