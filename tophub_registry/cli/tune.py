"""`tophub tune`: measure configs of a model's tasks and append them to a log."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tophub_registry import spelling
from tophub_registry.cli import confirmation, log_argument, notes, tasks_argument, terminal
from tophub_registry.cli.lock_option import Locked
from tophub_registry.cli.model_options import Precision, Processor, Shape, Threads, shapes_of
from tophub_registry.errors import UsageError
from tophub_registry.files import check_place
from tophub_registry.tasks.rules import FLOAT32, check_precision, is_own

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tophub_registry.measurement.places import Place
    from tophub_registry.records.task import Task
    from tophub_registry.tuner.tune import TaskOutcome

_EVERY = 15.0
"""Seconds between two lines of progress if standard error is not a terminal."""

_ENOUGH = 5
"""Configs before whose measurement nobody knows how long it will take."""


def command(  # each is an option of the command line
    model: Annotated[list[str], typer.Argument(metavar="MODEL", help=tasks_argument.HELP)],
    output: Annotated[Path, typer.Option("-o", "--output", help="The log to write: one row for each measured config.")],
    target: Annotated[
        str, typer.Option(help="The target to tune for; `llvm` means this machine's processor.")
    ] = "llvm",
    trials: Annotated[int, typer.Option(min=1, help="Maximum number of configs to measure for each task.")] = 64,
    total_trials: Annotated[
        int | None, typer.Option(min=1, help="Number of configs to measure in total, spent where they gain most.")
    ] = None,
    shape: Shape = None,
    autotvm_only: tasks_argument.AutotvmOnly = False,
    only: Annotated[
        list[int] | None,
        typer.Option(metavar="N", help="Tune only task N, as `tophub extract` numbers them (repeatable)."),
    ] = None,
    search: Annotated[str, typer.Option(help="How to choose configs: model (a cost model), random or grid.")] = "model",
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, help="Configs per batch. The cost model is refitted after each.", show_default="8; 32 on a GPU"
        ),
    ] = None,
    warm_start: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="LOG",
            help=f"Start from the records in this log, {log_argument.HELP}, "
            "of the same and of similar workloads (repeatable).",
            show_default="the target's packages on this machine",
        ),
    ] = None,
    no_warm_start: Annotated[bool, typer.Option("--no-warm-start", help="Start without any records.")] = False,
    early_stopping: Annotated[
        int | None, typer.Option(min=1, help="Stop a task after this many configs without improvement.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="KNOB=N", help="Fix a knob; for a split, its innermost factor (repeatable)."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Number of timings recorded for each config.")] = 3,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Time limit for building a config, and for running it, in seconds.")
    ] = 10,
    rpc_tracker: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Measure on the devices of this RPC tracker.")
    ] = None,
    rpc_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The key under which the devices are registered with the tracker.")
    ] = None,
    no_confirm: Annotated[
        bool,
        typer.Option("--no-confirm", help="Do not compare the best configs in the whole model at the end."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Random seed of the search.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a log that already exists.")] = False,
    precision: Precision = FLOAT32,
    threads: Threads = None,
    _locked: Locked = False,
    _processor: Processor = None,
    _own_templates: tasks_argument.OwnTemplates = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Tune the tasks of one or more models, here or over RPC, and append every measured config to a log.

    Ctrl-C loses nothing: each row is written to disk before the next config is tried, and --resume continues.
    The search starts from the records of --warm-start, by default those of the target's packages on this
    machine; nothing is downloaded. Measurements of one task help to tune the others.
    At the end, on this machine's processor, each layer's best few configs are compared in the whole model.
    Before it starts it notes the models that `tophub compile` can't compile, and why.

    On x86, most convolutions are tuned with a vector's channels in a block, so that few layouts change between
    layers; `--where tile_ic=16 --where tile_oc=16` fixes the blocks of AutoTVM's own templates, too.
    """
    from tophub_registry.measurement.measure import Limits, Measurer
    from tophub_registry.measurement.timing import Timing
    from tophub_registry.packages.here import packages_here
    from tophub_registry.packages.location import find_location
    from tophub_registry.packages.root import Root
    from tophub_registry.templates.registry import instantiate
    from tophub_registry.tuner.search import SEARCHES
    from tophub_registry.tuner.tune import Plan, supported, tune
    from tophub_registry.tuner.warm_start import Experience

    if search not in SEARCHES:
        raise UsageError(f"no such search: {search!r}", remedy=f"known: {', '.join(SEARCHES)}")
    check_place(output)
    if output.exists() and not resume:
        raise UsageError("the log already exists", file=output, remedy="--resume continues it")
    place = _place(rpc_tracker, rpc_key, timeout)
    if threads is not None and not place.here:
        raise UsageError("--threads has no effect on other machines", remedy="start their servers with TVM_NUM_THREADS")
    resolved = place.resolve(target)
    check_precision(precision, resolved.kind)
    every, compilable = _read(model, resolved.kind, shapes_of(shape), precision, own=not autotvm_only)
    tasks, others = supported(_chosen(every, only, autotvm_only=autotvm_only))
    for task in others:
        terminal.err(f"tophub: note: skipped, no template: {task}\n")
    fixed = dict(map(_knob, where or []))
    knobs = sorted({knob.name for task in tasks for knob in instantiate(task.task, task.args).space.knobs})
    if unknown := sorted(fixed.keys() - set(knobs)):
        raise UsageError(f"no task has a knob {unknown[0]!r}", remedy=f"known: {', '.join(knobs)}")
    if warm_start and no_warm_start:
        raise UsageError("--warm-start and --no-warm-start exclude each other")
    logs = (
        []
        if no_warm_start
        else log_argument.find_all(warm_start or []) or packages_here(resolved, find_location(), Root.at())
    )
    experience = Experience.read(logs, tasks, resolved.kind, lambda error: terminal.err(f"tophub: note: {error}\n"))
    plan = Plan(trials, total_trials, batch, search, early_stopping, seed, fixed)
    limits, timing = Limits(timeout, timeout), Timing(repeats=repeats)
    try:
        with (
            Measurer(resolved, place=place, limits=limits, timing=timing, tell=_tell) as measurer,
            _Progress(tasks, trials, total_trials) as progress,
        ):
            device = measurer.describe().where
            _tell(f"measuring on {device}")
            outcomes = tune(
                tasks, resolved, output, measurer, plan, resume=resume, experience=experience, progress=progress
            )
    except KeyboardInterrupt:
        terminal.err(f"tophub: interrupted; the measurements are in {output}, and --resume continues\n")
        sys.exit(130)
    _note_untried(outcomes, plan.batch_for(resolved.kind))
    if as_json:
        terminal.out(json.dumps([_as_json(outcome) for outcome in outcomes], indent=1) + "\n")
    else:
        _print(outcomes, f"for {resolved} in {output}", device)
    confirmation.confirm_all(compilable if place.here and not no_confirm else [], shapes_of(shape), resolved, output)
    if not as_json and compilable:
        whole = [each for each in compilable if not tasks_argument.is_task_file(Path(each))]
        notes.then("tophub", "compile", *(whole or ["MODEL"])[:1], "--target", resolved, "--log", output)


