"""`tophub show`."""

from __future__ import annotations

import dataclasses
import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tophub_registry import spelling
from tophub_registry.cli import log_argument, notes, table, terminal
from tophub_registry.cli.lock_option import Locked
from tophub_registry.errors import InputError, UsageError
from tophub_registry.records.rank import Rank
from tophub_registry.records.summary import summarise, tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from tophub_registry.records.record import Record
    from tophub_registry.report.history import History, TaskHistory


def command(
    logs: Annotated[list[Path], typer.Argument(help=f"The logs: each {log_argument.HELP}.", show_default=False)],
    best: Annotated[bool, typer.Option("--best", help="Show the best record of each task instead.")] = False,
    task: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only tasks whose name contains TEXT, such as 64x64x3x3.")
    ] = None,
    only: Annotated[
        list[int] | None, typer.Option(metavar="N", help="Only task N, as --best numbers them (repeatable).")
    ] = None,
    source: Annotated[
        bool, typer.Option("--source", help="Show the kernel too: CUDA source, or TVM script for a processor.")
    ] = False,
    asm: Annotated[bool, typer.Option("--asm", help="Show the kernel's assembly too, for a processor.")] = False,
    _locked: Locked = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the same as JSON.")] = False,
) -> None:
    """Show what logs contain: for each target and task the records, their speed, age and tools.

    GFLOPS is the best record's rate, and median that of the record in the middle.

    With --best, or an option that chooses among the best: for each workload the fastest record, its config, time and
    speed, and on request its kernel, which needs TVM but not the device.
    """
    logs = log_argument.find_all(logs)
    if best or task is not None or only or source or asm:
        if source and asm:
            raise UsageError("--source and --asm exclude each other", remedy="give one of them")
        _show_best(logs, task, only or [], _printer(source=source, asm=asm), as_json=as_json)
    else:
        _show_summary(logs, as_json=as_json)


def _show_summary(logs: list[Path], *, as_json: bool) -> None:
    summary = summarise(logs)
    if as_json:
        terminal.out(json.dumps(dataclasses.asdict(summary), indent=1) + "\n")
        return
    if not summary.groups:
        notes.no_records()
        _tell_unconvertible(summary.unconvertible)
        return
    confirmed = any(_confirmed(group.ranks) for group in summary.groups)
    ranks = ["rank"] if confirmed else []
    columns = ("target", "task", ">workloads", ">records", *ranks, ">failed", ">GFLOPS", ">median", "measured", "by")
    table.show(
        columns,
        (
            (
                group.target,
                group.task,
                str(group.workloads),
                str(group.records),
                *([_confirmed(group.ranks)] if confirmed else []),
                str(group.failed),
                spelling.number(group.best_gflops) or "-",
                spelling.number(group.median_gflops) or "-",
                spelling.days(group.oldest, group.newest) or "-",
                ", ".join(group.tools),
            )
            for group in summary.groups
        ),
        expendable=("by", "measured", "failed", "median", "workloads"),
    )
    _tell_unconvertible(summary.unconvertible)


def _confirmed(ranks: dict[str, int]) -> str:
    """Return how many records others have confirmed: `3 replayed, 1 reproduced`; empty if none."""
    return ", ".join(f"{count} {rank}" for rank, count in ranks.items() if rank != str(Rank.CLAIMED))


def _show_best(
    logs: list[Path], text: str | None, only: list[int], print_kernel: Callable[[Record], str] | None, *, as_json: bool
) -> None:
    from tophub_registry.report.reading import read_history

    history = read_history(logs)
    chosen = _chosen(history, text, only)
    kernels: dict[int, str] = {}
    for number, task in chosen if print_kernel else ():
        if task.best is None:
            continue
        try:
            kernels[number] = print_kernel(task.best) if print_kernel else ""
        except InputError as error:
            if len(chosen) == 1:
                raise
            terminal.err(f"tophub: note: no kernel for task {number}: {error}\n")
    if as_json:
        values = [_as_json(number, task, kernels.get(number)) for number, task in chosen]
        terminal.out(json.dumps(values, indent=1) + "\n")
        return
    terminal.out("\n".join(_as_text(number, task, kernels.get(number)) for number, task in chosen))
    _tell_unconvertible(history.unconvertible)


