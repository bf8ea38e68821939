"""`tophub show`."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from tophub_registry.cli import table
from tophub_registry.records.summary import summarise


def command(
    logs: Annotated[list[Path], typer.Argument(help="The logs.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the same as JSON.")] = False,
) -> None:
    """Show what logs hold: for each target and task the records, their speed, their age and what made them."""
    summary = summarise(logs)
    if as_json:
        sys.stdout.write(json.dumps(dataclasses.asdict(summary), indent=1) + "\n")
        return
    columns = ("target", "task", ">workloads", ">records", ">failed", ">best", ">median GFLOPS", "measured", "by")
    table.show(
        columns,
        (
            (
                group.target,
                group.task,
                str(group.workloads),
                str(group.records),
                str(group.failed),
                table.number(group.best_gflops),
                table.number(group.median_gflops),
                table.days(group.oldest, group.newest),
                ", ".join(group.tools),
            )
            for group in summary.groups
        ),
    )
    if summary.unconvertible:
        sys.stderr.write(f"tophub: note: {summary.unconvertible} rows of log version 0.1 could not be converted\n")
