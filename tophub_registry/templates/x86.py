"""What the templates for x86 share: the vector width that a target has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

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
