"""What matrix products on x86 share: register tiles of rows times vectors of columns.

Tiles are axes of their own, so that the last one is computed in full: its rows beyond the last read the last row again,
and its columns beyond the last are not written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tophub_registry.templates.space import KnobSpace, knob
from tophub_registry.templates.x86 import (
    MAX_WASTE,
    MIN_SUMS,
    largest_divisor,
    relative_time,
    sum_in_registers,
    vectors,
)

if TYPE_CHECKING:
    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target

_LANES = (4, 8, 16)
_MAX_ROWS, _MAX_VECTORS = 30, 6

_USED = 0.9
"""How many of the registers sums and a row of the weight's vectors take at most; with more, sums are spilled."""

_STEPS, MAX_STEPS = 4, 8
"""Terms of the sum that a step of the loop adds in default configs, and at most."""

_WEIGHT_LOAD = 2
"""The time of a load of the weight, relative to one of the data: it comes from a farther cache."""


class Tile(NamedTuple):
    """Outputs accumulated at once: rows, vectors of each row, and lanes of each vector."""

    rows: int
    vectors: int
    lanes: int

    @staticmethod
    def of(config: Config) -> Tile:
        """Return a config's tile."""
        return Tile(*(config.value(f"tile_{name}") for name in Tile._fields))

    def values(self) -> dict[str, Any]:
        """Return the values of the knobs."""
        return {f"tile_{name}": value for name, value in self._asdict().items()}

    @property
    def columns(self) -> int:
        """Columns of a tile."""
        return self.vectors * self.lanes

    def tiles(self, rows: int) -> int:
        """Return how many tiles cover so many rows."""
        return -(-rows // self.rows)

    def panels(self, columns: int) -> int:
        """Return how many tiles cover so many columns."""
        return -(-columns // self.columns)

    def row(self, tile: Any, i: Any, rows: int) -> Any:
        """Return the row that row `i` of a tile is computed from."""
        from tvm import te

        row = tile * self.rows + i
        return row if rows % self.rows == 0 else te.min(row, rows - 1)

    def place(self, y: Any, x: Any) -> tuple[Any, ...]:
        """Return where the output `[y, x]` is among the tiles: tile, panel, row, vector and lane."""
        from tvm import te

        vector = te.indexmod(te.indexdiv(x, self.lanes), self.vectors)
        return (
            te.indexdiv(y, self.rows),
            te.indexdiv(x, self.columns),
            te.indexmod(y, self.rows),
            vector,
            te.indexmod(x, self.lanes),
        )


def tile_knobs() -> list[KnobSpace]:
    """Return the knobs of a tile."""
    return [
        knob("tile_rows", range(1, _MAX_ROWS + 1)),
        knob("tile_vectors", range(1, _MAX_VECTORS + 1)),
        knob("tile_lanes", _LANES),
    ]


def steps(in_units: int) -> list[int]:
    """Return the default split of a sum."""
    step = largest_divisor(in_units, _STEPS)
    return [in_units // step, step]


def tile_fits(tile: Tile, rows: int, columns: int, target: Target) -> bool:
    """Return whether the sums of a tile fill the registers, with room for a row of vectors, and little is wasted."""
    _, lanes, registers = vectors(target)
    sums = tile.rows * tile.vectors
    return (
        (sums + tile.vectors) * -(-tile.lanes // lanes) <= _USED * registers
        and (sums >= MIN_SUMS or tile.rows == rows or tile.panels(columns) == 1)
        and tile.tiles(rows) * tile.rows <= MAX_WASTE * max(rows, MIN_SUMS)
        and tile.panels(columns) * tile.columns <= max(MAX_WASTE * columns, columns + tile.lanes - 1)
    )


def default_tile(rows: int, columns: int, target: Target) -> Tile:
    """Return the tile that computes little in vain, with few loads for each multiplication."""
    _, lanes, registers = vectors(target)

    def tile_of(count: int) -> Tile:
        most = min(rows, int(_USED * registers) // count - 1)
        tiles = -(-rows // most)
        return Tile(-(-rows // tiles), count, lanes)

    def cost(tile: Tile) -> float:
        computed = tile.tiles(rows) * tile.rows * tile.panels(columns) * tile.columns
        return computed * relative_time(tile.vectors, tile.rows, _WEIGHT_LOAD, registers)

    widest = min(_MAX_VECTORS, registers // 4, -(-columns // lanes))
    tiles = [tile_of(count) for count in range(widest, 0, -1)]
    return min((tile for tile in tiles if tile_fits(tile, rows, columns, target)), key=cost)


def schedule_tiles(sch: Any, output: Any, tile: Tile, *, steps: int, panels_first: bool) -> None:
    """Compute the block `product` tile by tile where `output` reads it, tiles in parallel.

    Parameters
    ----------
    output
        The block whose last two axes are rows and columns.
    steps
        Terms of the sum that a step of the loop adds.
    panels_first
        Whether a panel of columns is the outer one of the two loops over tiles, so that it stays in the cache.
    """
    *batch, y, x = sch.get_loops(output)
    tiles, row = sch.split(y, [None, tile.rows])
    panels, vector, lane = sch.split(x, [None, tile.vectors, tile.lanes])
    outer = [panels, tiles] if panels_first else [tiles, panels]
    sch.reorder(*batch, *outer, row, vector, lane)
    task = sch.fuse(*batch, *outer)
    sch.parallel(task)
    sch.unroll(vector)
    sch.vectorize(lane)
    product = sch.get_sblock("product")
    sch.compute_at(product, task, preserve_unit_loops=True)
    *_, row, vector, lane, k = sch.get_loops(product)
    k, step = sch.split(k, [None, steps])
    sch.reorder(k, step, row, vector, lane)
    for loop in (step, row, vector):
        sch.unroll(loop)
    sch.vectorize(lane)
    sum_in_registers(sch, product, k, lane)
