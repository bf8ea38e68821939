"""Hopper's tensor cores: what four warps do together, with tiles of 64 rows and up to 256 columns.

Each warp has a tile of 16 rows. Factors lie in shared memory, in rows of 128 bytes whose 16-byte parts are swizzled:
part i of row j is at the place of part `i ^ (j % 8)`, which is the PTX ISA's "128-byte swizzling mode" under
"Asynchronous Warpgroup Level Matrix Shared Memory Layout". The instruction is `wgmma.mma_async`.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

from tophub_registry.records.tensor_cores import ROW_OF_GROUP, TILE
from tophub_registry.templates.mma import Precision
from tophub_registry.templates.tensor_intrinsics import SHARED, Function, add, add_split, clear, copy, register

WARPS = 4
"""The warps of a warpgroup."""

ROWS = WARPS * TILE
"""The rows of an instruction's sums."""


class WarpgroupIntrinsics(NamedTuple):
    """The names of the tensor intrinsics for tiles of so many columns: adding products, clearing and storing sums.

    If there is `collect`, it adds a step's sums to the others: the function takes both.
    """

    add: str
    clear: str
    store_shared: str
    store_global: str
    collect: Function | None


def function(name: str, columns: int = 0) -> Function:
    """Return a function of `wgmma.cuh`, whose code has the instructions for tiles of so many columns."""
    folder = Path(__file__).parent
    mma, wgmma = (folder.joinpath(file).read_text(encoding="utf-8") for file in ("mma.cuh", "wgmma.cuh"))
    return Function(f"tophub_{name}", f"{mma}\n{wgmma}\n{_instructions(columns) if columns else ''}")


@functools.cache
def intrinsics(precision: Precision, columns: int, *, later: bool = False) -> WarpgroupIntrinsics:
    """Register the tensor intrinsics for tiles of 16 rows a warp and so many columns with TVM.

    Parameters
    ----------
    later
        Whether 3xTF32's sums of a step are collected by a call of their own.
    """
    sums, depth = (TILE, columns), ROW_OF_GROUP // precision.bytes

    def does(name: str) -> Function:
        return function(f"{name}_{columns}", columns)

    prefix = f"tophub.wgmma.{columns}"
    name = f"{precision.name}{'_begin' if later else ''}"
    multiplies = does(f"wgmma_{name}")
    if precision.name == "3xtf32":
        product = add_split(multiplies, sums, depth)
    else:
        product = add(multiplies, sums, depth, precision.dtype, "float32", factors=SHARED)
    return WarpgroupIntrinsics(
        register(f"{prefix}.{name}.add", product),
        register(f"{prefix}.clear", clear(does("wgmma_clear"), sums, "float32")),
        register(f"{prefix}.store_shared", copy(does("wgmma_store"), sums, "float32", "local", SHARED)),
        register(f"{prefix}.store_global", copy(does("wgmma_store"), sums, "float32", "local", "global")),
        does(f"wgmma_{precision.name}_collect") if later else None,
    )


def _instructions(columns: int) -> str:
    """Return the functions for tiles of so many columns, of which each thread has `columns / 2` sums of its warp's.

    Without `more`, products replace the sums rather than add to them.
    """
    count = columns // 2
    sums = ", ".join(f"%{place}" for place in range(count))
    operands = ", ".join(f'"+f"(sums[{place}])' for place in range(count))
    flags = "p, 1, 1"

    def instruction(shape: str, data: str, weights: str, more: str, signs: str, inputs: str) -> str:
        return (
            f'  asm volatile("{{ .reg .pred p; setp.ne.b32 p, {more}, 0; '
            f"wgmma.mma_async.sync.aligned.m64n{columns}{shape} "
            f'{{{sums}}}, {data}, {weights}, {signs}; }}"\n    : {operands}\n    : {inputs});'
        )

    inputs = '"l"(data), "l"(weights)'
    float16 = instruction("k16.f32.f16.f16", f"%{count}", f"%{count + 1}", "1", f"{flags}, 0, 0", inputs)
    registers = ", ".join(f"%{count + place}" for place in range(4))
    inputs = ", ".join(f'"r"(data[{place}])' for place in range(4)) + ', "l"(weights), "r"(more)'
    tf32 = instruction("k8.f32.tf32.tf32", f"{{{registers}}}", f"%{count + 4}", f"%{count + 5}", flags, inputs)
    return f"""#ifndef TOPHUB_WGMMA_{columns}
#define TOPHUB_WGMMA_{columns}
#ifndef TOPHUB_MMA_EMULATED
__device__ __forceinline__ void tophub_multiply(
    tophub_columns<{columns}>, float* sums, unsigned long long data, unsigned long long weights) {{
{float16}
}}

__device__ __forceinline__ void tophub_multiply(
    tophub_columns<{columns}>, float* sums, const unsigned* data, unsigned long long weights, int more = 1) {{
{tf32}
}}
#endif  // TOPHUB_MMA_EMULATED
TOPHUB_WGMMA({columns})
#endif  // TOPHUB_WGMMA_{columns}
"""
