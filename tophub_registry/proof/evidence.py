"""The evidence of a contribution: its records timed in turns with what they replace, and what that says of them.

`proof.comparison` times, and decides whether a record is worth having. Here a record's own cost is compared with the
repeats too: noise only makes a kernel slower, so the fastest repeat must come near to what the record claims.
"""

from __future__ import annotations

from statistics import median

from tophub_registry import spelling
from tophub_registry.measurement.measure import Measurer
from tophub_registry.proof.claims import Claim
from tophub_registry.proof.comparison import ROUNDS, TimedRecord, time_in_turns
from tophub_registry.publishing.bundle import Pair, Replaced
from tophub_registry.records.record import Record
from tophub_registry.templates.registry import instantiate

TOLERANCE = 0.1
"""By what fraction the fastest repeat may exceed a claimed cost; as `validate --level replay` has it."""

MIN_ROUNDS = 3
"""Fewer repeats are no evidence."""


def take(claim: Claim, measurer: Measurer, source: str, *, rounds: int = ROUNDS) -> Pair:
    """Time a record in turns with AutoTVM's default config and with the record it replaces.

    Parameters
    ----------
    source
        The name of the log that has the record it replaces.

    Raises
    ------
    EnvironmentFailure
        The default config can't be measured.
    """
    record, before = claim.record, claim.before
    template = instantiate(record.input.task, record.input.args)
    records = [record] if before is None else [record, before]
    its, *others = time_in_turns(template, records, measurer, rounds=rounds)
    replaced = None
    if before is not None and others[0].costs:
        replaced = Replaced(source=source, config=before.config, costs=list(others[0].costs))
    return Pair(
        line=claim.line,
        costs=list(its.costs),
        default=list(its.default_costs) or [its.default],
        replaced=replaced,
        error=its.error,
        failure=its.failure,
    )


def loss(record: Record, pair: Pair) -> str | None:
    """Return why a user is better off without a record, by its repeats; None if it is worth having."""
    usual = median(pair.default)
    timed = TimedRecord(record, tuple(pair.costs), usual, pair.failure or "can't be measured")
    if pair.replaced is None:
        return timed.loss()
    other = record.model_copy(update={"config": pair.replaced.config})
    return timed.loss(TimedRecord(other, tuple(pair.replaced.costs), usual))


def invented(record: Record) -> str | None:
    """Return why a record's own repeats can't have been measured; None if they can."""
    costs = record.result.costs
    return f"all {len(costs)} repeats are the same number: {costs[0]}" if costs[1:] and len(set(costs)) == 1 else None


def unsupported(record: Record, pair: Pair) -> str | None:
    """Return why a record's repeats don't support its cost; None if they do."""
    if not pair.costs:
        return pair.failure or "can't be measured"
    if len(pair.costs) < MIN_ROUNDS or len(pair.default) < MIN_ROUNDS:
        return f"{min(len(pair.costs), len(pair.default))} repeats are no evidence: at least {MIN_ROUNDS} are needed"
    if len(set(pair.costs)) == 1 or len(set(pair.default)) == 1:
        return "all repeats are the same number: they were not measured"
    fastest, claimed = min(pair.costs), record.mean_cost
    if fastest <= claimed * (1 + TOLERANCE):
        return None
    return (
        f"{spelling.seconds(claimed)} claimed, but the fastest of {len(pair.costs)} repeats took "
        f"{spelling.seconds(fastest)}"
    )