def _read(
    models: list[str], kind: str, shapes: Mapping[str, Sequence[int]], precision: str, *, own: bool
) -> tuple[list[Task], list[str]]:
    """Return the tasks of all models, and the models that can be compiled; note the others."""
    files = tasks_argument.files_of_all(models, kind, shapes, precision, own=own)
    for file in files:
        notes.refused(file)
    compilable = [model for model, file in zip(models, files, strict=True) if not file.untranslated]
    return tasks_argument.merged(models, files), compilable


def _chosen(tasks: list[Task], numbers: list[int] | None, *, autotvm_only: bool) -> list[Task]:
    """Return the tasks with these numbers, by default all; with `autotvm_only`, only those of AutoTVM's templates."""
    if out_of_range := [number for number in numbers or () if not 1 <= number <= len(tasks)]:
        raise UsageError(f"there is no task {out_of_range[0]}: they are numbered from 1 to {len(tasks)}")
    chosen = [tasks[number - 1] for number in numbers] if numbers else tasks
    return [task for task in chosen if not (autotvm_only and is_own(task.task))]


def _print(outcomes: list[TaskOutcome], where: str, device: str | None) -> None:
    failed = sum(outcome.failed for outcome in outcomes)
    terminal.out(
        f"{spelling.counted(sum(outcome.trials for outcome in outcomes), 'record')} of "
        f"{spelling.counted(len(outcomes), 'task')} {where}"
        + (f", {failed} of them failed" if failed else "")
        + f"; measured on {device}\n"
    )


