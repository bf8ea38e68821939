"""`tophub gain`: the time that a log's records save a model, measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tophub_registry.cli import log_argument, table, tasks_argument, terminal
from tophub_registry.cli.model_options import CompileTarget, Processor, Shape, Threads, shapes_of
from tophub_registry.extras import require

if TYPE_CHECKING:
    from tophub_registry.proof.gain import ModelGain
    from tophub_registry.records.record import Provenance
    from tophub_registry.records.target import Target


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=tasks_argument.HELP)],
    log: Annotated[
        list[Path], typer.Option("-l", "--log", help=f"A log with records: {log_argument.HELP} (repeatable).")
    ],
    target: CompileTarget = "llvm",
    shape: Shape = None,
    rounds: Annotated[int, typer.Option(min=1, help="Number of timings of each kernel.")] = 9,
    _threads: Threads = None,
    _processor: Processor = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Time a model's kernels with AutoTVM's default configs and with the best records of logs, in turns."""
    require("tune")
    from tophub_registry.compiler.own_logs import useless
    from tophub_registry.devices.device import check_runs_here, resolve
    from tophub_registry.measurement.measure import Measurer
    from tophub_registry.proof.gain import measure_gain
    from tophub_registry.records.log import read_records
    from tophub_registry.records.lookup import Match, match_targets
    from tophub_registry.tuner.tune import supported

    resolved = resolve(target)
    check_runs_here(resolved)
    log = log_argument.find_all(log)
    records = [record for path in log for record in read_records(path)]
    known = {each.workload for each in records if each.valid and match_targets(resolved, each.target) is Match.DEVICE}
    if not known:
        raise useless(log, resolved)
    tasks, others = supported(tasks_argument.tasks_of(model, resolved.kind, shapes_of(shape)).tasks)
    if not any(task.workload in known for task in tasks):
        raise useless(log, resolved)
    for task in others:
        terminal.err(f"tophub: note: skipped, no template: {task}\n")
    with Measurer(resolved) as measurer:
        provenance = measurer.describe()
        gain = measure_gain(tasks, resolved, records, measurer, rounds=rounds)
    for row in gain.tasks:
        if row.failure is not None:
            terminal.err(f"tophub: note: the record of {row.task} is left out: {row.failure}\n")
    if as_json:
        terminal.out(json.dumps(_as_json(gain, resolved, provenance), indent=1) + "\n")
    else:
        _print(gain, resolved, provenance)


def _print(gain: ModelGain, target: Target, provenance: Provenance) -> None:
    terminal.out(f"{target} ({provenance.where})\n")
    table.show(
        ["task", ">layers", ">default µs", ">tuned µs", ">gain", ">GFLOPS"],
        (
            (
                str(row.task),
                str(row.task.count),
                f"{row.default * 1e6:.2f}",
                "no record" if row.tuned is None else f"{row.tuned * 1e6:.2f}",
                "" if row.tuned is None else f"{row.default / row.tuned:.2f}x",
                f"{row.flop / row.best / 1e9:.1f}",
            )
            for row in gain.tasks
        ),
        expendable=("GFLOPS", "layers"),
    )
    terminal.out(
        f"these kernels, timed one by one, add up to {gain.before * 1e3:.3f} ms with AutoTVM's default configs and to "
        f"{gain.after * 1e3:.3f} ms with the records and each layer's fastest template: {gain.before / gain.after:.2f} "
        "times as fast (`tophub bench` times whole runs)\n"
    )


def _as_json(gain: ModelGain, target: Target, provenance: Provenance) -> dict[str, object]:
    return {
        "target": str(target),
        "device": provenance.device,
        "threads": provenance.threads,
        "before": gain.before,
        "after": gain.after,
        "tasks": [
            {
                "task": row.task.task,
                "args": row.task.args,
                "count": row.task.count,
                "default": row.default,
                "tuned": row.tuned,
                "failure": row.failure,
            }
            for row in gain.tasks
        ],
    }
