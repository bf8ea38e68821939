"""`batch_matmul_tiled.x86`: products of two activations, one register tile of rows times vectors after the other.

The second factor lies as `[batch, in_units, columns]`, so that columns are a vector. It is copied
first, into panels padded with zeros, where the tiles do not divide the columns or a config says so: the rows of a large
factor are too far apart to be read as they lie. This task is this project's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.templates.product_workloads import BatchMatmul
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

_LARGE = 1 << 18
"""Numbers of a second factor that is copied by default."""


class BatchMatmulTiledX86(Template):
    """Matrix products with the columns of the second factor side by side."""

    task = "batch_matmul_tiled.x86"
    parse = staticmethod(BatchMatmul.parse)
    workload: BatchMatmul

    def _space(self) -> ConfigSpace:
        k = split("tile_k", self.workload.in_units, parts=2, keep=lambda size: size[-1] <= MAX_STEPS)
        return ConfigSpace([*tile_knobs(), k, knob("pack", [False, True])])

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether the sums fill the target's registers, with room for other operands, and little is wasted."""
        return tile_fits(Tile.of(config), self.workload.rows, self.workload.columns, target)

    def register_tile(self, config: Config) -> RegisterTile:
        tile = Tile.of(config)
        return RegisterTile(tile.columns, tile.rows)

    def default(self, target: Target) -> Config:
        """Return a config whose tile suits the target's registers; AutoTVM has no default for this task."""
        w = self.workload
        tile = default_tile(w.rows, w.columns, target)
        large = w.in_units * w.columns > _LARGE
        return self.space.config_of({**tile.values(), "tile_k": steps(w.in_units), "pack": large})

    def tensors(self, config: Config) -> list[Tensor]:
        w = self.workload
        *_, output = super().tensors(config)
        shapes = (w.batch, w.rows, w.in_units), (w.batch, w.in_units, w.columns)
        return [*(Tensor(shape, w.dtype) for shape in shapes), output]

    def pack(self, config: Config, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:  # noqa: ARG002  # always the same
        pairs = zip(inputs, self.workload.transposed, strict=True)
        return [array.transpose(0, 2, 1) if transposed else array for array, transposed in pairs]

    def computation(self, config: Config) -> list[Any]:
        from tvm import te, tirx

        w, tile = self.workload, Tile.of(config)
        panels = tile.panels(w.columns)
        data, kernel = self.placeholders(config)

        def column(p: Any, v: Any, lane: Any) -> Any:
            return p * tile.columns + v * tile.lanes + lane

        def weight(b: Any, p: Any, k: Any, v: Any, lane: Any) -> Any:
            return kernel[b, k, column(p, v, lane)]

        def padded(b: Any, p: Any, k: Any, v: Any, lane: Any) -> Any:
            inside = column(p, v, lane) < w.columns
            return tirx.if_then_else(inside, weight(b, p, k, v, lane), tirx.const(0, w.dtype))

        shape = (w.batch, panels, w.in_units, tile.vectors, tile.lanes)
        factor = te.compute(shape, padded, name="kernel_pack") if self._packs(config) else weight
        k = te.reduce_axis((0, w.in_units), name="k")
        product = te.compute(
            (w.batch, tile.tiles(w.rows), panels, *tile),
            lambda b, t, p, i, v, lane: te.sum(data[b, tile.row(t, i, w.rows), k] * factor(b, p, k, v, lane), axis=k),
            name="product",
        )
        output = te.compute(w.output, lambda b, y, x: product(b, *tile.place(y, x)), name="batch_matmul")
        return [data, kernel, output]

    def apply(self, sch: Any, config: Config) -> None:
        output = sch.get_sblock("batch_matmul")
        tile = Tile.of(config)
        if self._packs(config):
            b, p, _, _, lane = sch.get_loops(sch.get_sblock("kernel_pack"))
            sch.vectorize(lane)
            sch.parallel(sch.fuse(b, p))
        schedule_tiles(sch, output, tile, steps=config.value("tile_k")[-1], panels_first=True)

    def _packs(self, config: Config) -> bool:
        return config.value("pack") or self.workload.columns % Tile.of(config).columns != 0
