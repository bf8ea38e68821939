"""Making a contribution: a log's new records, timed on this machine against what they replace, as one bundle.

Only evidence that this machine gives now goes into it. A record that loses, or whose cost does not hold any more, is
left out with the reason, so that what is written can be accepted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tophub_registry._version import __version__
from tophub_registry.compiler.compiler import compile_model
from tophub_registry.devices.device import at_hand
from tophub_registry.devices.environment import read_environment
from tophub_registry.errors import EnvironmentFailure, InputError
from tophub_registry.measurement.measure import Measurer
from tophub_registry.packages.digest import Digest
from tophub_registry.packages.index import iso_time, now
from tophub_registry.packages.version import FileName
from tophub_registry.proof.claims import Claim, check_is_here, claims
from tophub_registry.proof.comparison import ROUNDS
from tophub_registry.proof.confirmation import in_turns
from tophub_registry.proof.evidence import loss, take, unsupported
from tophub_registry.proof.provenance import misfit
from tophub_registry.publishing.bundle import Pair, WholeModel, write_bundle
from tophub_registry.publishing.challenge import Challenge, ChallengeAnswer, in_drawn_order
from tophub_registry.records.environment import Environment
from tophub_registry.records.families import without_general_keys
from tophub_registry.records.log import read_lines, write_log
from tophub_registry.records.lookup import backend_of
from tophub_registry.records.merge import Merger
from tophub_registry.records.rank import Rank
from tophub_registry.records.record import Provenance, Record
from tophub_registry.records.rows import parse_record
from tophub_registry.records.target import Target
from tophub_registry.records.validate import validate_log
from tophub_registry.templates.transfer import for_everybody
from tophub_registry.templates.validation import check_space

Progress = Callable[[int, int], None]
"""Told how many records are measured, and of how many."""

_ELSEWHERE = "contribute from the machine that measured them"


@dataclass(frozen=True)
class NotContributed:
    """A record that is not contributed, and why."""

    record: Record
    reason: str


@dataclass(frozen=True)
class Contribution:
    """A log's new records, and the evidence for them.

    Attributes
    ----------
    target
        This machine's device.
    against
        The package's newest version, whose records would be replaced; None if there is none.
    records
        The records, as they would be published.
    pairs
        Those that were timed; a pair's line counts the records from 1.
    left_out
        Those that were timed and are not contributed.
    environment
        This machine.
    """

    target: Target
    against: Path | None
    records: tuple[Record, ...]
    pairs: tuple[Pair, ...]
    left_out: tuple[NotContributed, ...]
    environment: Environment

    @property
    def package(self) -> str:
        """The package that the records belong to."""
        return backend_of(self.target)

    def write(self, output: Path, model: WholeModel | None = None) -> Digest:
        """Write the bundle, all or nothing, and return its digest; UsageError if the file exists."""
        log = "".join(f"{record.to_json()}\n" for record in self.records).encode()
        return write_bundle(output, self.package, __version__, log, self.environment, list(self.pairs), model)


@dataclass(frozen=True)
class Sample:
    """How much is measured; a sample is drawn from the log's own bytes.

    Attributes
    ----------
    records
        The most records; None for all.
    seconds
        Start with no record after this time; None for no limit.
    rounds
        How often each kernel is timed.
    """

    records: int | None = None
    seconds: float | None = None
    rounds: int = ROUNDS
    _began: float = field(default_factory=time.monotonic)

    def over(self, done: int) -> bool:
        """Whether enough records are measured; one always is."""
        return done > 0 and self.seconds is not None and time.monotonic() - self._began > self.seconds


def contribute(
    log: Path,
    *,
    against: Path | None = None,
    sample: Sample | None = None,
    progress: Progress = lambda _done, _of: None,
) -> Contribution:
    """Time a log's new records on this machine.

    Parameters
    ----------
    log
        The log, as it was tuned: of each workload the best record counts.
    against
        The package's newest version, whose records would be replaced; None if there is none.
    sample
        How much is measured.
    progress
        Is told how far it is.

    Raises
    ------
    InputError
        The log is not fit to be published, or has nothing new, or nothing that holds here.
    EnvironmentFailure
        Its records were measured on another device; or something can't be measured.
    """
    sample = sample or Sample()
    with TemporaryDirectory(prefix="tophub-contribution-") as scratch:
        new = _claims(log, against, Path(scratch))
    target = _target(new, log)
    _check_device(new, log)
    order = in_drawn_order({claim.line: claim.record for claim in new}, "")[: sample.records]
    by_line = {claim.line: claim for claim in new}
    source = "" if against is None else _name(against)
    with Measurer(target) as measurer:
        said = measurer.describe()
        pairs = list(_taken([by_line[line] for line in order], measurer, source, sample, progress))
    environment = read_environment(target, said)
    new, too_fast = _fitting(new, environment, log)
    kept, left_out = _kept(new, pairs)
    left_out += too_fast
    proven = [pair.model_copy(update={"line": line}) for line, (_, pair) in enumerate(kept, 1) if pair is not None]
    if not proven:
        reasons = "; ".join(dict.fromkeys(each.reason for each in left_out))
        remedy = "measure on a quiet machine, or tune longer"
        raise InputError(f"no record that was timed holds here: {reasons[:_LONGEST]}", file=log, remedy=remedy)
    records = tuple(claim.record for claim, _ in kept)
    return Contribution(target, against, records, tuple(proven), tuple(left_out), environment)


_LONGEST = 400
"""Characters of reasons in a message."""


def whole_model(contribution: Contribution, model: str) -> WholeModel:
    """Time a model with the package's records, and with the contributed ones before them, in turns.

    Raises
    ------
    UsageError, InputError, EnvironmentFailure
        See `compile_model`.
    """
    package = [] if contribution.against is None else [contribution.against]
    target = str(contribution.target)
    with TemporaryDirectory(prefix="tophub-contribution-") as scratch:
        rows = Path(scratch) / "records.log"
        write_log(rows, contribution.records)
        before = compile_model(model, target, records=package)
        after = compile_model(model, target, records=[rows, *package])
        kernels = [layer.kernel for layer in after.layers]
        layers = sum(kernel is not None and kernel.answer.source == str(rows) for kernel in kernels)
    seconds = in_turns(before, after)
    return WholeModel(name=Path(model).name, layers=layers, before=seconds[0], after=seconds[1])


def answer(
    asked: Challenge,
    file: Path,
    *,
    rounds: int = ROUNDS,
    progress: Progress = lambda _done, _of: None,
) -> ChallengeAnswer:
    """Measure a challenge's records, and no others, on this machine.

    Parameters
    ----------
    file
        The challenge's file, for errors.
    rounds
        How often each kernel is timed.

    Raises
    ------
    InputError
        A record's config is not in its space, or the challenge has none.
    EnvironmentFailure
        The records were measured on another device; or they can't be measured.
    """
    if not asked.drawn:
        raise InputError("the challenge has no records", file=file, remedy="ask for another one")
    for each in asked.drawn:
        for finding in check_space(each.record):
            raise InputError(f"record {each.line} can't be measured: {finding.message}", file=file)
    wanted = [Claim(each.record, each.line, None) for each in asked.drawn]
    target = _target(wanted, file)
    _check_device(wanted, file)
    started = iso_time(now())
    with Measurer(target) as measurer:
        said = measurer.describe()
        pairs = list(_taken(wanted, measurer, "", Sample(rounds=rounds), progress))
    return ChallengeAnswer(
        format=1,
        bundle=asked.bundle,
        nonce=asked.nonce,
        started=started,
        finished=iso_time(now()),
        environment=read_environment(target, said),
        pairs=pairs,
    ).signed()


def _claims(log: Path, against: Path | None, scratch: Path) -> list[Claim]:
    """Return a log's best records, as they would be published, that the package does not have."""
    found = validate_log(log, checks=(check_space,))
    if found.errors:
        worst = next(finding for finding in found.findings if finding.severity == "error")
        more = f", and {found.errors - 1} more errors" if found.errors > 1 else ""
        raise InputError(worst.message + more, file=log, line=worst.line or None, remedy="`tophub validate` lists all")
    merger = Merger()
    merger.add(read_lines(log), log)
    best = [parse_record(text) for text in merger.lines() if not text.startswith(b"#")]
    rows = scratch / "best.log"
    write_log(rows, [for_everybody(_unranked(record)) for record in best])
    if not (new := claims(rows, against)):
        nothing = "no record that succeeded" if not best else f"nothing that {against and _name(against)} does not have"
        raise InputError(f"the log has {nothing}", file=log, remedy="tune first: `tophub tune`")
    return new


