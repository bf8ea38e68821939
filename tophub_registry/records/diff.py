"""What changed between two logs: for each target and workload, the best record of either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tophub_registry.records.log import parse_record, read_lines
from tophub_registry.records.merge import Merger
from tophub_registry.records.task import describe

if TYPE_CHECKING:
    from pathlib import Path

    from tophub_registry.records.record import Record
    from tophub_registry.records.target import Target

Kind = Literal["added", "removed", "faster", "slower", "changed"]

KINDS: tuple[Kind, ...] = ("added", "removed", "faster", "slower", "changed")
"""`changed` is another record at the same cost."""


@dataclass(frozen=True)
class Difference:
    """One target and workload whose best record is not the same in both logs.

    Attributes
    ----------
    kind
        What happened to it.
    target, task, workload
        Which one: the target as one of the logs writes it, the task for people, the workload as compact JSON.
    before, after
        Mean costs in seconds; None where a log has no record.
    """

    kind: Kind
    target: str
    task: str
    workload: str
    before: float | None
    after: float | None

    @property
    def speedup(self) -> float | None:
        """How many times as fast as before; None where one of the two is missing."""
        return self.before / self.after if self.before and self.after else None


@dataclass(frozen=True)
class Comparison:
    """Two logs compared.

    Attributes
    ----------
    same
        Targets and workloads with the same best record in both.
    differences
        The others, in the order of a merged log.
    unconvertible
        Rows of log version 0.1, of either log, that can't be converted and so could not be compared.
    """

    same: int
    differences: tuple[Difference, ...]
    unconvertible: int


def compare(before: Path, after: Path) -> Comparison:
    """Compare two logs. Memory grows with the number of workloads, not with the files.

    Raises
    ------
    InputError
        A log can't be read or has a line that is no record.
    """
    (old, old_left_out), (new, new_left_out) = _best(before), _best(after)
    same = 0
    differences = []
    keys = sorted({**old, **new}, key=lambda key: (key[0].kind, key[0].options, key[1]))
    for key in keys:
        one, other = old.get(key), new.get(key)
        kind = _kind(one, other)
        if kind is None:
            same += 1
            continue
        record = other or one
        assert record is not None, "the key comes from one of the two"  # noqa: S101  # for the type checker
        differences.append(
            Difference(
                kind,
                record.input.target,
                describe(record.input.task, record.input.args),
                key[1],
                one.mean_cost if one else None,
                other.mean_cost if other else None,
            )
        )
    return Comparison(same, tuple(differences), old_left_out + new_left_out)


def _best(path: Path) -> tuple[dict[tuple[Target, str], Record], int]:
    """Return a log's best records, and how many rows could not be converted."""
    merger = Merger()
    merger.add(read_lines(path), path)
    records = (parse_record(text) for text in merger.lines() if not text.startswith(b"#"))
    return {(record.target, record.workload): record for record in records}, merger.report().dropped.unconvertible


def _kind(before: Record | None, after: Record | None) -> Kind | None:
    if before is None:
        return "added"
    if after is None:
        return "removed"
    if before.mean_cost != after.mean_cost:
        return "faster" if after.mean_cost < before.mean_cost else "slower"
    # Where a record comes from and how its target is spelled is no difference in what it says.
    return None if (before.config, before.result) == (after.config, after.result) else "changed"
