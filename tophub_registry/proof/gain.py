"""What records save a model: each task's kernel with the default config against the record's, timed in turns.

Kernels that stand for the same layers (a dense layer packed and not) are alternatives: the model's total
takes the faster one. A template that AutoTVM does not have is one where there is a record for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tophub_registry.measurement.measure import Measurer
from tophub_registry.proof.comparison import ROUNDS, time_default, time_in_turns
from tophub_registry.records.lookup import Match, match_targets
from tophub_registry.records.record import Record
from tophub_registry.records.target import Target
from tophub_registry.records.task import Task
from tophub_registry.tasks.rules import is_own
from tophub_registry.templates.registry import instantiate
from tophub_registry.templates.template import Template


@dataclass(frozen=True)
class TaskGain:
    """One task's kernel before and after.

    Attributes
    ----------
    default, tuned
        Medians over the rounds, in seconds; `tuned` is None where there is no record, or none that works.
    flop
        The task's floating-point operations.
    failure
        Why the record's kernel can't be measured, in one line.
    """

    task: Task
    default: float
    tuned: float | None
    flop: int
    failure: str | None = None

    @property
    def best(self) -> float:
        """The tuned kernel's time, the default's where there is no record."""
        return self.default if self.tuned is None else self.tuned


@dataclass(frozen=True)
class ModelGain:
    """All tasks of a model, and their sum over its layers, in seconds."""

    tasks: list[TaskGain]

    @property
    def before(self) -> float:
        """Seconds in the layers with AutoTVM's default configs."""
        return self._total(lambda gain: gain.default, [gain for gain in self.tasks if not is_own(gain.task.task)])

    @property
    def after(self) -> float:
        """Seconds in the layers with the records' configs."""
        return self._total(lambda gain: gain.best, self.tasks)

    @staticmethod
    def _total(cost: Callable[[TaskGain], float], tasks: Sequence[TaskGain]) -> float:
        alternatives: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
        for gain in tasks:
            alternatives[tuple(gain.task.layers) or (gain.task.workload,)].append(gain.task.count * cost(gain))
        return sum(map(min, alternatives.values()))


def measure_gain(
    tasks: Sequence[Task],
    target: Target,
    records: Iterable[Record],
    measurer: Measurer,
    *,
    rounds: int = ROUNDS,
) -> ModelGain:
    """Time every task with the default config and with its best record, in turns.

    Parameters
    ----------
    tasks
        Tasks that templates cover; those of templates that AutoTVM does not have count where there is a record.
    records
        Where to look; only records of this very device count.
    rounds
        How often each of the two kernels is timed.

    Raises
    ------
    EnvironmentFailure
        A kernel can't be built or run here with the default config. A record's that can't is told by its task.
    """
    best: dict[str, Record] = {}
    for record in records:
        if record.valid and match_targets(target, record.target) is Match.DEVICE:
            key = record.workload
            if key not in best or record.mean_cost < best[key].mean_cost:
                best[key] = record
    gains = []
    for task in tasks:
        if is_own(task.task) and task.workload not in best:
            continue
        template = instantiate(task.task, task.args)
        gains.append(_gain_of(task, template, best.get(task.workload), measurer, rounds))
    return ModelGain(gains)


def _gain_of(task: Task, template: Template, record: Record | None, measurer: Measurer, rounds: int) -> TaskGain:
    if record is None:
        return TaskGain(task, time_default(template, measurer, rounds=rounds), None, template.flop)
    (timed,) = time_in_turns(template, [record], measurer, rounds=rounds)
    return TaskGain(task, timed.default, timed.seconds, template.flop, timed.failure)
