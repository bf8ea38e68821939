"""A config for a GPU where no record says anything: what most good configs have in common.

On an H100 such a config is 2 to 3 times as slow as the best one known, on the geometric mean of a task, as far as a
cost model fitted to 5,800 measured configs can tell; AutoTVM's default was measured to be 20 to 90 times as slow.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tophub_registry.records.record import Config
    from tophub_registry.templates.cuda import CudaLimits, CudaTemplate

_WARP = 32

# In powers of two, what the best configs on an H100 mostly had: threads of a block, those along x, outputs of a
# thread, blocks, and bytes of shared memory.
_THREADS = (6.0, 8.0)
_THREADS_X = (3.0, 8.0)
_SUMS = (1.0, 3.0)
_BLOCKS = (7.0, math.inf)
_SHARED = (12.0, 13.5)

_ROUNDS = 8


def suggest(template: CudaTemplate) -> Config:
    """Return a feasible config whose threads, blocks, sums and shared memory are as usual as can be.

    One knob after the other takes the option that suits the others best, until none changes. Knobs of which the
    limits know nothing take their last option, which is to unroll.
    """
    space = template.space
    outputs = math.prod(template.tensors(space.config(0))[-1].shape)
    seen: dict[tuple[int, ...], float] = {}

    def oddity(positions: tuple[int, ...]) -> float:
        if positions not in seen:
            config = space.config(space.index(positions))
            seen[positions] = _oddity(template.limits(config), outputs) if template.feasible(config) else math.inf
        return seen[positions]

    best = tuple(0 if knob.kind == "sp" else len(knob.options) - 1 for knob in space.knobs)
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
    """Return how many doublings or halvings a kernel is away from what is usual."""
    threads = math.prod(limits.threads)
    blocks = outputs / (threads * limits.sums)
    idle = math.log2(-(-threads // _WARP) * _WARP / threads)
    return (
        2 * (_beyond(threads, _THREADS) + idle)
        + _beyond(limits.threads[0], _THREADS_X)
        + _beyond(limits.sums, _SUMS)
        + _beyond(blocks, _BLOCKS)
        + _beyond(limits.shared_bytes, _SHARED)
    )


def _beyond(number: float, usual: tuple[float, float]) -> float:
    low, high = usual
    log = math.log2(number)
    return max(0.0, low - log, log - high)
