"""The claims of a new log, and their proof: each new record is timed against what it replaces (`proof.comparison`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tophub_registry.devices.device import KINDS, check_runs_here, resolve
from tophub_registry.errors import EnvironmentFailure, InputError
from tophub_registry.measurement.measure import Measurer
from tophub_registry.proof.comparison import ROUNDS, time_in_turns
from tophub_registry.records.log import read_convertible_rows
from tophub_registry.records.lookup import Match, match_targets
from tophub_registry.records.record import Record
from tophub_registry.records.summary import readable
from tophub_registry.records.target import Target
from tophub_registry.records.task import describe
from tophub_registry.templates.registry import TEMPLATES, instantiate


class Claim(NamedTuple):
    """A record that is not in the previous log.

    Attributes
    ----------
    record
        The record.
    line
        Its line in the log.
    before
        The previous log's best record for the target and workload, if any.
    """

    record: Record
    line: int
    before: Record | None


@dataclass(frozen=True)
class Loss:
    """A claim that failed.

    Attributes
    ----------
    claim
        The claim.
    reason
        What it lost to, or why its kernel can't be measured.
    """

    claim: Claim
    reason: str

    def __str__(self) -> str:
        record = self.claim.record
        return f"{describe(record.input.task, record.input.args)}: {self.reason}"


def claims(log: Path, before: Path | None) -> list[Claim]:
    """Return the records of a log that are not in the previous one.

    Raises
    ------
    InputError
        A log can't be read, or a new record's task has no template.
    """
    known = [record for record in readable([] if before is None else [before]) if record is not None]
    texts = {record.to_json() for record in known}
    best: dict[tuple[Target, str], Record] = {}
    for old in sorted((record for record in known if record.valid), key=lambda record: record.cost):
        best.setdefault((old.target, old.workload), old)
    found = []
    for line, new, _ in read_convertible_rows(log):
        if new is None or new.to_json() in texts:
            continue
        if new.input.task not in TEMPLATES:
            raise InputError(f"can't be timed: no template for {new.input.task}", file=log, line=line)
        found.append(Claim(new, line, best.get((new.target, new.workload))))
    return found


def prove(made: Iterable[Claim], *, rounds: int = ROUNDS) -> Iterator[Loss]:
    """Time each claim's kernel in turns with what it replaces, and yield the claims that fail.

    Parameters
    ----------
    made
        The claims; their targets must all be this machine.
    rounds
        How often each kernel is timed.

    Raises
    ------
    EnvironmentFailure
        A record is for another device (raised before anything is timed), or a default config can't be measured.
    """
    by_target: defaultdict[Target, defaultdict[str, list[Claim]]] = defaultdict(lambda: defaultdict(list))
    for claim in made:
        by_target[claim.record.target][claim.record.workload].append(claim)
    for target in by_target:
        check_is_here(target)
    for target, workloads in by_target.items():
        with Measurer(target) as measurer:
            for group in workloads.values():
                yield from _prove_group(group, measurer, rounds)


def check_is_here(target: Target, remedy: str = "prove them on their own device") -> None:
    """Raise EnvironmentFailure unless a target is this machine's device."""
    if target.kind not in KINDS:
        raise EnvironmentFailure(f"records for {target} can't be timed: there are no templates for it", remedy=remedy)
    try:
        here = resolve(target.kind)
        check_runs_here(target)
    except EnvironmentFailure as error:
        raise EnvironmentFailure(f"records for {target} can't be timed: {error.message}", remedy=remedy) from error
    if match_targets(here, target) < Match.DEVICE:
        raise EnvironmentFailure(f"records for {target} can't be timed: this machine is {here}", remedy=remedy)


def _prove_group(group: Sequence[Claim], measurer: Measurer, rounds: int) -> Iterator[Loss]:
    """Prove the claims for one target and workload."""
    before, first = group[0].before, group[0].record
    template = instantiate(first.input.task, first.input.args)
    records = [*(claim.record for claim in group), *([] if before is None else [before])]
    timed = time_in_turns(template, records, measurer, rounds=rounds)
    for claim, its in zip(group, timed, strict=False):
        if (reason := its.loss(None if before is None else timed[-1])) is not None:
            yield Loss(claim, reason)
