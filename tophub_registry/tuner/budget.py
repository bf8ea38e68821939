"""Where a model's next trials pay most: weight times expected gain.

Pure decisions, without measuring. A task's weight is the time that its layers take; what a batch may still
gain is estimated from how its best cost fell so far. Tasks that stand for the same layers, as direct and
Winograd convolution do, compete: the slower one counts only as far as it may still overtake.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

_OPTIMISM = 0.1
"""The share of a task's time that a batch as large as all trials so far is believed to gain at least."""

_PERSISTENCE = 0.5
"""How much of the recent slope is believed to go on."""

_RIVALRY = 4
"""The power of the ratio of its rival's cost to its own by which the slower of two alternatives loses weight."""


@dataclass
class CostCurve:
    """How a task's best cost fell.

    Attributes
    ----------
    layers
        The layers that the task stands for; tasks of the same layers are alternatives.
    count
        How many layers.
    curve
        The best cost, in seconds, after each measured config; infinite until one ran.
    """

    layers: tuple[str, ...] = ()
    count: int = 1
    curve: list[float] = field(default_factory=list)

    def observe(self, cost: float | None) -> None:
        """Take in a measured config's cost; None where it failed."""
        self.curve.append(min(self.best, math.inf if cost is None else cost))

    @property
    def best(self) -> float:
        """The best cost so far, in seconds; infinite where there is none."""
        return self.curve[-1] if self.curve else math.inf

    def expected_gain(self, batch: int) -> float:
        """Return the share of its best cost that a task may lose with the next batch."""
        trials = len(self.curve)
        if math.isinf(self.best):
            return _OPTIMISM / max(1, trials)  # nothing ran so far, and ever less will
        window = min(trials - 1, max(batch, trials // 2))
        before = self.curve[trials - 1 - window]
        slope = math.log(before / self.best) / window if window and math.isfinite(before) else 0.0
        return min(0.5, _PERSISTENCE * slope * batch + _OPTIMISM * batch / (trials + batch))


def most_rewarding(tasks: Sequence[CostCurve], candidates: Collection[int], batch: int) -> int:
    """Return which of the candidates, by number, the next batch should go to.

    Parameters
    ----------
    tasks
        All tasks of the model, those that have come to their end included.
    candidates
        The tasks that can still be tuned; at least one.
    batch
        How many configs are measured next.
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
