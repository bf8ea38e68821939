"""`tophub validate`."""

from __future__ import annotations

import dataclasses
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tophub_registry import spelling
from tophub_registry.cli import log_argument, terminal
from tophub_registry.cli.model_options import Processor, Threads
from tophub_registry.packages.folder import newest_here
from tophub_registry.packages.version import FileName
from tophub_registry.proof.validation import LEVELS, includes, validate

if TYPE_CHECKING:
    from tophub_registry.records.target import Target
    from tophub_registry.records.validate import Validation

_TASKS = 3


def command(
    logs: Annotated[
        list[Path], typer.Argument(help=f"The logs to check: each {log_argument.HELP}.", show_default=False)
    ],
    level: Annotated[
        str, typer.Option(help=f"How much to check: {', '.join(LEVELS)}; each level includes those before it.")
    ] = "log",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="With replay: the log to write, with the new costs.")
    ] = None,
    target: Annotated[str, typer.Option(help="With replay: the target whose records are measured.")] = "llvm",
    rounds: Annotated[int, typer.Option(min=1, help="With replay: how often each kernel is timed.")] = 9,
    tolerance: Annotated[
        float, typer.Option(min=0, help="With replay: by what fraction a claimed cost may be exceeded.")
    ] = 0.1,
    _threads: Threads = None,
    _processor: Processor = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all findings as JSON.")] = False,
) -> None:
    """Check logs, line by line.

    An error makes a log unfit to be published, and the exit code 1; a warning is something to know.

    row: each line by itself. space: the config belongs to its template's space. log: the lines together. replay:
    every record measured again on this machine, in turns with AutoTVM's default config (extra [tune]).
    """
    judged = includes(level, "space")
    found = [validate(log, level, previous=_previous(log)) for log in log_argument.find_all(logs)]
    if level == "replay":
        from tophub_registry.devices.device import resolve
        from tophub_registry.proof.replay import replay_logs

        here = resolve(target)
        found = replay_logs(found, here, rounds=rounds, tolerance=tolerance, output=output, begin=partial(_begin, here))
    if as_json:
        terminal.out(json.dumps({"logs": [dataclasses.asdict(validation) for validation in found]}, indent=1) + "\n")
    else:
        for validation in found:
            terminal.out(_text(validation, judged=judged))
    if any(validation.errors for validation in found):
        sys.exit(1)


def _begin(target: Target, validation: Validation, measurable: int) -> None:
    from tophub_registry.devices.device import at_hand

    can = f"{measurable} of {validation.rows} rows can be measured for {target}"
    terminal.err(f"{validation.file}: {can} ({at_hand(target.kind).where})\n")


def _previous(log: Path) -> Path | None:
    """Return the previous version, if it is beside the log."""
    name = FileName.parse(log.name)
    before = None if name is None else newest_here(log.parent, None, name.package, before=name.version)
    return None if before is None else before.path


def _text(validation: Validation, *, judged: bool) -> str:
    lines = []
    for finding in validation.findings:
        place = f"{finding.file}:{finding.line}" if finding.line else finding.file
        remedy = f" ({finding.remedy})" if finding.remedy else ""
        lines.append(terminal.line(f"{place}: {finding.severity}: {finding.message}{remedy} [{finding.rule}]"))
    if validation.errors + validation.warnings > len(validation.findings):
        lines.append(f"{validation.file}: and more findings")
    counts = [
        spelling.counted(validation.rows, "row"),
        spelling.counted(validation.errors, "error"),
        spelling.counted(validation.warnings, "warning"),
    ]
    if validation.unchecked:
        tasks = ", ".join(sorted(validation.unchecked)[:_TASKS]) + (", …" if len(validation.unchecked) > _TASKS else "")
        counts.append(f"{sum(validation.unchecked.values())} not checked: no template for {tasks}")
    verdict = f"; {_verdict(validation)}" if judged else ""
    return "\n".join([*lines, terminal.line(f"{validation.file}: {', '.join(counts)}{verdict}")]) + "\n"


def _verdict(validation: Validation) -> str:
    """Say whether the log can be released, or why not."""
    unfit = validation.unfit
    if unfit is None:
        return f"fit to be released as {validation.package}"
    place = f"line {unfit.line}: " if unfit.line else ""
    return terminal.line(
        f"not fit to be released: {place}{unfit.message}" + (f" ({unfit.remedy})" if unfit.remedy else "")
    )
