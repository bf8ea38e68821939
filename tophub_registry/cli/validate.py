"""`tophub validate`."""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from tophub_registry.errors import UsageError
from tophub_registry.packages.version import FileName
from tophub_registry.records.record import Record
from tophub_registry.records.validate import Finding, Validation, validate_log

LEVELS = ("row", "log")
"""The levels, each of which includes those before it."""


def command(
    logs: Annotated[list[Path], typer.Argument(help="The logs to look at.", show_default=False)],
    level: Annotated[
        str, typer.Option(help=f"How far to look: {', '.join(LEVELS)}; each includes the former.")
    ] = "log",
    as_json: Annotated[bool, typer.Option("--json", help="Print all findings as JSON.")] = False,
) -> None:
    """Say what is wrong with logs, line by line.

    An error makes a log unfit to be published, and the exit code 1; a warning says what a reader should know.
    """
    if level not in LEVELS:
        raise UsageError(f"there is no level {level!r}", remedy=f"--level takes {', '.join(LEVELS)}")
    together = LEVELS.index(level) >= LEVELS.index("log")
    checks = _checks(level)
    found = [validate_log(log, together=together, checks=checks, previous=_previous(log)) for log in logs]
    if as_json:
        sys.stdout.write(
            json.dumps({"logs": [dataclasses.asdict(validation) for validation in found]}, indent=1) + "\n"
        )
    else:
        for validation in found:
            sys.stdout.write(_text(validation))
    if any(validation.errors for validation in found):
        sys.exit(1)


def _checks(_level: str) -> list[Callable[[Record], Iterable[Finding]]]:
    """Return the checks of records that other rooms have for a level."""
    return []


def _previous(log: Path) -> Path | None:
    """Return the version before, if it stands beside the log."""
    name = FileName.parse(log.name)
    if name is None:
        return None
    others = (FileName.parse(path.name) for path in log.parent.glob(f"{name.package}_v*.log"))
    before = [other for other in others if other and other.package == name.package and other.version < name.version]
    return log.with_name(str(max(before, key=lambda other: other.version))) if before else None


def _text(validation: Validation) -> str:
    lines = []
    for finding in validation.findings:
        place = f"{finding.file}:{finding.line}" if finding.line else finding.file
        remedy = f" ({finding.remedy})" if finding.remedy else ""
        lines.append(f"{place}: {finding.severity}: {finding.message}{remedy} [{finding.rule}]")
    if validation.errors + validation.warnings > len(validation.findings):
        lines.append(f"{validation.file}: and more of them")
    counts = (f"{validation.rows} rows", _number(validation.errors, "error"), _number(validation.warnings, "warning"))
    return "\n".join([*lines, f"{validation.file}: {', '.join(counts)}"]) + "\n"


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
