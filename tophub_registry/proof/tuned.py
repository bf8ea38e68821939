"""A model compiled as it is, tuned on this machine for a while, compiled again, and both timed in turns.

What is measured goes into the user's own log under the root, which look-up takes first. Measurements of the same
model that the log already has count as spent, so that doing it again measures nothing and gives the same kernels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tophub_registry.compiler.compiler import CompiledModel, compile_model
from tophub_registry.compiler.search import own_log, sources_of
from tophub_registry.devices.device import check_runs_here, resolve
from tophub_registry.devices.threads import settle_threads
from tophub_registry.errors import UsageError
from tophub_registry.files import make_folders
from tophub_registry.frontends import Model
from tophub_registry.measurement.measure import Measurer
from tophub_registry.proof.confirmation import confirm, in_turns
from tophub_registry.records.log import read_records
from tophub_registry.records.task import Task
from tophub_registry.tasks.extract import tasks_of
from tophub_registry.tasks.rules import FLOAT32
from tophub_registry.tuner.limit import Limit
from tophub_registry.tuner.tune import Plan, TaskOutcome, supported, tune
from tophub_registry.tuner.warm_start import Experience

_EVERYTHING = 1 << 40
"""More trials than any space has configs."""


@dataclass(frozen=True)
class Tuned:
    """What tuning a model gave.

    Attributes
    ----------
    compiled
        The model with all records.
    log
        The user's own log.
    trials
        How many configs were measured now; 0 if the log already had what was asked for.
    before, after
        The median times of a run without and with what was measured now, in seconds; nan if nothing was.
    """

    compiled: CompiledModel
    log: Path
    trials: int
    before: float = math.nan
    after: float = math.nan


class Watcher(Protocol):
    """Is told how far the tuning is."""

    def compiled(self, compiled: CompiledModel, /) -> None:
        """Receive the model as it is before tuning, and after it, each before its first run."""

    def measuring(self, rest: Limit, /) -> None:
        """Learn that measuring begins, and how long it may take."""

    def measured(self, outcome: TaskOutcome, /) -> None:
        """Learn of a task's new state."""

    def comparing(self) -> None:
        """Learn that measuring is over, and that the best configs are compared in the whole model."""


class _Nobody:
    """Is told, and keeps it to itself."""

    def compiled(self, _: CompiledModel) -> None: ...

    def measuring(self, _: Limit) -> None: ...

    def measured(self, _: TaskOutcome) -> None: ...

    def comparing(self) -> None: ...


def compile_tuned(
    model: Model,
    target: str,
    limit: Limit,
    *,
    threads: int | None = None,
    precision: str = FLOAT32,
    watcher: Watcher | None = None,
) -> Tuned:
    """Compile a model, tune it, and compile it again.

    Parameters
    ----------
    model
        The model.
    target
        The target, a processor or GPU of this machine; see `compile_model`.
    limit
        How long to tune, what the user's own log has of it included.
    threads, precision
        See `compile_model`.
    watcher
        Is told how far it is.

    Raises
    ------
    UsageError, InputError, EnvironmentFailure
        See `compile_model`; or the model has nothing to tune, or this machine can't run code for the target.
    """
    settle_threads(threads)
    watcher = watcher or _Nobody()
    resolved = resolve(target)
    check_runs_here(resolved)
    log = own_log(resolved)
    before = compile_model(model, target, threads=threads, precision=precision)
    watcher.compiled(before)
    layers = [layer.layer for layer in before.layers]
    tasks, _ = supported(tasks_of(layers, resolved.kind, own=True, precision=precision))
    if not tasks:
        raise UsageError("this model has nothing to tune: no template covers a layer of it")
    with Measurer(resolved) as measurer:
        rest = limit.rest(log, {task.workload for task in tasks}, resolved, measurer.describe())
        if rest is None:
            return Tuned(before, log, 0)
        watcher.measuring(rest)
        make_folders(log.parent)
        packages = [source.path for source in sources_of(resolved, None).logs if source.path != log]
        # Compiling has told already if a cost model is unusable.
        experience = Experience.read(packages, tasks, resolved.kind, unusable=lambda _: None)
        trials = _tuned_for(rest, log, tasks, measurer, experience, watcher)
    watcher.comparing()
    if resolved.kind == "llvm":
        confirm(model, str(resolved), log)
    after = compile_model(model, target, threads=threads, precision=precision)
    watcher.compiled(after)
    return Tuned(after, log, trials, *in_turns(before, after))


def _tuned_for(
    rest: Limit, log: Path, tasks: Sequence[Task], measurer: Measurer, experience: Experience, watcher: Watcher
) -> int:
    """Tune tasks, append to the log, and return how many configs were measured."""
    workloads = {task.workload for task in tasks}

    def rows() -> int:
        known = read_records(log) if log.exists() else ()
        return sum(record.workload in workloads and record.target == measurer.target for record in known)

    known = rows()
    total = _EVERYTHING if math.isinf(rest.trials) else known + int(rest.trials)
    seconds = None if math.isinf(rest.seconds) else rest.seconds
    plan = Plan(trials=_EVERYTHING, total=total, seconds=seconds)
    tune(tasks, measurer.target, log, measurer, plan, resume=True, experience=experience, progress=watcher.measured)
    return rows() - known
