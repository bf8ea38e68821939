"""`tophub report`: an HTML page about a tuning run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tophub_registry.cli import log_argument, terminal
from tophub_registry.errors import UsageError


def command(
    logs: Annotated[
        list[Path],
        typer.Argument(help=f"Logs written by `tophub tune`: each {log_argument.HELP}.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The page to write.")] = Path("report.html"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the page if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Write an HTML page about a tuning run: for each task the best config over trials and over time.

    It also shows every config's GFLOPS against the device's measured peak, the failures, and how well each
    option of each knob did. The page is self-contained and works offline.
    """
    from tophub_registry.files import atomic_write, check_place
    from tophub_registry.report.page import render
    from tophub_registry.report.reading import read_history

    check_place(output)
    if output.exists() and not force:
        raise UsageError("the page already exists", file=output, remedy="--force overwrites it")
    logs = log_argument.find_all(logs)
    history = read_history(logs)
    page = render(history, [path.name for path in logs]).encode()
    with atomic_write(output, overwrite=force) as stream:
        stream.write(page)
    trials, tasks = len(history.records), len(history.tasks)
    if as_json:
        fields = {"page": str(output), "bytes": len(page), "trials": trials, "tasks": tasks}
        terminal.out(json.dumps(fields, indent=1) + "\n")
    else:
        terminal.out(f"{trials} trials of {tasks} tasks in {output} ({len(page) / 1e6:.1f} MB)\n")