def _unranked(record: Record) -> Record:
    """Return a record without a rank, which only accepting gives."""
    if record.tophub is None or record.rank is Rank.CLAIMED:
        return record
    plain = record.tophub.model_dump(exclude_unset=True, exclude={"rank"})
    return record.model_copy(update={"tophub": Provenance(**plain)})


def _target(wanted: Sequence[Claim], log: Path) -> Target:
    """Return the target of all records, as this machine's device."""
    targets = {without_general_keys(claim.record.target) for claim in wanted}
    if len(targets) > 1:
        several = ", ".join(sorted(map(str, targets))[:3])
        raise InputError(f"records of several targets: {several}", file=log, remedy="contribute one log for each")
    (target,) = targets
    check_is_here(target, _ELSEWHERE)
    return target


def _check_device(wanted: Sequence[Claim], log: Path) -> None:
    """Raise EnvironmentFailure if a record names another device, or fewer or more threads, than this machine's."""
    here = at_hand(wanted[0].record.target.kind)
    for claim in wanted:
        its = claim.record.tophub
        if its is None or its.device is None or its.weights != _weights(claim.record):
            raise InputError(
                "a record does not say on which device it was measured, or with weights in the cache",
                file=log,
                remedy="`tophub validate --level replay -o NEW.log` measures again: contribute that",
            )
        if (its.device, its.threads) != (here.device, here.threads):
            message = f"a record was measured on {its.where}, and this is {here.where}"
            raise EnvironmentFailure(message, file=log, remedy=_ELSEWHERE)


