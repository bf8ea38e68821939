"""`tophub tune`: measure configs of a model's tasks and append them to a log."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tophub_registry.cli import tasks_argument, terminal
from tophub_registry.cli.model_options import Processor
from tophub_registry.errors import UsageError
from tophub_registry.tasks.rules import is_own

if TYPE_CHECKING:
    from collections.abc import Callable

    from tophub_registry.measurement.places import Place
    from tophub_registry.records.task import Task
    from tophub_registry.tuner.tune import TaskOutcome


def command(  # each is an option of the command line
    model: Annotated[list[str], typer.Argument(metavar="MODEL...", help=tasks_argument.HELP)],
    output: Annotated[Path, typer.Option("-o", "--output", help="The log to write, one row for each measured config.")],
    target: Annotated[str, typer.Option(help="What to tune for; `llvm` is this machine's processor.")] = "llvm",
    trials: Annotated[int, typer.Option(min=1, help="Configs to measure for each task, at most.")] = 64,
    total_trials: Annotated[
        int | None, typer.Option(min=1, help="Configs to measure for all tasks, spent where they pay most.")
    ] = None,
    autotvm_only: tasks_argument.AutotvmOnly = False,
    only: Annotated[
        list[int] | None, typer.Option(help="Tune only this task (repeatable); `tophub extract` numbers them.")
    ] = None,
    search: Annotated[str, typer.Option(help="model, random or grid.")] = "model",
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Configs between two looks at the cost model; 8 on processors, 32 on GPUs."),
    ] = None,
    warm_start: Annotated[
        list[Path] | None,
        typer.Option(metavar="LOG", help="Begin with what this log says of the same and like workloads (repeatable)."),
    ] = None,
    no_warm_start: Annotated[bool, typer.Option("--no-warm-start", help="Begin with nothing known.")] = False,
    early_stopping: Annotated[
        int | None, typer.Option(min=1, help="End a task after so many configs without a better one.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="KNOB=N", help="Hold a knob fixed, of a split its innermost part (repeatable)."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Costs recorded for each config.")] = 3,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to build a config, and to run it, at most.")] = 10,
    rpc_tracker: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Measure on the devices of TVM's RPC tracker there.")
    ] = None,
    rpc_key: Annotated[str | None, typer.Option(metavar="KEY", help="What the devices are called there.")] = None,
    seed: Annotated[int, typer.Option(help="Makes the search reproducible.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a log that is already there.")] = False,
    _processor: Processor = None,
    _own_templates: tasks_argument.OwnTemplates = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Tune the tasks of one or more models, on this machine or by RPC, and append every measured config to a log.

    Ctrl-C loses nothing: each row is on disk before the next config is tried, and --resume goes on.
    Without --warm-start, what this machine has of the target's packages is what the search begins with; the
    network is not asked. What was measured for one task helps the others.
    Kernels run on all CPUs that this process may use; TVM_NUM_THREADS sets another number.

    On x86, `--where tile_ic=16 --where tile_oc=16` tunes all convolutions in one layout, so that none has to
    be changed between layers.
    """
    from tophub_registry.cli.packages_here import packages_here
    from tophub_registry.measurement.kernels import Timing
    from tophub_registry.measurement.measure import Limits, Measurer
    from tophub_registry.records.target import Target
    from tophub_registry.templates.registry import instantiate
    from tophub_registry.tuner.search import SEARCHES
    from tophub_registry.tuner.tune import Plan, supported, tune
    from tophub_registry.tuner.warm_start import Experience

    if search not in SEARCHES:
        raise UsageError(f"no such search: {search!r}", remedy=f"there are {', '.join(SEARCHES)}")
    if output.exists() and not resume:
        raise UsageError("the log is already there", file=output, remedy="--resume goes on with it")
    place = _place(rpc_tracker, rpc_key, timeout)
    resolved = place.resolve(target)
    every = tasks_argument.tasks_of_all(model, Target.parse(target).kind)
    tasks, others = supported(_chosen(every, only, autotvm_only=autotvm_only))
    for task in others:
        terminal.err(f"tophub: no template yet, left out: {task}\n")
    fixed = dict(map(_knob, where or []))
    knobs = sorted({knob.name for task in tasks for knob in instantiate(task.task, task.args).space.knobs})
    if unknown := sorted(fixed.keys() - set(knobs)):
        raise UsageError(f"no task has a knob {unknown[0]!r}", remedy=f"there are {', '.join(knobs)}")
    if warm_start and no_warm_start:
        raise UsageError("--warm-start and --no-warm-start contradict each other")
    logs = [] if no_warm_start else warm_start or packages_here(resolved)
    experience = Experience.read(logs, tasks)
    plan = Plan(trials, total_trials, batch, search, early_stopping, seed, fixed)
    limits, timing = Limits(timeout, timeout), Timing(repeats=repeats)
    try:
        with (
            Measurer(resolved, place=place, limits=limits, timing=timing, tell=_tell) as measurer,
            _Progress(tasks, trials, total_trials) as progress,
        ):
            device = measurer.describe().where
            outcomes = tune(
                tasks, resolved, output, measurer, plan, resume=resume, experience=experience, progress=progress
            )
    except KeyboardInterrupt:
        terminal.err(f"tophub: interrupted; what was measured is in {output}, go on with --resume\n")
        sys.exit(130)
    _note_untried(outcomes, plan.batch_for(resolved.kind))
    if as_json:
        terminal.out(json.dumps([_as_json(outcome) for outcome in outcomes], indent=1) + "\n")
    else:
        failed = sum(outcome.failed for outcome in outcomes)
        terminal.out(
            f"{sum(outcome.trials for outcome in outcomes)} records of {len(outcomes)} tasks for {resolved} in {output}"
            + (f", {failed} of them failed" if failed else "")
            + f"; measured on {device}\n"
        )


