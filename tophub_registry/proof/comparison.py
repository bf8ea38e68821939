"""The one comparison of a record with what it replaces: how kernels are timed, and what counts as a loss.

Without the record, a user has AutoTVM's default config or the previous record. All kernels of a workload are timed in
turns, so that a disturbance affects all of them, and compared by their medians. A difference within the noise is not a
loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tophub_registry.errors import EnvironmentFailure
from tophub_registry.measurement.measure import Measurer
from tophub_registry.records.record import Config, Record
from tophub_registry.templates.template import Template

ROUNDS = 9
"""How often each kernel is timed by default."""

NOISE = 0.03
"""Two medians of the same kernel differ by about this fraction; smaller losses are not reported."""


@dataclass(frozen=True)
class TimedRecord:
    """A record's kernel and the default config's, timed in turns.

    Attributes
    ----------
    record
        The record.
    costs
        Seconds in each round; empty if the kernel can't be measured.
    default
        The median of the default config in the same rounds, in seconds.
    failure
        Why the kernel can't be measured.
    default_costs
        The default config's seconds in each round.
    error
        The largest error of the kernel's output, as a fraction of its largest number.
    """

    record: Record
    costs: tuple[float, ...]
    default: float
    failure: str | None = None
    default_costs: tuple[float, ...] = ()
    error: float | None = None

    @property
    def seconds(self) -> float | None:
        """The median; None if the kernel can't be measured."""
        return median(self.costs) if self.costs else None

    @property
    def gain(self) -> float | None:
        """How many times as fast as the default config; None if the kernel can't be measured."""
        return self.default / self.seconds if self.seconds else None

    def loss(self, replaced: TimedRecord | None = None) -> str | None:
        """Return why a user is better off without the record; None if it is worth having.

        Parameters
        ----------
        replaced
            The record it replaces, timed in the same turns; ignored if it has the same config.
        """
        if self.seconds is None:
            return self.failure
        if _is_loss(self.default / self.seconds):
            return f"only {self.default / self.seconds:.2f} times as fast as AutoTVM's default config"
        if replaced is None or not replaced.seconds or replaced.record.config.entity == self.record.config.entity:
            return None
        gain = replaced.seconds / self.seconds
        return f"only {gain:.2f} times as fast as the record it replaces" if _is_loss(gain) else None


def _is_loss(gain: float) -> bool:
    return gain < 1 - NOISE


def time_in_turns(
    template: Template, records: Sequence[Record], measurer: Measurer, *, rounds: int = ROUNDS
) -> list[TimedRecord]:
    """Time the kernels of a workload's records and of the default config in turns.

    If a record's kernel can't be measured, the others are timed without it.

    Parameters
    ----------
    template
        The workload's template.
    records
        The workload's records, at least one.
    rounds
        How often each kernel is timed.

    Raises
    ------
    EnvironmentFailure
        The default config can't be measured either.
    """
    default, *configs = template.default(measurer.target), *(record.config for record in records)
    # Each config once: two kernels of the same one differ by noise.
    distinct = {_spelled(config): config for config in (default, *configs)}
    try:
        ran = dict(zip(distinct, measurer.run_in_turns(template, list(distinct.values()), rounds), strict=True))
    except EnvironmentFailure as error:
        if len(records) > 1:
            return [timed for one in records for timed in time_in_turns(template, [one], measurer, rounds=rounds)]
        return [TimedRecord(records[0], (), time_default(template, measurer, rounds=rounds), error.message)]
    usual = tuple(ran[_spelled(default)].costs)
    its = [(record, ran[_spelled(record.config)]) for record in records]
    return [
        TimedRecord(record, tuple(kernel.costs), median(usual), default_costs=usual, error=kernel.error)
        for record, kernel in its
    ]


def _spelled(config: Config) -> str:
    return repr(config.entity)


def time_default(template: Template, measurer: Measurer, *, rounds: int = ROUNDS) -> float:
    """Return the median of the default config, in seconds.

    Raises
    ------
    EnvironmentFailure
        It can't be measured.
    """
    (costs,) = measurer.compare(template, [template.default(measurer.target)], rounds)
    return median(costs)