_NAMED = 3


def _note_untried(outcomes: list[TaskOutcome], batch: int) -> None:
    """Note the tasks that --total-trials was too small for, and how many trials reach all."""
    untried = [outcome for outcome in outcomes if not outcome.trials]
    if untried:
        enough = sum(min(batch, outcome.planned) for outcome in outcomes)
        more = f" and {len(untried) - _NAMED} more" if untried[_NAMED:] else ""
        names = terminal.line(", ".join(str(outcome.task) for outcome in untried[:_NAMED]) + more)
        terminal.err(
            f"tophub: note: {len(untried)} of {len(outcomes)} tasks got no trials: {names}; "
            f"--resume --total-trials {enough} reaches all\n"
        )


def _place(tracker: str | None, key: str | None, timeout: float) -> Place:
    """Return where kernels run: on the devices of a tracker, or on this machine."""
    from tophub_registry.measurement.places import ThisMachine
    from tophub_registry.measurement.rpc import Tracked

    if tracker is None and key is None:
        return ThisMachine()
    if tracker is None or key is None:
        raise UsageError("--rpc-tracker and --rpc-key must be given together")
    return Tracked.parse(tracker, key, timeout)


def _tell(sentence: str) -> None:
    terminal.err(f"tophub: {sentence}\n")


def _knob(text: str) -> tuple[str, object]:
    """Read KNOB=N; N may be true or false."""
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        raise UsageError(f"not KNOB=N: {text!r}", remedy="for example --where tile_oc=16") from None


class _Progress:
    """A line for each finished task; in between two progress bars on a terminal, or a line of progress now and then."""

    def __init__(self, tasks: list[Task], trials: int, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._watched = sys.stderr.isatty()
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[best]}"),
            console=self._console,
            transient=True,
            disable=not self._watched,
        )
        self._tasks = len(tasks)
        self._planned = [trials] * len(tasks)
        self._outcomes: dict[int, TaskOutcome] = {}
        self._total = total or trials * len(tasks)
        self._model = self._bars.add_task("model", total=min(self._total, trials * len(tasks)), best="")
        self._task = self._bars.add_task("task", total=trials, best="")
        self._printed = self._started = time.monotonic()
        self._measured = 0

    def __enter__(self) -> Callable[[TaskOutcome], None]:
        self._bars.start()
        return self._update

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def _update(self, outcome: TaskOutcome) -> None:
        name = f"task {outcome.number + 1}/{self._tasks}"
        if self._bars.tasks[self._task].description != name:
            self._bars.reset(self._task, description=name)
        before = self._outcomes.get(outcome.number, outcome)
        self._measured += outcome.trials - before.trials
        self._planned[outcome.number], self._outcomes[outcome.number] = outcome.planned, outcome
        done = sum(each.trials for each in self._outcomes.values())
        planned = min(self._total, sum(self._planned))
        best = f"{outcome.gflops:.1f} GFLOPS" if outcome.best else ""
        self._bars.update(self._task, total=outcome.planned, completed=outcome.trials, best=best)
        self._bars.update(self._model, total=planned, completed=done)
        if outcome.done:
            self._console.print(
                terminal.clean(f"{name:>11}  {best:>14}  {outcome.trials} trials  {outcome.task}"), markup=False
            )
        elif not self._watched and time.monotonic() - self._printed >= _EVERY:
            self._print(name, done, planned)

    def _print(self, name: str, done: int, planned: int) -> None:
        self._printed = time.monotonic()
        line = f"{name}, {done} of {planned} configs measured"
        if failed := sum(outcome.failed for outcome in self._outcomes.values()):
            line += f", {failed} failed"
        if self._measured >= _ENOUGH:
            seconds = (self._printed - self._started) * (planned - done) / self._measured
            line += f", about {math.ceil(seconds / 60)} min left"
        terminal.err(f"tophub: {line}\n")


def _as_json(outcome: TaskOutcome) -> dict[str, object]:
    return {
        "task": outcome.task.task,
        "args": outcome.task.args,
        "trials": outcome.trials,
        "failed": outcome.failed,
        "best": outcome.best,
        "default": outcome.default,
        "gflops": outcome.gflops,
    }
