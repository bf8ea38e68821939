"""The numbers behind the catalogue's tables and plots."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tophub_registry.catalogue.tables import gflops
from tophub_registry.records.diff import KINDS, LogDiff

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tophub_registry.catalogue.reading import ListedVersion

_EDGES = (0.5, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 4.0)
_QUARTERS = 4

_TICKS = 12

_FEWEST = 10
"""Of fewer speedups there is no histogram."""


class Bar(NamedTuple):
    """A bar of a plot: its label, its number, and its length as a share of the longest one."""

    label: str
    number: int
    share: float
    kind: str = ""


class VersionChange(NamedTuple):
    """What changed from one version to the next.

    Attributes
    ----------
    counts
        The number of differences of each kind, without zeros.
    same
        The number of workloads whose best record is the same.
    gain
        How many times as fast the faster and slower ones are, as a geometric mean; None if there are none.
    bars
        How many became so many times as fast.
    """

    counts: dict[str, int]
    same: int
    gain: float | None
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class TaskRates:
    """The rates of a version's records of one target and task, in 10^9 operations a second.

    Attributes
    ----------
    records, workloads
        How many there are.
    lowest, lower, median, upper, highest
        The quartiles of the rates; None where the task's arithmetic is unknown.
    """

    target: str
    task: str
    records: int
    workloads: int
    lowest: float | None = None
    lower: float | None = None
    median: float | None = None
    upper: float | None = None
    highest: float | None = None


class Scale(NamedTuple):
    """A logarithmic scale from one power of ten to another."""

    low: int
    high: int

    def place(self, value: float) -> float:
        """Return where a value is, from 0 to 1."""
        return (math.log10(value) - self.low) / (self.high - self.low)

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        return 10.0**self.low, 10.0**self.high

    @property
    def ticks(self) -> list[float]:
        """Powers of ten on it, all of them if there are not many."""
        return [10.0**power for power in range(self.low, self.high + 1, (self.high - self.low) // _TICKS + 1)]


def change(differences: LogDiff) -> VersionChange:
    """Count differences."""
    counts = Counter(each.kind for each in differences.differences)
    speedups = [each.speedup for each in differences.differences if each.kind in ("faster", "slower") and each.speedup]
    return VersionChange(
        {kind: counts[kind] for kind in KINDS if counts[kind]},
        differences.same,
        statistics.geometric_mean(speedups) if speedups else None,
        _histogram(speedups),
    )


def _histogram(speedups: Sequence[float]) -> tuple[Bar, ...]:
    """Count speedups between edges; the empty ends are left out."""
    if len(speedups) < _FEWEST:
        return ()
    counts = [0] * (len(_EDGES) + 1)
    for speedup in speedups:
        counts[sum(edge <= speedup for edge in _EDGES)] += 1
    labels = [f"below {_EDGES[0]:g}"]
    labels += [f"{low:g} to {high:g}" for low, high in itertools.pairwise(_EDGES)]
    labels += [f"above {_EDGES[-1]:g}"]
    used = [number for number, count in enumerate(counts) if count]
    slower = _EDGES.index(1.0)
    return tuple(
        Bar(labels[number], counts[number], counts[number] / max(counts), "slower" if number <= slower else "faster")
        for number in range(used[0], used[-1] + 1)
    )


def rates(version: ListedVersion) -> list[TaskRates]:
    """Return the rates of each target and task of a version, in the order of the log."""
    found: dict[tuple[str, str], list[float]] = {}
    workloads: dict[tuple[str, str], list[str]] = {}
    for listed in version.records:
        key = (str(listed.device_target), listed.record.input.task)
        rate = gflops(listed.record)
        found.setdefault(key, []).extend([] if rate is None else [rate])
        workloads.setdefault(key, []).append(listed.record.workload)
    return [
        TaskRates(*key, len(workloads[key]), len(set(workloads[key])), *_quartiles(values))
        for key, values in sorted(found.items())
    ]


def _quartiles(values: Sequence[float]) -> tuple[float, ...]:
    if not values:
        return ()
    if len(values) == 1:
        return (values[0],) * 5
    lower, middle, upper = statistics.quantiles(values, n=_QUARTERS, method="inclusive")
    return min(values), lower, middle, upper, max(values)


def scale(found: Sequence[TaskRates]) -> Scale:
    """Return a scale on which all rates have a place."""
    lowest = min((each.lowest for each in found if each.lowest), default=1.0)
    highest = max((each.highest for each in found if each.highest), default=10.0)
    low = math.floor(math.log10(lowest))
    return Scale(low, max(math.ceil(math.log10(highest)), low + 1))
