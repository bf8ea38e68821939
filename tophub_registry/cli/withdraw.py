"""`tophub withdraw`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from tophub_registry.cli import log_argument, terminal
from tophub_registry.records.withdrawal import withdraw


def command(
    log: Annotated[
        Path, typer.Argument(help=f"The log that has the records: {log_argument.HELP}.", show_default=False)
    ],
    line: Annotated[list[int], typer.Option("--line", min=1, help="A record's line (repeatable).")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why these records must not be used any more.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The log without them.",
            show_default="PACKAGE's next version beside LOG, or here if LOG is a package or in a registry",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Write a copy of a log without some records, with a comment that keeps later merges from bringing them back.

    For a record that is fast but wrong: merging prefers the lowest cost, and would keep it forever. A published
    file is not changed; release the new log as the next version.
    """
    found = log_argument.find(log)
    output = output or log_argument.next_version(log, found)
    made = withdraw(found, line, reason, output)
    if as_json:
        fields = {"output": str(output), "withdrawn": len(made), "reason": reason}
        terminal.out(json.dumps(fields, indent=1) + "\n")
    else:
        terminal.out(f"{len(made)} record{'s' if len(made) > 1 else ''} withdrawn\n{output}\n")
