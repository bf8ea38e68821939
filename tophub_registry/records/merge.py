"""Merging logs: for each target and workload the records with the lowest mean cost.

A cost measured with cold weights, as a model runs a kernel, goes before any that was measured with weights in the
cache, however low; and a config that was beaten by another in a whole model goes behind it. Where two costs are about
the same, the record with the higher rank goes first (`records.record.Cost`).

Merging has laws. The result depends neither on the order of files and rows nor on how the work is divided, and
merging the result again changes nothing. The same input gives the same bytes. Every row read is either written or
counted under the reason why it was dropped. Memory grows with what is kept, by default one record for each target
and workload, and not with the files.

Records of equal cost are ordered by their text, so that it does not matter which one comes first. Only a minimal
gain (`min_gain`) distinguishes old from new and is exempt from these laws.
"""

from __future__ import annotations

import math
import statistics
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tophub_registry.errors import UsageError
from tophub_registry.files import atomic_write
from tophub_registry.records.fitness import Policy
from tophub_registry.records.log import read_lines
from tophub_registry.records.record import EARLIEST, Cost
from tophub_registry.records.rows import parse_comment, parse_record
from tophub_registry.records.skim import Skimmer
from tophub_registry.records.speed_limit import quickest
from tophub_registry.records.target import Target
from tophub_registry.records.unconvertible import NoConversionError, UnconvertibleRow
from tophub_registry.records.withdrawal import identity, withdrawals

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from tophub_registry.records.log import Line
    from tophub_registry.records.skim import Key, Skimmed
    from tophub_registry.records.withdrawal import Identity

_MAX_LEFT_OUT = 100

_NO_LIMIT = Cost(True, True, sys.maxsize, sys.maxsize, math.inf)


@dataclass(frozen=True)
class Dropped:
    """The number of rows that were not written, by reason.

    Attributes
    ----------
    worse
        Enough other records of the same target and workload cost less.
    failed
        The measurement failed.
    duplicate
        The same record is already written.
    small_gain
        A new record beats the old one by less than `min_gain`, or by less than the spread of their repeats.
    unconvertible
        A row of log version 0.1 that can't be converted with certainty.
    unproven
        A new record of a target and workload that is excluded by `unproven`.
    unfit
        It can't be published: measured in the future, faster than the device can be, or an invalid config.
    withdrawn
        A comment in one of the logs withdraws it.
    """

    worse: int = 0
    failed: int = 0
    duplicate: int = 0
    small_gain: int = 0
    unconvertible: int = 0
    unproven: int = 0
    unfit: int = 0
    withdrawn: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(vars(self).values())


@dataclass(frozen=True)
class Change:
    """What the new logs changed for one target and workload.

    Attributes
    ----------
    target, workload
        Which one; the workload as compact JSON.
    before, after
        The lowest mean cost in the old log, None if it had no record, and in the merged one; in seconds.
    """

    target: str
    workload: str
    before: float | None
    after: float


@dataclass(frozen=True)
class MergeReport:
    """The result of a merge: `read = written + dropped.total` and `written = added + improved + kept`.

    Attributes
    ----------
    read, written
        Rows, without comments.
    added
        Rows of the new logs for a target and workload that the old log lacks, or in addition to its best.
    improved
        Rows of the new logs that replace the old log's best: they cost less, or the same.
    kept
        Rows of the old log.
    dropped
        The rows that were not written.
    comments, comments_repeated
        Comment lines written, and repeated ones left out.
    implausible_times
        Rows read with an implausible timestamp, before AutoTVM or in the future. They count like any other.
    changes
        One for each target and workload whose best record is a new one, in the order of the merged log.
    left_out
        The first hundred rows that could not be converted or are unfit, and why.
    """

    read: int
    written: int
    added: int
    improved: int
    kept: int
    dropped: Dropped
    comments: int
    comments_repeated: int
    implausible_times: int
    changes: tuple[Change, ...]
    left_out: tuple[UnconvertibleRow, ...]


def merge_logs(
    old: Path,
    new: Sequence[Path],
    output: Path,
    *,
    keep: int | None = 1,
    min_gain: float | None = None,
    unproven: Collection[tuple[Target, str]] = (),
    policy: Policy | None = None,
    progress: Callable[[Path, int], None] | None = None,
) -> MergeReport:
    """Merge logs into a new one, all or nothing.

    Parameters
    ----------
    old, new
        The logs. Which one is old matters only for the report and for `min_gain`.
    output
        The log to write; an existing file is never overwritten.
    keep
        How many records of each target and workload are kept; None for all.
    min_gain
        By how many per cent a new record must beat the old log's best to be kept. If both have repeats, it must
        also beat it by more than the sum of their standard deviations.
    unproven
        Targets and workloads for which no new record is kept.
    policy
        Which records are fit; by default all that are plausible.
    progress
        Called now and then with a log and the number of bytes of it that were read.

    The logs may be of log version 0.1 or 0.2 or a mixture, gzipped or not; the result is of 0.2.

    Raises
    ------
    InputError
        A log can't be read or has a line that is not a record; nothing was written.
    UsageError
        `output` exists already, or `keep` or `min_gain` is out of range.
    EnvironmentFailure
        `output` can't be written.
    """
    gone = withdrawals((old, *new))
    merger = Merger(keep=keep, min_gain=min_gain, unproven=unproven, policy=policy, withdrawn=gone)
    with atomic_write(output) as stream:
        for number, path in enumerate((old, *new)):

            def advance(done: int, path: Path = path) -> None:
                if progress is not None:
                    progress(path, done)

            merger.add(read_lines(path, progress=advance), path, old=number == 0)
        for text in merger.lines():
            stream.write(text + b"\n")
    return merger.report()


