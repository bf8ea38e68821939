"""`tophub convert`."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from tophub_registry.cli import log_argument, notes, terminal
from tophub_registry.errors import UsageError
from tophub_registry.records.convert import ConvertReport, convert_log

_VERSIONS = {"0.1": 0.1, "0.2": 0.2}


def command(
    log: Annotated[Path, typer.Argument(help=f"The log to convert: {log_argument.HELP}.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The converted log.", show_default=False)],
    to: Annotated[str, typer.Option(help="The log version to write: 0.2, or 0.1 for TVM 0.6.")] = "0.2",
    for_tvm: Annotated[
        str | None,
        typer.Option(metavar="0.7", help="Use this TVM's task names: in 0.7 a GPU's dense layers have other names."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Convert a log from log version 0.1 to 0.2, or back.

    Rows and comments keep their order. Rows that can't be converted with certainty are left out and reported; then
    the exit code is 1.
    """
    if to not in _VERSIONS:
        raise UsageError(f"there is no log version {to!r}", remedy="--to takes 0.1 or 0.2")
    if for_tvm not in (None, "0.7"):
        raise UsageError(f"--for-tvm does not take {for_tvm!r}", remedy="it takes 0.7; later TVMs need no other names")
    if for_tvm and to != "0.2":
        raise UsageError("TVM 0.7 reads log version 0.2", remedy="omit --to")
    report = convert_log(log_argument.find(log), output, to=_VERSIONS[to], for_0_7=for_tvm is not None)
    if as_json:
        terminal.out(json.dumps({"output": str(output), **dataclasses.asdict(report)}, indent=1) + "\n")
    else:
        terminal.out(f"{_text(report)}\n{output}\n")
        notes.left_out(report.left_out)
    if report.unconvertible:
        sys.exit(1)


def _text(report: ConvertReport) -> str:
    unchanged = f", {report.unchanged} unchanged" if report.unchanged else ""
    left_out = f", {report.unconvertible} left out" if report.unconvertible else ""
    return f"{report.converted} of {report.read} records converted{unchanged}{left_out}"
