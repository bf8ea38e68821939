"""A config for a GPU without any record to start from: it has what most good configs have in common.

On an H100 it takes 2 to 3 times as long as the best config known (the geometric mean of a task, estimated by a cost
model fitted to 5,800 measured configs); AutoTVM's default was measured to take 20 to 90 times as long.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target
    from tophub_registry.templates.cuda import CudaLimits, CudaTemplate

_WARP = 32

# The ranges of most good configs on an H100, as powers of two: threads of a block, threads along x, outputs of a
# thread, blocks, and bytes of shared memory.
_THREADS = (6.0, 8.0)
_THREADS_X = (3.0, 8.0)
_SUMS = (1.0, 3.0)
_BLOCKS = (7.0, math.inf)
_SHARED = (12.0, 13.5)

_ROUNDS = 8


def suggest(template: CudaTemplate, target: Target) -> Config:
    """Return a feasible config whose threads, blocks, sums and shared memory are as typical as possible.

    Each knob in turn takes the option that fits the others best, until none changes. Knobs that do not affect the
    limits take their last feasible option, which is to unroll.
    """
    space = template.space
    outputs = math.prod(template.tensors(space.config(0))[-1].shape)
    seen: dict[tuple[int, ...], float] = {}

    def oddity(positions: tuple[int, ...]) -> float:
        if positions not in seen:
            config = space.config(space.index(positions))
            seen[positions] = (
                _oddity(template.limits(config), outputs) if template.feasible(config, target) else math.inf
            )
        return seen[positions]

    best = (0,) * len(space.knobs)
    for place, knob in enumerate(space.knobs):
        if knob.kind != "sp":
            others = [(*best[:place], position, *best[place + 1 :]) for position in range(len(knob.options))]
            best = next((it for it in reversed(others) if oddity(it) < math.inf), best)
    for _ in range(_ROUNDS):
        before = best
        for place, knob in enumerate(space.knobs):
            if knob.kind == "sp":
                others = [(*best[:place], position, *best[place + 1 :]) for position in range(len(knob.options))]
                best = min([best, *others], key=oddity)
        if best == before:
            break
    return space.config(space.index(best))


def _oddity(limits: CudaLimits, outputs: int) -> float:
    """Return how many doublings or halvings a kernel is away from the typical ranges."""
    threads = math.prod(limits.threads)
    blocks = outputs / (threads * limits.sums)
    idle = math.log2(-(-threads // _WARP) * _WARP / threads)
    return (
        2 * (_beyond(threads, _THREADS) + idle)
        + _beyond(limits.threads[0], _THREADS_X)
        + _beyond(limits.sums, _SUMS)
        + _beyond(blocks, _BLOCKS)
        + _beyond(max(1, limits.shared_bytes), _SHARED)
    )


def _beyond(number: float, usual: tuple[float, float]) -> float:
    low, high = usual
    log = math.log2(number)
    return max(0.0, low - log, log - high)