def _chosen(history: History, text: str | None, only: list[int]) -> list[tuple[int, TaskHistory]]:
    tasks = list(enumerate(history.tasks, 1))
    if out_of_range := [number for number in only if not 1 <= number <= len(tasks)]:
        raise UsageError(f"there is no task {out_of_range[0]}: they are numbered from 1 to {len(tasks)}")
    chosen = [
        (number, task)
        for number, task in tasks
        if (not only or number in only) and (text is None or text.lower() in str(task).lower())
    ]
    if not chosen:
        raise UsageError(f"no task's name contains {text!r}", remedy="`tophub show LOG --best` lists the tasks")
    return chosen


def _printer(*, source: bool, asm: bool) -> Callable[[Record], str] | None:
    if not source and not asm:
        return None
    from tophub_registry.tuner.kernel_source import assembly, kernel_source

    return assembly if asm else kernel_source


def _as_text(number: int, task: TaskHistory, kernel: str | None) -> str:
    from tophub_registry.report.history import device

    trials = f"{len(task.trials)} trial{'' if len(task.trials) == 1 else 's'}"
    if task.failed:
        trials += f", {task.failed} failed"
    lines = [f"{number}. {task}", f"   target   {task.target}"]
    if task.best is None:
        lines.append(f"   best     none: {trials}")
        return "".join(f"{terminal.line(line)}\n" for line in lines)
    costs = task.best.result.costs
    spread = f" ({spelling.seconds(min(costs))} to {spelling.seconds(max(costs))}, {len(costs)} repeats)"
    lines.append(f"   time     {spelling.seconds(statistics.fmean(costs))}" + (spread if len(costs) > 1 else ""))
    if task.gflops is not None:
        share = "" if task.share is None else f", {spelling.percent(task.share)} of the device's peak"
        if task.share is not None and task.share > 1:
            share += " (too low a peak: other programs were running when it was measured)"
        lines.append(f"   speed    {spelling.number(task.gflops)} GFLOPS{share}")
    if task.saving is not None and task.saving > 1:
        saving = spelling.number(task.saving)
        lines.append(f"            (GFLOPS of direct convolution; Winograd needs {saving} times fewer multiplications)")
    if task.gain is not None:
        lines.append(f"   gain     {task.gain:.2f} times as fast as the default config")
    if device(task.best):
        lines.append(f"   device   {device(task.best)}")
    lines.append(f"   measured {spelling.day(task.best.result.timestamp)} by {tool(task.best)}; best of {trials}")
    lines.append(f"   rank     {task.best.rank}")
    lines.append(f"   config   {task.best.config.index}")
    width = max((len(knob.name) for knob in task.best.config.entity), default=0)
    lines += [f"     {knob.name:<{width}} {json.dumps(knob.value)}" for knob in task.best.config.entity]
    text = "".join(f"{terminal.line(line)}\n" for line in lines)
    return text if kernel is None else f"{text}\n{kernel}"


def _as_json(number: int, task: TaskHistory, kernel: str | None) -> dict[str, object]:
    best = task.best
    value: dict[str, object] = {
        "number": number,
        "target": str(task.target),
        "task": task.task,
        "args": task.args,
        "trials": len(task.trials),
        "failures": task.failures,
        "default": task.default,
        "best": None if best is None else best.mean_cost,
        "rank": None if best is None else str(best.rank),
        "gflops": task.gflops,
        "peak_gflops": task.peak_gflops,
        "record": None if best is None else best.model_dump(exclude_unset=True),
    }
    return value if kernel is None else {**value, "kernel": kernel}


def _tell_unconvertible(rows: int) -> None:
    if rows:
        terminal.err(f"tophub: note: {rows} rows of log version 0.1 can't be converted\n")
