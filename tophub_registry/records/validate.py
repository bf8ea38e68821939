"""Validation: what is wrong with a log, each finding with its line, its rule and a remedy.

Level `row` checks each line by itself, level `log` the lines together. Checks that need more (the config space of
a template, a device) are passed in, as functions from a record to findings.

An error makes a log unfit to be published; a warning is something to know.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tophub_registry.errors import InputError
from tophub_registry.records.finding import Finding
from tophub_registry.records.fitness import Policy, refusal
from tophub_registry.records.log import open_log, parse_row, read_lines
from tophub_registry.records.rows import parse_old_row
from tophub_registry.records.target import Target
from tophub_registry.records.unconvertible import NoConversionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from tophub_registry.records.log import Line
    from tophub_registry.records.record import Record

RULES = {
    "length": "the line is too long",
    "encoding": "the comment is not UTF-8",
    "json": "the row is not JSON, or nested too deeply",
    "pickle": "the row is pickled",
    "shape": "a key is missing, or a value has the wrong type",
    "knob": "a knob's value does not match its kind",
    "number": "a number is infinite or not a number",
    "cost": "a successful measurement took no time",
    "target": "the target can't be parsed",
    "version": "the log version is unknown",
    "torn": "the last row was cut short",
    "time": "measured in the future, or at an unknown time",
    "speed": "faster than the device can be",
    "failed": "the record of a failed measurement",
    "package": "records of several packages",
    "empty": "the log has no records",
    "conversion": "a row of log version 0.1 that can't be converted with certainty",
    "duplicate": "the same record as in an earlier line",
    "several": "workloads with several records for one target",
    "targets": "records of several targets",
    "devices": "records of one target from several devices",
    "unchanged": "the same records as in the previous version",
}
"""The rules of the levels row (up to `conversion`) and log, and of what can be released."""

MAX_FINDINGS = 10_000
"""Maximum number of findings kept; all are counted."""

_SHOWN = 5

_HEAD = 1024


@dataclass(frozen=True)
class Validation:
    """The findings in a log.

    Attributes
    ----------
    file
        The log.
    rows, comments
        The number of lines of each kind.
    errors, warnings
        The number of findings of each severity.
    findings
        The findings by line; those on the log as a whole come last.
    unchecked
        The number of records by task, for tasks without a template here: whether their configs exist is unknown.
    package
        The package it can be released as; None if its records belong to several, or it has none.
    unfit
        The first reason why it can't be released; None if it can.
    """

    file: str
    rows: int
    comments: int
    errors: int
    warnings: int
    findings: tuple[Finding, ...]
    unchecked: dict[str, int] = field(default_factory=dict)
    package: str | None = None
    unfit: Finding | None = None

    def plus(self, findings: Sequence[Finding]) -> Validation:
        """Return the same with more findings, those on the log as a whole last."""
        more = Counter(finding.severity for finding in findings)
        together = sorted((*self.findings, *findings), key=lambda finding: (finding.line == 0, finding.line))
        return replace(
            self,
            errors=self.errors + more["error"],
            warnings=self.warnings + more["warning"],
            findings=tuple(together[:MAX_FINDINGS]),
        )


def validate_log(
    path: Path,
    *,
    together: bool = True,
    checks: Sequence[Callable[[Record], Iterable[Finding]]] = (),
    previous: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Validation:
    """Check a log to its end, however broken its lines are.

    Parameters
    ----------
    path
        The log.
    together
        Whether the lines are also checked together (level `log`), or only each by itself.
    checks
        Further checks of each well-formed record.
    previous
        The previous version, which should differ.
    progress
        Called now and then with the number of bytes read.

    Raises
    ------
    InputError
        A file can't be read at all.
    """
    found = _Found(str(path))
    lines = _Together()
    rows = comments = unread = 0
    policy = Policy(tuple(checks))
    for line in read_lines(path, progress=progress):
        if line.text.startswith(b"#"):
            comments += 1
        else:
            rows += 1
        try:
            record = parse_row(line, file=path).record
        except NoConversionError as error:
            remedy = "only TVM 0.6 can use it"
            found.add(Finding("conversion", error.message, "warning", remedy), line.number)
            lines.add_old(line)
            continue
        except InputError as error:
            unread += not line.text.startswith(b"#")
            found.add(Finding(getattr(error, "rule", "row"), error.message, "error", error.remedy), line.number)
            continue
        if record is not None:
            found.add_all(policy.findings(record), line.number)
            if together:
                lines.add(record, line.number)
    if together:
        for finding in lines.findings(previous):
            found.add(finding, finding.line)
    package, unfit = refusal(path, policy)
    found.add_all([unfit] if unfit is not None and not rows else [], 0)
    if rows and unread == rows and _is_binary(path):
        found = _Found(str(path))  # each of its lines would be found fault with
        found.add(Finding("json", "binary data, and no log", "error", "give the log itself"), 0)
    return replace(found.validation(rows, comments), package=package, unfit=unfit)


def _is_binary(path: Path) -> bool:
    with open_log(path) as stream:
        return b"\0" in stream.read(_HEAD)


class _Found:
    """Collects findings: counts all, keeps up to `MAX_FINDINGS`."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._counts: Counter[str] = Counter()
        self._findings: list[Finding] = []
        self._unchecked: Counter[str] = Counter()

    def add_all(self, findings: Iterable[Finding], line: int) -> None:
        for finding in findings:
            if finding.severity == "note":
                self._unchecked[finding.message] += 1
            else:
                self.add(finding, line)

    def add(self, finding: Finding, line: int) -> None:
        self._counts[finding.severity] += 1
        if len(self._findings) < MAX_FINDINGS:
            self._findings.append(replace(finding, file=self._file, line=line))

    def validation(self, rows: int, comments: int) -> Validation:
        # Findings on the log as a whole have no line.
        ordered = sorted(self._findings, key=lambda finding: (finding.line == 0, finding.line))
        errors, warnings = self._counts["error"], self._counts["warning"]
        return Validation(self._file, rows, comments, errors, warnings, tuple(ordered), dict(self._unchecked))


