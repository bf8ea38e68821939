"""Measuring records again, in turns with AutoTVM's default config: level `replay` of validation.

A cost is a claim. Here it is put to the test on the device at hand, and against what a user has without the
record; all kernels of a workload take turns, so that a disturbance meets all of them.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from statistics import median

from tophub_registry.errors import EnvironmentFailure
from tophub_registry.measurement.measure import Measurer
from tophub_registry.measurement.outcome import ErrorNo
from tophub_registry.records.finding import Finding
from tophub_registry.records.record import Provenance, Record, Result
from tophub_registry.templates.registry import instantiate

NOISE = 0.03
"""Two medians of the same kernel differ by about so much; no smaller loss is spoken of."""


@dataclass(frozen=True)
class Replayed:
    """A record, measured again.

    Attributes
    ----------
    claimed
        The record as it was.
    record
        The same with today's costs; None where its kernel could not be measured.
    default
        Today's median time of the default config, in seconds.
    failure
        Why the kernel could not be measured.
    """

    claimed: Record
    record: Record | None
    default: float | None
    failure: str | None = None

    @property
    def measured(self) -> float | None:
        """Today's median time, in seconds."""
        return None if self.record is None else median(self.record.result.costs)

    def holds(self, tolerance: float) -> bool:
        """Whether the claim holds: today's median is at most `tolerance` (0.1: a tenth) above it."""
        return self.measured is not None and self.measured <= self.claimed.mean_cost * (1 + tolerance)

    @property
    def gain(self) -> float | None:
        """How many times as fast as the default config it is, today."""
        return None if self.measured is None or self.default is None else self.default / self.measured


def findings(replayed: Replayed, tolerance: float) -> Iterator[Finding]:
    """Yield what a replay has brought to light: a claim that does not hold, or a record that gains nothing."""
    if replayed.record is None:
        yield Finding("replay", f"can't be measured: {replayed.failure}", remedy="drop the row, or tune again")
        return
    claimed, measured = replayed.claimed.mean_cost, median(replayed.record.result.costs)
    if not replayed.holds(tolerance):
        message = f"{claimed * 1e6:.4g} µs were claimed and {measured * 1e6:.4g} µs measured"
        yield Finding("replay", message, remedy="-o writes the log with today's costs")
    if replayed.gain is not None and replayed.gain < 1 - NOISE:
        message = f"only {replayed.gain:.2f} times as fast as AutoTVM's default config"
        yield Finding("no-gain", message, "warning", "without the row a user is better off")


def replay(records: Iterable[Record], measurer: Measurer, *, rounds: int = 9) -> Iterator[Replayed]:
    """Measure records of the measurer's target again, workload by workload.

    Parameters
    ----------
    records
        Sound records whose templates are known.
    rounds
        How often each kernel is timed; all these costs go into the new record.
    """
    by_workload: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_workload[record.workload].append(record)
    provenance = measurer.describe()
    for group in by_workload.values():
        try:
            yield from _replay_group(group, measurer, provenance, rounds)
        except EnvironmentFailure as error:  # noqa: PERF203  # measuring takes longer
            if len(group) == 1:
                yield Replayed(group[0], None, None, error.message)
            else:  # one of them is at fault; alone, each is blamed for itself only
                for record in group:
                    yield from replay([record], measurer, rounds=rounds)


def _replay_group(group: list[Record], measurer: Measurer, provenance: Provenance, rounds: int) -> Iterator[Replayed]:
    template = instantiate(group[0].input.task, group[0].input.args)
    configs = [template.default(measurer.target), *(record.config for record in group)]
    default, *costs = measurer.compare(template, configs, rounds)
    today = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    for record, seconds in zip(group, costs, strict=True):
        history = (record.tophub or Provenance()).model_dump(exclude_unset=True)
        update = {**history, **provenance.model_dump(exclude_unset=True), "revalidated": today}
        result = Result(seconds, int(ErrorNo.NO_ERROR), record.result.all_cost, time.time())
        again = record.model_copy(update={"result": result, "tophub": Provenance(**update)})
        yield Replayed(record, again, median(default))