class _Entry:
    """A record that is kept for now.

    Attributes
    ----------
    cost
        The record's.
    copies
        How often it was read.
    old
        Whether the old log has it.
    """

    __slots__ = ("copies", "cost", "old")

    def __init__(self, cost: Cost, *, old: bool) -> None:
        self.cost = cost
        self.copies = 1
        self.old = old


class _Group:
    """The records of one target and workload that are kept for now, by their text.

    Attributes
    ----------
    entries
        Up to twice as many as will be kept.
    limit
        Records that cost more will not be kept.
    before
        The old log's best cost, once that log is read.
    spread
        The standard deviation of that record's repeats, in seconds; None if it has only one.
    """

    __slots__ = ("before", "entries", "limit", "spread")

    def __init__(self) -> None:
        self.entries: dict[bytes, _Entry] = {}
        self.limit = _NO_LIMIT
        self.before: Cost | None = None
        self.spread: float | None = None

    def ordered(self) -> list[tuple[bytes, _Entry]]:
        """Return the records, the best one first; equal ones in the order of their texts."""
        return sorted(self.entries.items(), key=lambda item: (item[1].cost, item[0]))

    def prune(self, keep: int) -> int:
        """Keep only the best records; return the number of rows dropped."""
        ordered = self.ordered()
        self.entries = dict(ordered[:keep])
        self.limit = ordered[:keep][-1][1].cost
        return sum(entry.copies for _, entry in ordered[keep:])


