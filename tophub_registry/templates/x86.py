"""What the templates for x86 share: the vector width that a target has, and sums held in registers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tophub_registry.records.target import Target

# The processors of LLVM's x86 back end with AVX-512, from its table of processor features.
_AVX512 = re.compile(
    r"skylake-avx512|skx|cascadelake|cooperlake|cannonlake|icelake-(client|server)|rocketlake|tigerlake"
    r"|sapphirerapids|emeraldrapids|graniterapids(-d)?|knl|knm|x86-64-v4|znver[4-9]"
)
_AVX = re.compile(r"haswell|core-avx2|broadwell|skylake|alderlake|raptorlake|meteorlake|x86-64-v3|znver[1-3]|bdver\d")


def simd_lanes(target: Target) -> int:
    """Return how many 32-bit numbers a vector register of the target holds: 4, 8 or 16."""
    cpu = target.attributes.get("mcpu", "")
    features = target.attributes.get("mattr", "").split(",")
    if _AVX512.fullmatch(cpu) or any(feature.startswith("+avx512") for feature in features):
        return 16
    if _AVX.fullmatch(cpu) or any(feature in ("+avx", "+avx2") for feature in features):
        return 8
    return 4


def largest_divisor(number: int, limit: int) -> int:
    """Return the largest divisor of `number` that is at most `limit`."""
    return next(factor for factor in range(limit, 0, -1) if number % factor == 0)


def sum_in_registers(sch: Any, block: Any, reduction: Any, vectorized: Any) -> None:
    """Hold the tile that `block` sums up in registers: initialise it before the loop `reduction`.

    Parameters
    ----------
    sch
        The `tvm.s_tir.Schedule`.
    block
        A reduction whose loops inside of `reduction` are unrolled, the innermost one vectorised.
    reduction, vectorized
        The outermost loop of the sum, and the loop over the lanes of a vector.
    """
    depth = next(i for i, loop in enumerate(sch.get_loops(block)) if sch.get(loop).same_as(sch.get(reduction)))
    lanes = int(sch.get(vectorized).extent)
    init = sch.decompose_reduction(block, reduction)
    # The initialisation has the tile's loops, but for those of length one, and none of their annotations.
    tile = sch.get_loops(init)[depth:]
    if lanes > 1:
        sch.vectorize(tile.pop())
    for loop in tile:
        sch.unroll(loop)
