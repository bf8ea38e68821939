"""What a log contains, as its index entry says it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tophub_registry.errors import InputError
from tophub_registry.packages.digest import Digest, Meter
from tophub_registry.packages.index import MAX_PACKAGE
from tophub_registry.records.fitness import Policy, refusal
from tophub_registry.records.log import open_log, parse_row, read_lines
from tophub_registry.records.old_row import OLD_LOG_VERSION
from tophub_registry.records.record import LOG_VERSION
from tophub_registry.records.rows import is_old_row, parse_old_row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tophub_registry.records.log import Line


@dataclass(frozen=True)
class Contents:
    """The counts of a valid log.

    Attributes
    ----------
    digest
        Of its bytes, unzipped.
    records
        How many there are.
    old_rows
        How many of them are rows of log version 0.1.
    tasks, targets
        How many records each task name and each target has, as written in the log.
    """

    digest: Digest
    records: int
    old_rows: int
    tasks: Mapping[str, int]
    targets: Mapping[str, int]


def examine(
    log: str | Path, *, policy: Policy | None = None, package: str | None = None, old_rows: bool = False
) -> Contents:
    """Check every row of a log, and count the records.

    Parameters
    ----------
    log
        The log, gzipped or not.
    policy
        Which records are fit; by default all that are plausible.
    package
        The package that all records must belong to; None for any.
    old_rows
        Whether rows of log version 0.1 and of several packages are accepted, as in a log that is imported.

    Raises
    ------
    InputError
        The log is missing, too large, or not fit to be published.
    """
    log, policy = Path(log), policy or Policy()
    digest = _digest(log)
    if not old_rows:
        _, unfit = refusal(log, policy, package)
        if unfit is not None:
            raise InputError(unfit.message, file=log, line=unfit.line or None, remedy=unfit.remedy)
    found: Counter[float] = Counter()
    tasks: Counter[str] = Counter()
    targets: Counter[str] = Counter()
    for line in read_lines(log):
        row = _row(line, log, policy)
        if row is None:
            continue
        if row.error_no != 0:
            raise InputError(
                f"the record of a failed measurement (error {row.error_no})",
                file=log,
                line=line.number,
                remedy="`tophub merge` drops it",
            )
        found[row.version] += 1
        tasks[row.task] += 1
        targets[row.target] += 1
    if not tasks:
        raise InputError("the log has no records", file=log)
    return Contents(digest, found.total(), found[OLD_LOG_VERSION], tasks, targets)


class _Row(NamedTuple):
    target: str
    task: str
    error_no: int
    version: float


def _row(line: Line, log: Path, policy: Policy) -> _Row | None:
    """Check one line; None for a comment."""
    if not line.text.startswith(b"#") and is_old_row(line.text):
        old = parse_old_row(line.text, file=log, line=line.number)
        return _Row(old.i.target, old.i.task, old.r.error_no, OLD_LOG_VERSION)
    record = parse_row(line, file=log).record
    if record is None:
        return None
    if (finding := policy.unfit(record)) is not None:
        raise InputError(finding.message, file=log, line=line.number, remedy=finding.remedy)
    return _Row(record.input.target, record.input.task, record.result.error_no, LOG_VERSION)


def _digest(log: Path) -> Digest:
    meter = Meter()
    with open_log(log) as stream:
        for _ in meter.passing(stream):
            if meter.bytes > MAX_PACKAGE:
                raise InputError(f"larger than {MAX_PACKAGE} bytes", file=log)
    return meter.digest
