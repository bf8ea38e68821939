"""What changed between two logs: for each target and workload, the best record of either.

Logs of different devices have no target in common. Their workloads can be compared within a backend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from tophub_registry.records.families import without_general_keys
from tophub_registry.records.log import read_lines
from tophub_registry.records.lookup import backend_of
from tophub_registry.records.merge import Merger
from tophub_registry.records.rows import parse_record
from tophub_registry.records.target import Target
from tophub_registry.records.task import describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tophub_registry.records.record import Record

By = Literal["target", "backend"]

Kind = Literal["added", "removed", "faster", "slower", "changed"]

KINDS: tuple[Kind, ...] = ("added", "removed", "faster", "slower", "changed")
"""`changed` is another record at the same cost."""


@dataclass(frozen=True)
class Difference:
    """One workload, of a target or of a backend, whose best record is not the same in both logs.

    Attributes
    ----------
    kind
        What happened to it.
    task, workload
        Which one: the task for people, the workload as compact JSON.
    target_before, target_after
        The records' targets, as the logs write them; None where a log has no record.
    before, after
        Mean costs in seconds; None where a log has no record.
    """

    kind: Kind
    task: str
    workload: str
    target_before: str | None
    target_after: str | None
    before: float | None
    after: float | None

    @property
    def target(self) -> str:
        """The target, or both where they differ in more than spelling."""
        targets = [target for target in (self.target_before, self.target_after) if target is not None]
        same = len({without_general_keys(Target.parse(target)) for target in targets}) == 1
        return targets[-1] if same else " → ".join(targets)

    @property
    def speedup(self) -> float | None:
        """How many times as fast as before; None where one of the two is missing."""
        return self.before / self.after if self.before and self.after else None


@dataclass(frozen=True)
class LogDiff:
    """Two logs compared.

    Attributes
    ----------
    by
        `target`: records of the same target and workload were compared; `backend`: records of the same backend and
        workload, whatever their targets.
    same
        The number of those with the same best record in both.
    differences
        The others, in the order of a merged log.
    unconvertible
        Rows of log version 0.1, of either log, that can't be converted and were not compared.
    """

    by: By
    same: int
    differences: tuple[Difference, ...]
    unconvertible: int


class Compared(NamedTuple):
    """A log to compare: its successful records, of which the best count, and the number of rows left out."""

    records: Sequence[Record]
    unconvertible: int


def compare(before: Path, after: Path, *, by: By | None = None) -> LogDiff:
    """Compare two logs. Memory grows with the number of workloads, not with the files.

    Parameters
    ----------
    by
        Whether records compete for a target and workload, or for a backend and workload. By default for a target,
        unless the logs have none in common. A family among a target's keys makes no difference.

    Raises
    ------
    InputError
        A log can't be read or has a line that is not a record.
    """
    return compare_records(_best(before), _best(after), by=by)


def compare_records(before: Compared, after: Compared, *, by: By | None = None) -> LogDiff:
    """Compare two logs that were read already, as `compare` does."""
    (old, old_left_out), (new, new_left_out) = before, after
    if by is None:
        by = "target" if _targets(old) & _targets(new) or not (old and new) else "backend"
    ones, others = _by_key(old, by), _by_key(new, by)
    same = 0
    differences = []
    for key in sorted({**ones, **others}):
        one, other = ones.get(key), others.get(key)
        kind = _kind(one, other)
        if kind is None:
            same += 1
            continue
        record = other or one
        assert record is not None, "the key comes from one of the two"  # noqa: S101  # for the type checker
        differences.append(
            Difference(
                kind,
                describe(record.input.task, record.input.args),
                record.workload,
                one.input.target if one else None,
                other.input.target if other else None,
                one.mean_cost if one else None,
                other.mean_cost if other else None,
            )
        )
    return LogDiff(by, same, tuple(differences), old_left_out + new_left_out)


def _best(path: Path) -> Compared:
    """Return a log's best records, and how many rows could not be converted."""
    merger = Merger()
    merger.add(read_lines(path), path)
    records = [parse_record(text) for text in merger.lines() if not text.startswith(b"#")]
    return Compared(records, merger.report().dropped.unconvertible)


def _targets(records: Iterable[Record]) -> set[Target]:
    return {without_general_keys(record.target) for record in records}


def _by_key(records: Iterable[Record], by: By) -> dict[tuple[str, tuple[tuple[str, str], ...], str], Record]:
    """Return the best record for each target, or backend, and workload."""
    best: dict[tuple[str, tuple[tuple[str, str], ...], str], Record] = {}
    for record in records:
        target = without_general_keys(record.target)
        whose = (target.kind, target.options) if by == "target" else (backend_of(target), ())
        key = (*whose, record.workload)
        if key not in best or record.cost < best[key].cost:
            best[key] = record
    return best


def _kind(before: Record | None, after: Record | None) -> Kind | None:
    if before is None:
        return "added"
    if after is None:
        return "removed"
    if before.mean_cost != after.mean_cost and before.weights == after.weights:
        return "faster" if after.mean_cost < before.mean_cost else "slower"
    # Provenance and the target's spelling do not count as differences.
    return None if (before.config, before.result) == (after.config, after.result) else "changed"
