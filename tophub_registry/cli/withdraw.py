"""`tophub withdraw`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from tophub_registry.cli import terminal
from tophub_registry.errors import UsageError
from tophub_registry.packages.version import next_file
from tophub_registry.records.withdrawal import withdraw


def command(
    log: Annotated[Path, typer.Argument(help="The log that has the records.", show_default=False)],
    line: Annotated[list[int], typer.Option("--line", min=1, help="The line of a record (repeatable).")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why nobody should use them any more.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The log without them.", show_default="PACKAGE's next version beside LOG"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Write a log without some records, and with a comment that keeps every later merge from bringing them back.

    For a record that is fast and wrong: merging prefers the lowest cost, and would keep it for ever. A published
    file is not changed; release the new log as the next version.
    """
    output = output or next_file(log)
    if output is None:
        raise UsageError(f"{log.name} is no PACKAGE_vN.NN.log, so there is no next version", remedy="give -o FILE")
    made = withdraw(log, line, reason, output)
    if as_json:
        fields = {"output": str(output), "withdrawn": len(made), "reason": reason}
        terminal.out(json.dumps(fields, indent=1) + "\n")
    else:
        terminal.out(f"{len(made)} record{'s' if len(made) > 1 else ''} withdrawn\n{output}\n")
