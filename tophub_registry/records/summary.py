"""A summary of logs: for each target and task the number of records, their speed, age and tools."""

from __future__ import annotations

import statistics
from array import array
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tophub_registry.records.flops import flop
from tophub_registry.records.log import parse_row, read_lines
from tophub_registry.records.record import EARLIEST
from tophub_registry.records.unconvertible import NoConversionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tophub_registry.records.log import Line
    from tophub_registry.records.rank import Rank
    from tophub_registry.records.record import Record
    from tophub_registry.records.target import Target


@dataclass(frozen=True)
class Group:
    """The records of one target and task.

    Attributes
    ----------
    target, task
        Which one.
    workloads
        The number of different workloads.
    records, failed
        The number of measurements that succeeded, and that failed.
    best_gflops, median_gflops
        Of the records that succeeded, in 10^9 operations a second; None if the task's arithmetic is unknown.
    oldest, newest
        When they were measured, in seconds since 1970; None if no record says so.
    tools
        The tools that made them, the most frequent first.
    ranks
        The number of records of each rank, the highest first, of those that succeeded.
    """

    target: str
    task: str
    workloads: int
    records: int
    failed: int
    best_gflops: float | None
    median_gflops: float | None
    oldest: float | None
    newest: float | None
    tools: tuple[str, ...]
    ranks: dict[str, int]


@dataclass(frozen=True)
class Summary:
    """A summary of some logs.

    Attributes
    ----------
    groups
        By target and task.
    unconvertible
        Rows of log version 0.1 that can't be converted and are in no group.
    """

    groups: tuple[Group, ...]
    unconvertible: int


def summarise(paths: Iterable[Path]) -> Summary:
    """Summarise logs.

    Raises
    ------
    InputError
        A log can't be read or has a line that is not a record.
    """
    groups: dict[tuple[Target, str], _Group] = {}
    unconvertible = 0
    for record in readable(paths):
        if record is None:
            unconvertible += 1
        else:
            groups.setdefault((record.target, record.input.task), _Group(record)).add(record)
    ordered = sorted(groups, key=lambda key: (key[0].kind, key[0].options, key[1]))
    return Summary(tuple(groups[key].group() for key in ordered), unconvertible)


def readable(paths: Iterable[Path]) -> Iterator[Record | None]:
    """Yield the records of logs; None for a row of log version 0.1 that can't be converted.

    Raises
    ------
    InputError
        A log can't be read or has a line that is not a record.
    """
    for path in paths:
        for line in read_lines(path):
            if not line.text.startswith(b"#"):
                yield _readable(line, path)


def _readable(line: Line, path: Path) -> Record | None:
    try:
        return parse_row(line, file=path).record
    except NoConversionError:
        return None


def tool(record: Record) -> str:
    """Return the tool that made a record."""
    if record.tophub is not None and record.tophub.tuner is not None:
        return record.tophub.tuner
    if record.tophub is not None and record.tophub.converted is not None:
        return f"AutoTVM (log version {record.tophub.converted.log_version})"
    return f"AutoTVM (TVM {record.tvm_version})"


class _Group:
    """A group that is being counted; one rate per record is kept for the median."""

    def __init__(self, record: Record) -> None:
        self._target = record.input.target
        self._task = record.input.task
        self._workloads: set[str] = set()
        self._rates = array("d")
        self._times: tuple[float, float] | None = None
        self._tools: Counter[str] = Counter()
        self._ranks: Counter[Rank] = Counter()
        self._records = 0
        self._failed = 0

    def add(self, record: Record) -> None:
        self._workloads.add(record.workload)
        self._tools[tool(record)] += 1
        if not record.valid:
            self._failed += 1
            return
        self._records += 1
        self._ranks[record.rank] += 1
        operations = flop(record.input.task, record.input.args)
        if operations is not None:
            self._rates.append(operations / record.mean_cost / 1e9)
        timestamp = record.result.timestamp
        if timestamp >= EARLIEST:
            oldest, newest = self._times or (timestamp, timestamp)
            self._times = min(oldest, timestamp), max(newest, timestamp)

    def group(self) -> Group:
        oldest, newest = self._times or (None, None)
        return Group(
            target=self._target,
            task=self._task,
            workloads=len(self._workloads),
            records=self._records,
            failed=self._failed,
            best_gflops=max(self._rates) if self._rates else None,
            median_gflops=statistics.median(self._rates) if self._rates else None,
            oldest=oldest,
            newest=newest,
            tools=tuple(name for name, _ in self._tools.most_common()),
            ranks={str(rank): self._ranks[rank] for rank in sorted(self._ranks, reverse=True)},
        )
