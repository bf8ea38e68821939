"""The task scheduler: which task the next batch of trials should go to, by weight times expected gain.

A task's weight is the time that its layers take. The expected gain of a batch is estimated from how the best cost
fell so far. Tasks of the same layers, such as direct and Winograd convolution, are alternatives: the slower one
counts only as far as it may still overtake the other.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

_OPTIMISM = 0.1
"""The minimum share of a task's time that a batch as large as all trials so far is expected to gain."""

_PERSISTENCE = 0.5
"""The share of the recent slope that is expected to continue."""

_RIVALRY = 4
"""The weight of the slower of two alternatives is scaled by (the other's cost / its cost) to this power."""


@dataclass
class CostCurve:
    """How a task's best cost fell.

    Attributes
    ----------
    layers
        The layers of the task; tasks of the same layers are alternatives.
    count
        The number of layers.
    curve
        The best cost, in seconds, after each measured config; infinite until one succeeds.
    """

    layers: tuple[str, ...] = ()
    count: int = 1
    curve: list[float] = field(default_factory=list)

    def observe(self, cost: float | None) -> None:
        """Add a measured config's cost; None if it failed."""
        self.curve.append(min(self.best, math.inf if cost is None else cost))

    @property
    def best(self) -> float:
        """The best cost so far, in seconds; infinite if there is none."""
        return self.curve[-1] if self.curve else math.inf

    def expected_gain(self, batch: int) -> float:
        """Return the expected reduction of the best cost by the next batch, as a share of it."""
        trials = len(self.curve)
        if math.isinf(self.best):
            return _OPTIMISM / max(1, trials)  # nothing succeeded so far, which makes success ever less likely
        window = min(trials - 1, max(batch, trials // 2))
        before = self.curve[trials - 1 - window]
        slope = math.log(before / self.best) / window if window and math.isfinite(before) else 0.0
        return min(0.5, _PERSISTENCE * slope * batch + _OPTIMISM * batch / (trials + batch))


def most_rewarding(tasks: Sequence[CostCurve], candidates: Collection[int], batch: int) -> int:
    """Return the number of the candidate that the next batch should go to.

    Parameters
    ----------
    tasks
        All tasks of the model, including finished ones.
    candidates
        The numbers of the unfinished tasks; at least one.
    batch
        The number of configs in the next batch.
    """
    group_best: dict[tuple[str, ...], float] = {}
    for task in tasks:
        if task.layers:
            group_best[task.layers] = min(task.best, group_best.get(task.layers, math.inf))
    known = [task.best for task in tasks if math.isfinite(task.best)]
    typical = sum(known) / len(known) if known else 1.0

    def reward(number: int) -> float:
        task = tasks[number]
        best = group_best.get(task.layers, task.best)
        if math.isinf(task.best):
            return task.count * (best if math.isfinite(best) else typical) * task.expected_gain(batch)
        return task.count * best * (best / task.best) ** _RIVALRY * task.expected_gain(batch)

    return max(sorted(candidates), key=reward)