def _weights(record: Record) -> str | None:
    """Return how weights must have been: cold, for a processor."""
    return "cold" if record.target.kind == "llvm" else record.weights


def _taken(
    chosen: Sequence[Claim], measurer: Measurer, source: str, sample: Sample, progress: Progress
) -> Iterator[Pair]:
    for done, claim in enumerate(chosen):
        if sample.over(done):
            return
        progress(done, len(chosen))
        yield take(claim, measurer, source, rounds=sample.rounds)


def _fitting(new: Sequence[Claim], environment: Environment, log: Path) -> tuple[list[Claim], list[NotContributed]]:
    """Divide claims into those that fit the environment, and those that are too fast for the peak measured just now.

    Raises
    ------
    EnvironmentFailure
        One is of another device.
    """
    fitting, too_fast = [], []
    for claim in new:
        finding = misfit(claim.record, environment)
        if finding is None:
            fitting.append(claim)
        elif finding.rule == "peak":  # which other programs may have lowered
            too_fast.append(NotContributed(claim.record, f"{finding.message}, as measured just now"))
        else:
            raise EnvironmentFailure(finding.message, file=log, remedy=finding.remedy)
    return fitting, too_fast


def _kept(new: Sequence[Claim], pairs: Sequence[Pair]) -> tuple[list[tuple[Claim, Pair | None]], list[NotContributed]]:
    """Divide claims into those that hold, or were not timed, and the others."""
    by_line = {pair.line: pair for pair in pairs}
    kept: list[tuple[Claim, Pair | None]] = []
    left_out = []
    for claim in new:
        pair = by_line.get(claim.line)
        reason = pair and (loss(claim.record, pair) or unsupported(claim.record, pair))
        if reason:
            left_out.append(NotContributed(claim.record, reason))
        else:
            kept.append((claim, pair))
    return kept, left_out


def _name(log: Path) -> str:
    """Return what to call a log: a package's by its name and version, any other by its file's name."""
    name = FileName.parse(log.name)
    return log.name if name is None else f"{name.package} {name.version}"
