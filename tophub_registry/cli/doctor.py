"""`tophub doctor`."""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from tophub_registry import spelling
from tophub_registry.cli import notes, terminal
from tophub_registry.cli.location_options import Location, RootFolder
from tophub_registry.doctor.examine import examine
from tophub_registry.packages.root import Root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tophub_registry.doctor.check import Check


def command(
    location: Location = None,
    root: RootFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every check as JSON.")] = False,
) -> None:
    """Check this installation: the root, the location, what is installed, processor and GPU, threads, and variables.

    Each line is ok, warning or error; what is not ok has a remedy. Nothing is changed. Exit code 1 if there is an
    error.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # even where the terminal can't show every character
    found = examine(location, Root.at(root), progress=notes.progress)
    notes.progress("")
    if as_json:
        terminal.out(json.dumps({"checks": [check._asdict() for check in found]}, indent=1) + "\n")
    else:
        _print(found)
    if any(check.level == "error" for check in found):
        raise typer.Exit(1)


def _print(found: Sequence[Check]) -> None:
    width = max(len(check.topic) for check in found)
    for check in found:
        terminal.out(f"{check.level:<7}  {check.topic:<{width}}  {terminal.line(check.message)}\n")
        if check.remedy and check.level != "ok":
            terminal.out(f"{'':<7}  {'':<{width}}  → {terminal.line(check.remedy)}\n")
    counts = Counter(check.level for check in found)
    terminal.out(f"{spelling.counted(counts['error'], 'error')}, {spelling.counted(counts['warning'], 'warning')}\n")
