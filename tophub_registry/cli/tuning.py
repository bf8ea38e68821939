"""`tophub compile --tune`: the library as it is at once, one progress bar, and what the tuning gave."""

from __future__ import annotations

import math
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from tophub_registry import spelling
from tophub_registry.cli import interrupts, notes, terminal

if TYPE_CHECKING:
    from tophub_registry.compiler.compiled import CompiledLayer, CompiledModel
    from tophub_registry.proof.tuned import Tuned
    from tophub_registry.tuner.limit import Limit
    from tophub_registry.tuner.tune import TaskOutcome

_EVERY = 15.0
"""Seconds between two lines of progress if standard error is not a terminal."""

_RUNS = 15


def tuned(
    model: str,
    target: str,
    limit: str,
    output: Path,
    *,
    shapes: Mapping[str, Sequence[int]] | None,
    params: Path | None,
    precision: str,
    force: bool,
) -> Tuned:
    """Compile a model, write the library, tune the model, and return what that gave; Ctrl-C keeps all of it."""
    from tophub_registry.frontends import read_model
    from tophub_registry.proof.tuned import compile_tuned
    from tophub_registry.tuner.limit import Limit

    how_long = Limit.parse(limit)
    read = read_model(model, shapes=shapes, params=params)
    watcher = _Bar(model, output, force=force)
    try:
        with interrupts.as_exception():  # which ends the processes that measure
            return compile_tuned(read, target, how_long, precision=precision, watcher=watcher)
    except KeyboardInterrupt:
        watcher.stop()
        kept = f"; {output} is the model as it was before" if watcher.written else ""
        terminal.err(f"tophub: interrupted; what was measured is kept, and the same command goes on{kept}\n")
        sys.exit(interrupts.CODE)
    finally:
        watcher.stop()


def check(limit: str) -> None:
    """Raise UsageError if the value of --tune is neither a time nor a number of trials."""
    from tophub_registry.tuner.limit import Limit

    Limit.parse(limit)


_NOISE = 0.03
"""By what fraction medians differ without any reason; more so where other programs run."""


def outcome(found: Tuned) -> None:
    """Print what tuning gave."""
    if not found.trials:
        terminal.out(f"Nothing was measured: {found.log} has the trials already.\n")
        return
    before, after = spelling.seconds(found.before), spelling.seconds(found.after)
    terminal.out(
        f"{found.trials} configs were measured, and are kept in {found.log}. Whole runs, timed in turns, took "
        f"{before} before and {after} after, {found.after / found.before:.2f} times as long.{_doubt(found)}\n"
    )


def _doubt(found: Tuned) -> str:
    """Say so if two times do not differ by more than times do from run to run."""
    apart = abs(found.after / found.before - 1)
    return "" if apart > _NOISE else " That is no difference: runs vary by as much."


def as_json(found: Tuned | None) -> dict[str, object]:
    """Return that as JSON has it, nothing without tuning; times in seconds, null if nothing was measured."""
    if found is None:
        return {}
    times = {"before": found.before, "after": found.after}
    return {
        "tuned": {
            "log": str(found.log),
            "trials": found.trials,
            **{name: None if math.isnan(seconds) else seconds for name, seconds in times.items()},
        }
    }


class _Bar:
    """Writes the library as it is before tuning, then shows the time, and what the best kernels save by themselves.

    That is a sum of kernels timed alone and no time of a run, which only whole runs tell, at the end.

    It has the methods of `proof.tuned.Watcher`, which needs the extra [tune].
    """

    def __init__(self, model: str, output: Path, *, force: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._model, self._output, self._force = model, output, force
        self.written = False
        self._watched = sys.stderr.isatty()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeRemainingColumn(),
            TextColumn("{task.fields[found]}"),
            console=Console(stderr=True, highlight=False, soft_wrap=True),
            transient=True,
            disable=not self._watched,
        )
        self._in_use: dict[str, float] = {}
        self._outcomes: dict[int, TaskOutcome] = {}
        self._measured = 0

    def compiled(self, compiled: CompiledModel) -> None:
        # TVM warns when it saves an executable that has run.
        compiled.export(self._output, overwrite=self._force or self.written)
        if self.written:
            return
        self.written = True
        run = median(compiled.benchmark(repeats=_RUNS))
        self._in_use = {
            layer.layer.name: seconds for layer in compiled.layers if (seconds := _expected_of(layer)) is not None
        }
        notes.progress("")
        terminal.err(f"tophub: {self._output} is written; a run takes {spelling.seconds(run)} before tuning\n")

    def measuring(self, rest: Limit) -> None:
        self._rest, self._began = rest, time.monotonic()
        self._printed = self._began
        self._bar.start()
        total: Any = rest.trials if math.isinf(rest.seconds) else rest.seconds
        self._task = self._bar.add_task("tuning", total=total, found="")

    def measured(self, outcome: TaskOutcome) -> None:
        before = self._outcomes.get(outcome.number, outcome)
        self._measured += outcome.trials - before.trials
        self._outcomes[outcome.number] = outcome
        now = time.monotonic()
        done = self._measured if math.isinf(self._rest.seconds) else now - self._began
        found = f"{spelling.counted(self._measured, 'config')}; {self._gain()}"
        self._bar.update(self._task, completed=done, found=found)
        if not self._watched and now - self._printed >= _EVERY:
            self._printed = now
            terminal.err(f"tophub: {now - self._began:.0f} s, {found}\n")

    def comparing(self) -> None:
        self._bar.stop()
        what = f"comparing the best configs in {terminal.clean(self._model)}"
        notes.progress(what)
        if not self._watched:
            terminal.err(f"tophub: {what}\n")

    def stop(self) -> None:
        self._bar.stop()
        notes.progress("")

    def _gain(self) -> str:
        """Return what the layers' best kernels save on those that the model was compiled with, all timed alone.

        These are default configs, whose costs are measured, records, or neighbours' configs at their expected costs.
        """
        layers: defaultdict[tuple[str, ...], list[TaskOutcome]] = defaultdict(list)
        for outcome in self._outcomes.values():
            layers[tuple(outcome.task.layers)].append(outcome)
        gain = 0.0
        for names, alternatives in layers.items():
            defaults = [outcome.default for outcome in alternatives if outcome.default]
            found = [outcome.best for outcome in alternatives if outcome.best]
            before = self._in_use.get(names[0]) or min(defaults, default=math.nan)
            if found and min(found) < before:
                gain += alternatives[0].task.count * (before - min(found))
        return f"kernels timed alone save {spelling.seconds(gain)}" if gain else "none is faster yet"


def _expected_of(layer: CompiledLayer) -> float | None:
    """Return the time of a layer's record, or what is expected of its neighbour's config; None if it has neither."""
    kernel = layer.kernel
    if kernel is None:
        return None
    if kernel.neighbour is not None:
        return kernel.neighbour.seconds
    return None if kernel.answer.record is None else kernel.answer.record.mean_cost
