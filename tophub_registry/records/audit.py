"""An audit of logs: for each target when its records were measured, with which tools, and how reliable they are.

A cost is a claim. This shows its evidence: repeats and their spread, a date, a named device, whether the record was
converted from another log version, and whether it was measured again.
"""

from __future__ import annotations

import hashlib
import statistics
from array import array
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tophub_registry.records.record import EARLIEST
from tophub_registry.records.summary import readable, tool

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tophub_registry.records.record import Record
    from tophub_registry.records.target import Target


@dataclass(frozen=True)
class TargetAudit:
    """The audit of one target.

    Attributes
    ----------
    target
        As the first of its records writes it.
    devices
        The devices' names in the records, and the number of records of each.
    records, failed
        The number of measurements that succeeded, and that failed; the rest is about the former.
    workloads, coverage
        The number of different workloads, and their share of the workloads that the logs have for any target.
    oldest, newest
        When the records were measured, in seconds since 1970; None if none says so.
    undated
        Records that do not say when they were measured.
    tools
        The tools that made the records, and the number of records of each.
    converted, revalidated
        Records converted from log version 0.1, and records measured again since.
    duplicates, runners_up
        Repeated records, and records of a workload that has a better one.
    single
        Records with only one repeat, whose spread is unknown.
    median_spread, worst_spread
        The standard deviation of the repeats over their mean, for the others; None if there are none.
    """

    target: str
    devices: dict[str, int]
    records: int
    failed: int
    workloads: int
    coverage: float
    oldest: float | None
    newest: float | None
    undated: int
    tools: dict[str, int]
    converted: int
    revalidated: int
    duplicates: int
    runners_up: int
    single: int
    median_spread: float | None
    worst_spread: float | None


@dataclass(frozen=True)
class Audit:
    """The audit of some logs.

    Attributes
    ----------
    workloads
        The number of different workloads, for any target.
    entries
        By target.
    unconvertible
        Rows of log version 0.1 that can't be converted and are in no entry.
    """

    workloads: int
    entries: tuple[TargetAudit, ...]
    unconvertible: int


def audit(paths: Iterable[Path]) -> Audit:
    """Audit some logs.

    Raises
    ------
    InputError
        A log can't be read or has a line that is not a record.
    """
    counted: dict[Target, _Counts] = {}
    unconvertible = 0
    for record in readable(paths):
        if record is None:
            unconvertible += 1
        else:
            counted.setdefault(record.target, _Counts(record.input.target)).add(record)
    workloads = set().union(*(each.workloads for each in counted.values()))
    ordered = sorted(counted, key=lambda target: (target.kind, target.options))
    return Audit(len(workloads), tuple(counted[target].entry(len(workloads)) for target in ordered), unconvertible)


class _Counts:
    """An entry that is being counted. A digest and a spread are kept for each record."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.workloads: set[str] = set()
        self._seen: set[bytes] = set()
        self._devices: Counter[str] = Counter()
        self._tools: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._spreads = array("d")
        self._times: tuple[float, float] | None = None

    def add(self, record: Record) -> None:
        if not record.valid:
            self._counts["failed"] += 1
            return
        self._counts["records"] += 1
        self._tools[tool(record)] += 1
        self.workloads.add(record.workload)
        digest = hashlib.blake2b(record.to_json().encode(), digest_size=16).digest()
        self._counts["duplicates"] += digest in self._seen
        self._seen.add(digest)
        if record.tophub is not None:
            self._devices.update([record.tophub.device] if record.tophub.device else [])
            self._counts["converted"] += record.tophub.converted is not None
            self._counts["revalidated"] += record.tophub.revalidated is not None
        self._add_costs(record.result.costs)
        self._add_time(record.result.timestamp)

    def _add_costs(self, costs: list[float]) -> None:
        if len(costs) > 1:
            self._spreads.append(statistics.stdev(costs) / statistics.fmean(costs))
        else:
            self._counts["single"] += 1

    def _add_time(self, timestamp: float) -> None:
        if timestamp < EARLIEST:
            self._counts["undated"] += 1
            return
        oldest, newest = self._times or (timestamp, timestamp)
        self._times = min(oldest, timestamp), max(newest, timestamp)

    def entry(self, workloads: int) -> TargetAudit:
        oldest, newest = self._times or (None, None)
        counts = self._counts
        return TargetAudit(
            target=self._target,
            devices=dict(self._devices.most_common()),
            records=counts["records"],
            failed=counts["failed"],
            workloads=len(self.workloads),
            coverage=len(self.workloads) / workloads if workloads else 0.0,
            oldest=oldest,
            newest=newest,
            undated=counts["undated"],
            tools=dict(self._tools.most_common()),
            converted=counts["converted"],
            revalidated=counts["revalidated"],
            duplicates=counts["duplicates"],
            runners_up=counts["records"] - counts["duplicates"] - len(self.workloads),
            single=counts["single"],
            median_spread=statistics.median(self._spreads) if self._spreads else None,
            worst_spread=max(self._spreads) if self._spreads else None,
        )
