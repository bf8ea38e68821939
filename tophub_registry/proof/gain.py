"""What records save a model: each task's kernel with the default config and with the record's, timed in turns.

Kernels for the same layers (a dense layer packed or not) are alternatives: the model's total counts the faster one.
Templates that AutoTVM does not have count only if there is a record.
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
        Medians over the rounds, in seconds; `tuned` is None without a record that works.
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
        """The tuned kernel's time, or the default's if there is none."""
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
        Tasks that templates cover.
    records
        Records to choose from; only those of the same device count.
    rounds
        How often each of the two kernels is timed.

    Raises
    ------
    EnvironmentFailure
        A default config can't be measured. If a record's can't, its task has the `failure`.
    """
    best: dict[str, Record] = {}
    for record in records:
        if record.valid and match_targets(target, record.target) is Match.DEVICE:
            key = record.workload
            if key not in best or record.cost < best[key].cost:
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
