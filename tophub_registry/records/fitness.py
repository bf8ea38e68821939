"""What is fit to be published: the policy by which logs are validated, merged, released and imported.

A record is unfit if it is impossible (measured in the future, or faster than its device can be) or fails a check of
another subpackage (its config is not in the space). A log is refused for one such row, and for what no package has:
failed measurements, rows of log version 0.1, records of several packages, or none at all.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from tophub_registry.errors import InputError
from tophub_registry.records.finding import Finding
from tophub_registry.records.log import parse_row, read_lines
from tophub_registry.records.lookup import backend_of
from tophub_registry.records.record import EARLIEST, LATEST_AHEAD, Record
from tophub_registry.records.rows import is_old_row, parse_old_row
from tophub_registry.records.speed_limit import quickest
from tophub_registry.records.target import PACKAGE
from tophub_registry.records.unconvertible import NoConversionError

MAX_TEXT = 1000
"""The longest target or task that an index can hold, in characters."""

Check = Callable[[Record], Iterable[Finding]]


@dataclass(frozen=True)
class Policy:
    """Which records are fit.

    Attributes
    ----------
    checks
        Checks of other subpackages.
    latest
        The latest plausible timestamp, in seconds since 1970.
    """

    checks: tuple[Check, ...] = ()
    latest: float = field(default_factory=lambda: time.time() + LATEST_AHEAD)

    def findings(self, record: Record) -> Iterator[Finding]:
        """Yield the findings on a well-formed row."""
        timestamp = record.result.timestamp
        if timestamp > self.latest:
            remedy = "a timestamp is in seconds since 1970"
            yield Finding("time", f"measured in the future: {timestamp:.0f}", remedy=remedy)
        elif timestamp < EARLIEST:
            yield Finding("time", f"no plausible time of measurement: {timestamp:.0f}", "warning")
        if record.valid:
            least = quickest(record.target, record.input.task, record.input.args)
            if record.mean_cost < least:
                times = least / record.mean_cost
                message = f"a mean cost of {record.mean_cost:.3g} s is {times:.3g} times faster than the device can be"
                yield Finding("speed", message, remedy="measure it again")
        for check in self.checks:
            yield from check(record)

    def unfit(self, record: Record) -> Finding | None:
        """Return why a record can't be published, None if it can."""
        return next((finding for finding in self.findings(record) if finding.severity == "error"), None)


def refusal(log: str | Path, policy: Policy, package: str | None = None) -> tuple[str | None, Finding | None]:
    """Return the package that a log can be released as, and the first reason why it can't.

    Parameters
    ----------
    package
        The package that its records must belong to; None for that of its first record.

    Raises
    ------
    InputError
        The file can't be read.
    """
    records = 0
    for line in read_lines(log):
        if line.text.startswith(b"#"):
            try:
                parse_row(line, file=log)
            except InputError as error:
                return package, _refused("encoding", error, line.number)
            continue
        try:
            if is_old_row(line.text):
                parse_old_row(line.text, file=log, line=line.number)
                message = "a row of log version 0.1, which TVM 0.7 and later skip"
                remedy = "`tophub convert` makes it version 0.2"
                return package, Finding("version", message, remedy=remedy, line=line.number)
            record = parse_row(line, file=log).record
        except NoConversionError as error:
            return package, _refused("conversion", error, line.number)
        except InputError as error:
            return package, _refused(getattr(error, "rule", "row"), error, line.number)
        if record is None:
            continue
        package = package or backend_of(record.target)
        if (finding := _of_row(record, policy, package)) is not None:
            return package, replace(finding, line=line.number)
        records += 1
    return package, None if records else Finding("empty", "the log has no records", remedy=_TUNE)


_TUNE = "is it the right file? `tophub tune` writes records"


def _refused(rule: str, error: InputError, line: int) -> Finding:
    return Finding(rule, error.message, remedy=error.remedy, line=line)


def _of_row(record: Record, policy: Policy, package: str) -> Finding | None:
    if not record.valid:
        message = f"the record of a failed measurement (error {record.result.error_no})"
        return Finding("failed", message, remedy="`tophub merge` drops it")
    if (finding := policy.unfit(record)) is not None:
        return finding
    for name, text in (("target", record.input.target), ("task", record.input.task)):
        if not text.isprintable() or not 0 < len(text) <= MAX_TEXT:
            return Finding(
                name, f"the index can't hold this {name}", remedy=f"printable characters, at most {MAX_TEXT}"
            )
    own = backend_of(record.target)
    if own != package:
        message = f"a record for {str(record.target)[:80]!r} belongs to the package {own[:40]!r}, not {package!r}"
        return Finding("package", message, remedy=f"release it as {own[:40]}, or use --drop-others")
    if not re.fullmatch(PACKAGE, package):
        return Finding("package", f"not a package name: {package[:40]!r}", remedy="see -device and -keys")
    return None
