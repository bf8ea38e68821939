"""`tophub validate`."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tophub_registry.cli import log_argument, terminal
from tophub_registry.cli.model_options import Processor
from tophub_registry.errors import InputError, UsageError
from tophub_registry.files import atomic_write
from tophub_registry.packages.folder import newest_here
from tophub_registry.packages.version import FileName
from tophub_registry.records.finding import Finding
from tophub_registry.records.log import parse_row, read_lines
from tophub_registry.records.lookup import Match, match_targets
from tophub_registry.records.record import Record
from tophub_registry.records.validate import Validation, validate_log
from tophub_registry.templates.fit import check_space
from tophub_registry.templates.registry import TEMPLATES

if TYPE_CHECKING:
    from tophub_registry.measurement.measure import Measurer

_TASKS = 3

LEVELS = ("row", "space", "log", "replay")
"""The levels, each of which includes those before it."""


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
    _processor: Processor = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all findings as JSON.")] = False,
) -> None:
    """Check logs, line by line.

    An error makes a log unfit to be published, and the exit code 1; a warning is something to know.

    row: each line by itself. space: the config belongs to its template's space. log: the lines together. replay:
    every record measured again on this machine, in turns with AutoTVM's default config (extra [tune]).
    """
    if level not in LEVELS:
        raise UsageError(f"there is no level {level!r}", remedy=f"--level takes {', '.join(LEVELS)}")
    together = LEVELS.index(level) >= LEVELS.index("log")
    checks = _checks(level)
    logs = log_argument.find_all(logs)
    found = [validate_log(log, together=together, checks=checks, previous=_previous(log)) for log in logs]
    if level == "replay":
        found = _replay_all(found, target, rounds, tolerance, output)
    if as_json:
        terminal.out(json.dumps({"logs": [dataclasses.asdict(validation) for validation in found]}, indent=1) + "\n")
    else:
        for validation in found:
            terminal.out(_text(validation, judged=bool(checks)))
    if any(validation.errors for validation in found):
        sys.exit(1)


def _checks(level: str) -> list[Callable[[Record], Iterable[Finding]]]:
    """Return other subpackages' checks of records for a level."""
    return [check_space] if LEVELS.index(level) >= LEVELS.index("space") else []


def _replay_all(
    found: list[Validation], target: str, rounds: int, tolerance: float, output: Path | None
) -> list[Validation]:
    """Add the findings of measuring the logs' valid records again, and write the logs with the new costs.

    Meanwhile the output has what is measured so far, like a log during tuning.
    """
    from tophub_registry.devices.device import check_runs_here, resolve
    from tophub_registry.measurement.measure import Measurer
    from tophub_registry.records.log import LogAppender

    resolved = resolve(target)
    check_runs_here(resolved)
    if output is None:
        with Measurer(resolved) as measurer:
            return [_replayed(each, measurer, rounds, tolerance, {}, lambda _: None) for each in found]
    if output.exists():
        raise UsageError("the log is already there", file=output, remedy="choose another name")
    again: dict[tuple[str, int], Record] = {}
    with LogAppender(output) as log, Measurer(resolved) as measurer:

        def keep(record: Record) -> None:
            log.append([record])

        replayed = [_replayed(each, measurer, rounds, tolerance, again, keep) for each in found]
    with atomic_write(output, overwrite=True) as stream:
        for validation in found:
            for line in read_lines(validation.file):
                measured = again.get((validation.file, line.number))
                stream.write((line.text if measured is None else measured.to_json().encode()) + b"\n")
    return replayed


def _replayed(
    validation: Validation,
    measurer: Measurer,
    rounds: int,
    tolerance: float,
    again: dict[tuple[str, int], Record],
    keep: Callable[[Record], None],
) -> Validation:
    """Add the findings of measuring a log's valid records again."""
    from tophub_registry.proof.replay import findings, replay

    unsound = {finding.line for finding in validation.findings if finding.severity == "error"}
    lines = {
        id(record): (line, record)
        for line, record in _records(validation.file)
        if line not in unsound and match_targets(measurer.target, record.target) is Match.DEVICE
    }
    known = [record for _, record in lines.values() if record.input.task in TEMPLATES]
    terminal.err(f"{validation.file}: {len(known)} of {validation.rows} rows can be measured for {measurer.target}\n")
    more: list[Finding] = []
    for replayed in replay(known, measurer, rounds=rounds):
        line = lines[id(replayed.claimed)][0]
        more += [
            dataclasses.replace(finding, file=validation.file, line=line) for finding in findings(replayed, tolerance)
        ]
        if replayed.record is not None:
            again[validation.file, line] = replayed.record
            keep(replayed.record)
    return validation.plus(more)


def _records(log: str) -> Iterator[tuple[int, Record]]:
    """Yield the successful records of a log with their lines; broken lines were reported already."""
    for line in read_lines(log):
        with suppress(InputError):
            record = parse_row(line, file=log).record
            if record is not None and record.valid:
                yield line.number, record


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
        _number(validation.rows, "row"),
        _number(validation.errors, "error"),
        _number(validation.warnings, "warning"),
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


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
