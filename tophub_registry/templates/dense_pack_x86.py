"""`dense_pack.x86`: a dense layer with the weight packed as `[N/bn, K, bn]`, so that `bn` outputs are a vector.

Space and schedule are those of TVM's `topi/x86/dense.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.templates.prefetch import WEIGHTS, Prefetch, can_prefetch, prefetch
from tophub_registry.templates.product_workloads import Matmul
from tophub_registry.templates.space import ConfigSpace, split
from tophub_registry.templates.template import Template, Tensor
from tophub_registry.templates.x86 import largest_divisor, simd_lanes, sum_in_registers, written_out

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target

_MAX_INNER = 16
_MAX_TILES = 4

_AHEAD = 2048
"""How many weights further a product with a single row asks for: 8 KiB, further than the hardware looks by itself."""


class DensePackX86(Template):
    """A dense layer with the weight packed by blocks of outputs."""

    task = "dense_pack.x86"
    packs_late = False
    parse = staticmethod(Matmul.parse)
    workload: Matmul

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                split("tile_y", w.batch, parts=3),
                split("tile_x", w.out_units, parts=3),
                split("tile_k", w.in_units, parts=2),
                split("tile_inner", w.batch, parts=2, keep=lambda size: size[-1] <= _MAX_INNER),
            ]
        )

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether the unrolled code compiles quickly; beyond this limit LLVM took ten seconds and more."""
        _, _, x = config.value("tile_x")
        return written_out(x, config.value("tile_k")[-1] * config.value("tile_y")[-1], target)

    def default(self, target: Target) -> Config:
        w = self.workload
        x = largest_divisor(w.out_units, 2 * simd_lanes(target))
        y = next(power for power in (8, 4, 2, 1) if w.batch % power == 0)
        x_outer, y_outer = _halvings(w.out_units // x), _halvings(w.batch // y)
        return self.space.config_of(
            {
                "tile_y": [w.batch // y // y_outer, y_outer, y],
                "tile_x": [w.out_units // x // x_outer, x_outer, x],
                "tile_k": [w.in_units, 1],
                "tile_inner": [w.batch // y, y],
            }
        )

    def suggestion(self, target: Target) -> Config:
        """Return the default for whole vectors, whatever divides the outputs: of 1000, 8 take half as long as 25."""
        default, units = self.default(target), self.workload.out_units
        lanes = next((lanes for lanes in (16, 8, 4) if lanes <= simd_lanes(target) and units % lanes == 0), None)
        if lanes is None or default.value("tile_x")[-1] % lanes == 0:
            return default
        values = {knob.name: knob.value for knob in default.entity}
        return self.space.config_of({**values, "tile_x": [units // lanes, 1, lanes]})

    def tensors(self, config: Config) -> list[Tensor]:
        w = self.workload
        block = config.value("tile_x")[-1]
        data, _, output = super().tensors(config)
        return [data, Tensor((w.out_units // block, w.in_units, block), w.dtype), output]

    def pack(self, config: Config, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        data, weight = inputs
        block = config.value("tile_x")[-1]
        n, k = weight.shape
        return [data, weight.reshape(n // block, block, k).transpose(0, 2, 1)]

    def apply(self, sch: Any, config: Config) -> None:
        dense = sch.get_sblock("dense")
        copy = sch.cache_write(dense, 0, "global")  # `dense` now accumulates in the cache, and `copy` writes the output

        y, x = sch.get_loops(copy)
        y_tile, y_outer, y_inner = sch.split(y, [None, *config.value("tile_y")[1:]])
        x_tile, x_outer, x_inner = sch.split(x, [None, *config.value("tile_x")[1:]])
        sch.reorder(x_tile, y_tile, y_outer, x_outer, y_inner, x_inner)
        sch.parallel(sch.fuse(x_tile, y_tile))
        block = sch.fuse(y_outer, x_outer)
        sch.unroll(y_inner)
        sch.vectorize(x_inner)

        sch.compute_at(dense, block, preserve_unit_loops=True)
        *_, y, x, k = sch.get_loops(dense)
        k_outer, k_inner = sch.split(k, [None, config.value("tile_k")[-1]])
        inner = config.value("tile_inner")[-1]
        if inner > 1:
            y_outer, y_inner = sch.split(y, [None, inner])
            sch.reorder(k_outer, y_outer, k_inner, y_inner, x)
            unrolled = [y_outer, k_inner, y_inner]
        else:
            sch.reorder(k_outer, k_inner, y, x)
            unrolled = [k_inner, y]
        for loop in unrolled:
            sch.unroll(loop)
        sch.vectorize(x)
        sum_in_registers(sch, dense, k_outer, x)
        if self.workload.batch == 1 and can_prefetch(config.value("tile_x")[-1]):
            row = config.value("tile_k")[-1] * config.value("tile_x")[-1]
            prefetch(sch, k_outer, Prefetch(WEIGHTS, _AHEAD, row))

    def computation(self, config: Config) -> list[Any]:
        from tvm import te

        w = self.workload
        block = config.value("tile_x")[-1]
        data, weight = self.placeholders(config)
        k = te.reduce_axis((0, w.in_units), name="k")

        def dense(y: Any, x: Any) -> Any:
            return te.sum(data[y, k] * weight[te.indexdiv(x, block), k, te.indexmod(x, block)], axis=k)

        return [data, weight, te.compute(w.output, dense, name="dense")]


def _halvings(tiles: int) -> int:
    """Return the power of two that leaves at most four tiles, or an odd number of them."""
    factor = 1
    while tiles // factor > _MAX_TILES and (tiles // factor) % 2 == 0:
        factor *= 2
    return factor