class Merger:
    """The merge itself, without files: lines in, lines out.

    Parameters
    ----------
    keep, min_gain, unproven, policy
        As for `merge_logs`.
    withdrawn
        Records that the comments of any log withdraw.

    Raises
    ------
    UsageError
        `keep` or `min_gain` is out of range.
    """

    def __init__(
        self,
        *,
        keep: int | None = 1,
        min_gain: float | None = None,
        unproven: Collection[tuple[Target, str]] = (),
        policy: Policy | None = None,
        withdrawn: Collection[Identity] = (),
    ) -> None:
        if keep is not None and keep < 1:
            raise UsageError(f"can't keep {keep} records", remedy="keep 1 or more")
        if min_gain is not None and not 0 <= min_gain < 100:  # noqa: PLR2004  # per cent
            raise UsageError(f"min_gain must be in [0, 100), not {min_gain}", remedy="it is in per cent")
        self._keep = keep
        self._min_gain = min_gain
        self._refused = frozenset(unproven)
        self._policy = policy or Policy()
        self._quickest: dict[Key, float] = {}
        self._unfit = 0
        self._gone = withdrawn
        self._withdrawn = 0
        self._skimmer = Skimmer()
        self._groups: dict[Key, _Group] = {}
        self._comments: set[str] = set()
        self._read = 0
        self._worse = 0
        self._failed = 0
        self._small_gain = 0
        self._unproven = 0
        self._unconvertible = 0
        self._left_out: list[UnconvertibleRow] = []
        self._comments_repeated = 0
        self._implausible_times = 0

    def add(self, lines: Iterable[Line], file: str | Path, *, old: bool = False) -> None:
        """Add the lines of a log; the old one, if any, comes first.

        Raises
        ------
        InputError
            A line is neither a record nor a comment.
        """
        for line in lines:
            if line.text.startswith(b"#"):
                self._add_comment(parse_comment(line.text, file=file, line=line.number))
                continue
            self._read += 1
            try:
                row = self._skimmer.skim(line, file)
            except NoConversionError as error:
                self._leave_out(UnconvertibleRow(str(file), line.number, error.message))
            else:
                reason = self._add_row(row, line.text, old=old)
                if reason is not None:
                    self._unfit += 1
                    self._note(UnconvertibleRow(str(file), line.number, reason))
        if old:
            self._remember_old()

    def _add_comment(self, comment: str) -> None:
        if comment in self._comments:
            self._comments_repeated += 1
        self._comments.add(comment)

    def _leave_out(self, row: UnconvertibleRow) -> None:
        self._unconvertible += 1
        self._note(row)

    def _note(self, row: UnconvertibleRow) -> None:
        if len(self._left_out) < _MAX_LEFT_OUT:
            self._left_out.append(row)

    def _add_row(self, row: Skimmed, text: bytes, *, old: bool) -> str | None:
        """Take in a row, and return why it is unfit, if it is."""
        if not EARLIEST <= row.timestamp <= self._policy.latest:
            self._implausible_times += 1
        if row.failed:
            self._failed += 1
            return None
        if self._refused and not old and (row.key.target, row.key.workload) in self._refused:
            self._unproven += 1
            return None
        group = self._groups.get(row.key) or _Group()
        if text in group.entries or (row.cost > group.limit and not self._is_suspect(row, text)):
            self._enter(row, text, group, old=old)
            return None
        record = row.record or parse_record(text)  # it may be spelled differently
        if (finding := self._policy.unfit(record)) is not None:
            return finding.message
        if self._gone and identity(record) in self._gone:
            self._withdrawn += 1
        else:
            self._groups[row.key] = group
            self._enter(row, record.to_json().encode(), group, old=old)
        return None

    def _is_suspect(self, row: Skimmed, text: bytes) -> bool:
        """Whether a row's time or cost alone can't be true: it is unfit then, and not just worse."""
        least = self._quickest.get(row.key)
        if least is None:
            _, task, args, _ = (row.record or parse_record(text)).input
            least = self._quickest[row.key] = quickest(row.key.target, task, args)
        return row.timestamp > self._policy.latest or row.cost.seconds < least

    def _enter(self, row: Skimmed, text: bytes, group: _Group, *, old: bool) -> None:
        """Put a row among those of its key that are kept for now, if it is good enough."""
        if row.cost > group.limit:
            self._worse += 1
            return
        entry = group.entries.get(text)
        if entry is not None:
            entry.copies += 1
        elif not old and not self._gains_enough(row.cost, text, group):
            self._small_gain += 1
        else:
            group.entries[text] = _Entry(row.cost, old=old)
            if self._keep is not None and len(group.entries) >= 2 * self._keep:
                self._worse += group.prune(self._keep)

    def _gains_enough(self, cost: Cost, text: bytes, group: _Group) -> bool:
        """Whether a new record beats the old log's best by the minimal gain, or does not compete with it."""
        if self._min_gain is None or group.before is None or cost > group.before:
            return True
        if cost.conditions < group.before.conditions:
            return True
        gain = group.before.seconds - cost.seconds
        spread = _spread(text)
        return (
            gain > 0
            and gain >= group.before.seconds * self._min_gain / 100
            and (spread is None or group.spread is None or gain > spread + group.spread)
        )

    def _remember_old(self) -> None:
        for group in self._groups.values():
            text, entry = group.ordered()[0]
            group.before = entry.cost
            if self._min_gain is not None:
                group.spread = _spread(text)

    def _ordered(self) -> list[tuple[Key, _Group]]:
        """Return the kept records, by target and workload."""
        groups = sorted(
            self._groups.items(), key=lambda item: (item[0].target.kind, item[0].target.options, item[0].workload)
        )
        if self._keep is not None:
            self._worse += sum(group.prune(self._keep) for _, group in groups)
        return groups

    def lines(self) -> Iterator[bytes]:
        """Yield the merged log: the comments in alphabetical order, then the records by target and workload."""
        for comment in sorted(self._comments, key=lambda comment: (comment.casefold(), comment)):
            yield comment.encode()
        for _, group in self._ordered():
            for text, _ in group.ordered():
                yield text

    def report(self) -> MergeReport:
        """Return the report so far."""
        added = improved = kept = duplicate = 0
        changes = []
        for key, group in self._ordered():
            entries = [entry for _, entry in group.ordered()]
            duplicate += sum(entry.copies - 1 for entry in entries)
            kept += sum(entry.old for entry in entries)
            added += sum(not entry.old for entry in entries)
            if not entries[0].old:
                target = str(Target(key.target.kind, key.target.options))
                before = None if group.before is None else group.before.seconds
                changes.append(Change(target, key.workload, before, entries[0].cost.seconds))
                if group.before is not None:
                    improved += 1
                    added -= 1
        return MergeReport(
            read=self._read,
            written=added + improved + kept,
            added=added,
            improved=improved,
            kept=kept,
            dropped=Dropped(
                self._worse,
                self._failed,
                duplicate,
                self._small_gain,
                self._unconvertible,
                self._unproven,
                self._unfit,
                self._withdrawn,
            ),
            comments=len(self._comments),
            comments_repeated=self._comments_repeated,
            implausible_times=self._implausible_times,
            changes=tuple(changes),
            left_out=tuple(self._left_out),
        )


def _spread(text: bytes) -> float | None:
    """Return the standard deviation of a record's repeats, in seconds; None if it has only one."""
    costs = parse_record(text).result.costs
    return statistics.stdev(costs) if len(costs) > 1 else None
