"""`tophub diff`."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from tophub_registry import spelling
from tophub_registry.cli import log_argument, table, terminal
from tophub_registry.errors import UsageError
from tophub_registry.records.diff import KINDS, By, Difference, LogDiff, compare

_SHOWN = 20

_BY: dict[str | None, By | None] = {None: None, "target": "target", "backend": "backend"}


def command(
    before: Annotated[Path, typer.Argument(help=f"The first log: {log_argument.HELP}.", show_default=False)],
    after: Annotated[Path, typer.Argument(help="The second log.", show_default=False)],
    by: Annotated[
        str | None,
        typer.Option(
            help="Compare the best records of each target and workload, or of each backend and workload: "
            "target or backend.",
            show_default="target, if the logs have one in common",
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="List every difference, not only the largest ones.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every difference as JSON.")] = False,
) -> None:
    """Compare two logs: records added, removed, faster, slower, and by how much.

    The best records of each target and workload are compared. `changed` is another record at the same cost. Logs of
    different devices have no target in common: their workloads are compared within a backend.
    """
    if by not in _BY:
        raise UsageError(f"there is no comparison by {by!r}", remedy="--by takes target or backend")
    before, after = log_argument.find_all([before, after])
    comparison = compare(before, after, by=_BY[by])
    if as_json:
        fields = dataclasses.asdict(comparison)
        for field, difference in zip(fields["differences"], comparison.differences, strict=True):
            field |= {"target": difference.target, "speedup": difference.speedup}
        terminal.out(json.dumps({"before": str(before), "after": str(after), **fields}, indent=1) + "\n")
        return
    if comparison.by == "backend" and by is None:
        terminal.err("tophub: note: the logs have no target in common: workloads are compared within a backend\n")
    _print(comparison, None if everything else _SHOWN)


def _print(comparison: LogDiff, shown: int | None) -> None:
    counts = {kind: [d for d in comparison.differences if d.kind == kind] for kind in KINDS}
    rows: list[tuple[str, ...]] = []
    for kind, differences in counts.items():
        differences.sort(key=_greatness, reverse=True)
        rows += [_row(difference) for difference in differences[:shown]]
        if shown is not None and len(differences) > shown:
            rows.append((kind, "", f"and {len(differences) - shown} more; --all lists them", "", "", ""))
    if rows:
        columns = ("what", "target", "task", ">before", ">after", ">times as fast")
        table.show(columns, rows, expendable=("before", "target"))
    said = [f"{len(differences)} {kind}" for kind, differences in counts.items() if differences]
    terminal.out(", ".join([*said, f"{comparison.same} the same"]) + "\n")
    if comparison.unconvertible:
        terminal.err(
            f"tophub: note: {comparison.unconvertible} rows of log version 0.1 can't be converted or compared\n"
        )


def _greatness(difference: Difference) -> float:
    speedup = difference.speedup or 1.0
    return max(speedup, 1 / speedup)


def _row(difference: Difference) -> tuple[str, ...]:
    return (
        difference.kind,
        difference.target,
        difference.task,
        spelling.seconds(difference.before) or "-",
        spelling.seconds(difference.after) or "-",
        "-" if difference.speedup is None else f"{difference.speedup:.3f}",
    )
