"""`dense_tiled.x86`: a dense layer of any number of rows, one register tile of rows times vectors after the other.

The weight is packed as `[panels, K, columns]`. The last tile of rows is computed in full, reading the last row again,
and the last panel's missing columns are zeros: so a tile suits the registers whatever the row count, where AutoTVM's
`dense_pack.x86` splits 197 rows, a prime, into one or 197. This task is this project's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.templates.product_workloads import Matmul
from tophub_registry.templates.space import ConfigSpace, knob, split
from tophub_registry.templates.template import RegisterTile, Template, Tensor
from tophub_registry.templates.tiled_x86 import (
    MAX_STEPS,
    Tile,
    default_tile,
    schedule_tiles,
    steps,
    tile_fits,
    tile_knobs,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target

_SMALL_WEIGHT = 1 << 16
"""Numbers of a weight that stays in any second-level cache, so that the data is read only once."""


class DenseTiledX86(Template):
    """A dense layer with the weight packed by panels of columns."""

    task = "dense_tiled.x86"
    packs_late = False
    parse = staticmethod(Matmul.parse)
    workload: Matmul

    def _space(self) -> ConfigSpace:
        return ConfigSpace(
            [
                *tile_knobs(),
                split("tile_k", self.workload.in_units, parts=2, keep=lambda size: size[-1] <= MAX_STEPS),
                knob("panels_first", [True, False]),
            ]
        )

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether the sums fill the target's registers, with room for other operands, and little is wasted."""
        return tile_fits(Tile.of(config), self.workload.batch, self.workload.out_units, target)

    def register_tile(self, config: Config) -> RegisterTile:
        tile = Tile.of(config)
        return RegisterTile(tile.columns, tile.rows)

    def default(self, target: Target) -> Config:
        """Return a config whose tile suits the target's registers; AutoTVM has no default for this task."""
        w = self.workload
        tile = default_tile(w.batch, w.out_units, target)
        large = w.in_units * w.out_units > _SMALL_WEIGHT
        return self.space.config_of({**tile.values(), "tile_k": steps(w.in_units), "panels_first": large})

    def tensors(self, config: Config) -> list[Tensor]:
        w, tile = self.workload, Tile.of(config)
        data, _, output = super().tensors(config)
        return [data, Tensor((tile.panels(w.out_units), w.in_units, tile.columns), w.dtype), output]

    def pack(self, config: Config, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        import numpy as np

        data, weight = inputs
        tile = Tile.of(config)
        n, k = weight.shape
        panels = tile.panels(n)
        padded = np.pad(weight, ((0, panels * tile.columns - n), (0, 0)))
        return [data, padded.reshape(panels, tile.columns, k).transpose(0, 2, 1)]

    def computation(self, config: Config) -> list[Any]:
        from tvm import te

        w, tile = self.workload, Tile.of(config)
        data, weight = self.placeholders(config)
        k = te.reduce_axis((0, w.in_units), name="k")
        product = te.compute(
            (tile.tiles(w.batch), tile.panels(w.out_units), *tile),
            lambda t, p, i, v, lane: te.sum(
                data[tile.row(t, i, w.batch), k] * weight[p, k, v * tile.lanes + lane], axis=k
            ),
            name="product",
        )
        output = te.compute(w.output, lambda y, x: product(*tile.place(y, x)), name="dense")
        return [data, weight, output]

    def apply(self, sch: Any, config: Config) -> None:
        schedule_tiles(
            sch,
            sch.get_sblock("dense"),
            Tile.of(config),
            steps=config.value("tile_k")[-1],
            panels_first=config.value("panels_first"),
        )