def _chosen(tasks: list[Task], numbers: list[int] | None, *, autotvm_only: bool) -> list[Task]:
    """Return the tasks with these numbers, all by default, and of them those of AutoTVM's templates."""
    if out_of_range := [number for number in numbers or () if not 1 <= number <= len(tasks)]:
        raise UsageError(f"there is no task {out_of_range[0]}: they are numbered from 1 to {len(tasks)}")
    chosen = [tasks[number - 1] for number in numbers] if numbers else tasks
    return [task for task in chosen if not (autotvm_only and is_own(task.task))]


def _note_untried(outcomes: list[TaskOutcome], batch: int) -> None:
    """Name the tasks that --total-trials left nothing for, and say what reaches them."""
    untried = [outcome for outcome in outcomes if not outcome.trials]
    if untried:
        enough = sum(min(batch, outcome.planned) for outcome in outcomes)
        names = terminal.line(", ".join(str(outcome.task) for outcome in untried))
        terminal.err(
            f"tophub: note: {len(untried)} of {len(outcomes)} tasks got no trials: {names}; "
            f"--resume --total-trials {enough} reaches all\n"
        )


def _place(tracker: str | None, key: str | None, timeout: float) -> Place:
    """Return where kernels run: on the devices of a tracker, else here."""
    from tophub_registry.measurement.places import ThisMachine
    from tophub_registry.measurement.rpc import Tracked

    if tracker is None and key is None:
        return ThisMachine()
    if tracker is None or key is None:
        raise UsageError("--rpc-tracker and --rpc-key go together")
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
    """Two bars on a terminal, for the model and for the task at hand, and a line for each task that is done."""

    def __init__(self, tasks: list[Task], trials: int, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[best]}"),
            console=self._console,
            disable=not sys.stderr.isatty(),
        )
        self._tasks = len(tasks)
        self._planned = [trials] * len(tasks)
        self._done = [0] * len(tasks)
        self._total = total or trials * len(tasks)
        self._model = self._bars.add_task("model", total=min(self._total, trials * len(tasks)), best="")
        self._task = self._bars.add_task("task", total=trials, best="")

    def __enter__(self) -> Callable[[TaskOutcome], None]:
        self._bars.start()
        return self._update

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def _update(self, outcome: TaskOutcome) -> None:
        name = f"task {outcome.number + 1}/{self._tasks}"
        if self._bars.tasks[self._task].description != name:
            self._bars.reset(self._task, description=name)
        self._planned[outcome.number], self._done[outcome.number] = outcome.planned, outcome.trials
        best = f"{outcome.gflops:.1f} GFLOPS" if outcome.best else ""
        self._bars.update(self._task, total=outcome.planned, completed=outcome.trials, best=best)
        self._bars.update(self._model, total=min(self._total, sum(self._planned)), completed=sum(self._done))
        if outcome.done:
            self._console.print(
                terminal.clean(f"{name:>11}  {best:>14}  {outcome.trials} trials  {outcome.task}"), markup=False
            )


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
