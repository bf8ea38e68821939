"""The honest-age ledger: for each target when its records were measured, with what, and how sure they are.

A cost is a claim. This says what stands behind it: repeats and their spread, a date, a device by name, whether
the record was converted from another form, and whether somebody has measured it again.
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
class Entry:
    """One target's page of the ledger.

    Attributes
    ----------
    target
        As the first of its records writes it.
    devices
        What the records say the device calls itself, and how many of them say so.
    records, failed
        How many measurements succeeded, and how many did not; the rest is about the former.
    workloads, coverage
        How many different ones, and their share of all the workloads that the logs have for any target.
    oldest, newest
        When the records were measured, in seconds since 1970; None where none says so.
    undated
        Records that do not say when they were measured.
    tools
        What made the records, and how many each.
    converted, revalidated
        Records that were converted from log version 0.1, and that were measured again since.
    duplicates, runners_up
        Records that stand there once more, and different ones for a workload that has a better one.
    single
        Records with one repeat only, of which nobody can tell the spread.
    median_spread, worst_spread
        The standard deviation of the repeats over their mean, for the others; None where there are none.
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
class Ledger:
    """What stands behind the records of some logs.

    Attributes
    ----------
    workloads
        How many different ones there are for any target.
    entries
        By target.
    unconvertible
        Rows of log version 0.1 that can't be converted and are in no entry.
    """

    workloads: int
    entries: tuple[Entry, ...]
    unconvertible: int


def audit(paths: Iterable[Path]) -> Ledger:
    """Write the ledger of some logs.

    Raises
    ------
    InputError
        A log can't be read or has a line that is no record.
    """
    pages: dict[Target, _Page] = {}
    unconvertible = 0
    for record in readable(paths):
        if record is None:
            unconvertible += 1
        else:
            pages.setdefault(record.target, _Page(record.input.target)).add(record)
    workloads = set().union(*(page.workloads for page in pages.values()))
    ordered = sorted(pages, key=lambda target: (target.kind, target.options))
    return Ledger(len(workloads), tuple(pages[target].entry(len(workloads)) for target in ordered), unconvertible)


class _Page:
    """A page that is being written. A digest and a spread are kept for each record."""

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

    def entry(self, workloads: int) -> Entry:
        oldest, newest = self._times or (None, None)
        counts = self._counts
        return Entry(
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