class _Together:
    """Checks of the lines together. Memory grows with the number of rows, by a digest for each."""

    def __init__(self) -> None:
        self._lines: dict[bytes, int] = {}
        self._duplicates: list[tuple[int, int]] = []
        self._several: dict[tuple[Target, str], list[int]] = {}
        self._targets: Counter[Target] = Counter()
        self._devices: dict[Target, Counter[str]] = {}

    def add(self, record: Record, line: int) -> None:
        """Add a record."""
        self._targets[record.target] += 1
        if record.tophub is not None and record.tophub.device is not None:
            self._devices.setdefault(record.target, Counter())[record.tophub.device] += 1
        if not self._repeats(record.to_json(), line) and record.valid:
            self._several.setdefault((record.target, record.workload), []).append(line)

    def add_old(self, line: Line) -> None:
        """Add a row of log version 0.1 that can't be converted."""
        row = parse_old_row(line.text)
        self._targets[Target.parse(row.i.target)] += 1
        self._repeats(row.to_json(), line.number)

    def _repeats(self, text: str, line: int) -> bool:
        first = self._lines.setdefault(_digest(text), line)
        if first != line:
            self._duplicates.append((line, first))
        return first != line

    def findings(self, previous: Path | None) -> Iterator[Finding]:
        """Yield the findings."""
        for line, first in self._duplicates:
            remedy = "`tophub merge` keeps one of them"
            yield Finding("duplicate", f"the same record as in line {first}", "warning", remedy, line=line)
        several = [lines for lines in self._several.values() if len(lines) > 1]
        if several:
            shown = "; ".join(map(_lines, several[:_SHOWN])) + ("; …" if several[_SHOWN:] else "")
            message = f"{len(several)} of {len(self._several)} workloads have several records: {shown}"
            yield Finding(
                "several", message, "warning", "normal for a log of trials; `tophub merge` keeps the best of each"
            )
        if len(self._targets) > 1:
            message = f"{len(self._targets)} targets: {_counted(self._targets)}"
            yield Finding("targets", message, "warning", "normal for a package that serves several devices")
        for target, devices in self._devices.items():
            if len(devices) > 1:
                message = f"{target} was measured on {len(devices)} devices: {_counted(devices)}"
                yield Finding("devices", message, "warning", "costs of different devices are not comparable")
        if previous is not None and self._lines.keys() == _digests(previous):
            yield Finding("unchanged", f"the same records as in {previous.name}", remedy="nothing to publish")


def _digests(path: Path) -> set[bytes]:
    """Return the digests of a log's rows, however broken."""
    digests = set()
    for line in read_lines(path):
        if not line.text.startswith(b"#"):
            digests.add(_digest(_canonical(line, path)))
    return digests


def _canonical(line: Line, file: Path) -> str:
    try:
        record = parse_row(line, file=file).record
        return "" if record is None else record.to_json()
    except NoConversionError:
        return parse_old_row(line.text).to_json()
    except InputError:
        return line.text.decode(errors="replace")


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _lines(numbers: Sequence[int]) -> str:
    """Name lines, the first few if there are many."""
    return f"lines {', '.join(map(str, numbers[:_SHOWN]))}" + (", …" if numbers[_SHOWN:] else "")


def _counted(things: Counter[Any]) -> str:
    """List things with their counts, the most frequent first."""
    shown = [f"{thing} ({count})" for thing, count in things.most_common(_SHOWN)]
    return ", ".join(shown) + (", …" if len(things) > _SHOWN else "")
