"""Tensor cores by the instructions `wmma`, as AutoTVM uses them: tiles of three shapes, for float16.

The code is `wmma.cuh`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from tophub_registry.templates.tensor_intrinsics import SHARED, Function, Shape, add, clear, copy, function, register

DEPTH = 16
"""How many products an instruction adds to each sum."""

TILES: dict[int, Shape] = {16: (16, 16), 8: (8, 32), 32: (32, 8)}
"""The shapes of a tile of sums, by its rows."""


class WmmaIntrinsics(NamedTuple):
    """The names of the tensor intrinsics: for loading tiles, adding products, clearing and storing sums."""

    data: str
    weights: str
    add: str
    clear: str
    store: str


@functools.cache
def intrinsics(tile: Shape, dtype: str, *, transposed: bool) -> WmmaIntrinsics:
    """Register the tensor intrinsics of one shape with TVM.

    Parameters
    ----------
    tile
        One of `TILES`.
    dtype
        The type of the sums.
    transposed
        Whether the weights have a row for each column of the sums; else they have one for each product.
    """
    rows, columns = tile
    layout = "col" if transposed else "row"
    weights = (columns, DEPTH) if transposed else (DEPTH, columns)

    def named(action: str) -> Function:
        return function("wmma.cuh", f"{action}_m{rows}n{columns}")

    actions = {
        "load_data": copy(named("load_data"), (rows, DEPTH), "float16", SHARED, "local"),
        f"load_weights_{layout}": copy(named(f"load_weights_{layout}"), weights, "float16", SHARED, "local"),
        f"add_{layout}": add(named(f"add_{layout}"), tile, DEPTH, "float16", dtype, transposed=transposed),
        "clear": clear(function("wmma.cuh", "clear_wmma"), tile, dtype),
        "store": copy(named("store"), tile, dtype, "local", SHARED),
    }
    return WmmaIntrinsics(
        *(register(f"tophub.wmma.{name}.m{rows}n{columns}.{dtype}", does) for name, does in actions.items())
    )
