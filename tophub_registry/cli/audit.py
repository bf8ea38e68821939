"""`tophub audit`."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from tophub_registry import spelling
from tophub_registry.cli import log_argument, notes, terminal
from tophub_registry.records.audit import TargetAudit, audit


def command(
    logs: Annotated[list[Path], typer.Argument(help=f"The logs: each {log_argument.HELP}.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the same as JSON.")] = False,
) -> None:
    """Show the evidence for the records of logs: age, tool, device, repeats and their spread, coverage.

    Coverage is a target's share of the workloads that the logs have for any target.
    """
    found = audit(log_argument.find_all(logs))
    if as_json:
        terminal.out(json.dumps(dataclasses.asdict(found), indent=1) + "\n")
        return
    for entry in found.entries:
        terminal.out(_text(entry, found.workloads))
    if not found.entries:
        notes.no_records()
    if found.unconvertible:
        terminal.err(f"tophub: note: {found.unconvertible} rows of log version 0.1 can't be converted\n")


def _text(entry: TargetAudit, workloads: int) -> str:
    spread = (
        f"median {spelling.percent(entry.median_spread) or '-'}, worst {spelling.percent(entry.worst_spread) or '-'}"
    )
    undated = f", {entry.undated} without a date" if entry.undated else ""
    devices = _counted(entry.devices) or "unknown"
    lines = {
        "records": f"{entry.records}, {entry.failed} failed, {entry.duplicates} duplicates, "
        f"{entry.runners_up} runners-up",
        "coverage": f"{entry.workloads} of {workloads} workloads, {spelling.percent(entry.coverage)}",
        "measured": (spelling.days(entry.oldest, entry.newest) or "-") + undated,
        "device": devices,
        "by": _counted(entry.tools) or "-",
        "converted": f"{entry.converted} from log version 0.1",
        "revalidated": str(entry.revalidated),
        "spread": f"{spread}; {entry.single} measured only once",
    }
    shown = (f"  {name:<13}{terminal.line(value)}\n" for name, value in lines.items())
    return f"{terminal.line(entry.target)}\n" + "".join(shown)


def _counted(things: dict[str, int]) -> str:
    return ", ".join(f"{thing} ({count})" for thing, count in things.items())
