"""Checking a contribution offline and without its device, and releasing what holds.

A bundle is accepted in three steps: it is checked by itself (`check`); its contributor measures some of its records
again, which a nonce draws (`publishing.challenge`); and that answer is checked (`check_answer`). What is released then
says in each row who has confirmed it (`records.rank`). Nothing here can prove that a stranger's numbers were measured:
the checks make a false one hard to write, and a record that a second machine reproduces is the best there is.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import geometric_mean, median

from tophub_registry.errors import InputError
from tophub_registry.packages.folder import known_index
from tophub_registry.packages.index import now
from tophub_registry.proof.claims import Claim, claims
from tophub_registry.proof.evidence import invented, loss, unsupported
from tophub_registry.proof.provenance import misfit
from tophub_registry.publishing.bundle import ENVIRONMENT, LOG, MANIFEST, MODEL, PAIRS, Bundle, Pair, records_of
from tophub_registry.publishing.challenge import REMEDY, Challenge, ChallengeAnswer, in_drawn_order, misfits
from tophub_registry.publishing.copies import PublishedRecord, copies, published, spelled
from tophub_registry.publishing.repository_release import Repository, RepositoryRelease, release_in_repository
from tophub_registry.records.families import without_general_keys
from tophub_registry.records.finding import Finding
from tophub_registry.records.log import write_log
from tophub_registry.records.rank import Rank
from tophub_registry.records.record import Provenance, Record
from tophub_registry.records.target import Target
from tophub_registry.records.validate import validate_log
from tophub_registry.templates.transfer import for_everybody
from tophub_registry.templates.validation import check_space


def check(bundle: Bundle, registry: Path) -> list[Finding]:
    """Return what is wrong with a bundle whose files are intact; errors are reasons to refuse it.

    Parameters
    ----------
    registry
        The registry that would publish it.

    Raises
    ------
    UsageError
        There is no registry.
    InputError
        Its index is invalid.
    """
    index = known_index(registry)
    log = bundle.place(LOG)
    found = validate_log(bundle.log, checks=(check_space,))
    findings = [dataclasses.replace(each, file=log) for each in found.findings]
    if found.errors:
        return findings
    if found.unfit is not None:
        return [*findings, dataclasses.replace(found.unfit, file=log)]
    if found.package != bundle.manifest.package:
        message = f"its records belong to {found.package}, not to {bundle.manifest.package}"
        findings.append(Finding("package", message, file=bundle.place(MANIFEST)))
    records = records_of(bundle)
    for line, record in records.items():
        if (reason := misfit(record, bundle.environment)) is not None:
            findings.append(dataclasses.replace(reason, file=log, line=line))
        if (same := invented(record)) is not None:
            findings.append(Finding("cost", same, remedy=_AGAIN, file=log, line=line))
        elif not record.result.costs[1:]:
            message = "measured only once: nobody knows how far its cost is to be trusted"
            findings.append(Finding("single", message, "warning", file=log, line=line))
    originals = published(registry, index, bundle.manifest.package)
    findings += [dataclasses.replace(each, file=log) for each in copies(records, originals)]
    findings += _of_pairs(bundle, records)
    if not refused(findings):
        findings += _of_gain(bundle)
    return findings


def _of_pairs(bundle: Bundle, records: Mapping[int, Record]) -> Iterator[Finding]:
    """Yield what is wrong with the paired repeats: they are no sample, or don't support a cost."""
    lines = [pair.line for pair in bundle.pairs]
    sample = in_drawn_order(records, "")[: len(lines)]
    if not lines or sorted(lines) != sorted(sample):
        message = "the records that were timed are not those that the log's own bytes draw"
        yield Finding("pairs", message, remedy=_AGAIN, file=bundle.place(PAIRS))
        return
    for pair in bundle.pairs:
        for finding in _of_pair(records[pair.line], pair, _AGAIN):
            yield dataclasses.replace(finding, file=bundle.place(LOG), line=pair.line)


def _of_pair(record: Record, pair: Pair, remedy: str) -> Iterator[Finding]:
    if (reason := unsupported(record, pair)) is not None:
        yield Finding("cost", reason, remedy=remedy)
    elif (reason := loss(record, pair)) is not None:
        yield Finding("no-gain", reason, "warning", "it is left out")


WORTH = 1.01
"""How many times as fast records must be, on average, for a contribution to gain something."""


def _of_gain(bundle: Bundle) -> Iterator[Finding]:
    """Yield what the contribution as a whole does not gain."""
    gain = geometric_mean(median(pair.default) / median(pair.costs) for pair in bundle.pairs)
    if gain < WORTH:
        message = f"its records are {gain:.2f} times as fast as the default configs: they gain nothing"
        yield Finding("no-gain", message, "warning", file=bundle.place(PAIRS))
    model = bundle.model
    if model is not None and model.before < WORTH * model.after:
        message = f"{model.name} is {model.before / model.after:.2f} times as fast with them: it gains nothing"
        yield Finding("no-gain", message, "warning", file=bundle.place(MODEL))


_AGAIN = "contribute again, from the machine that measured it"


def check_answer(
    answer: ChallengeAnswer, asked: Challenge, bundle: Bundle, file: Path, *, time: datetime | None = None
) -> list[Finding]:
    """Return what is wrong with the answer to a challenge; errors are reasons to refuse it.

    Parameters
    ----------
    file
        The answer's file.
    time
        When it arrived; by default now.
    """
    place = str(file)
    findings = [
        Finding("answer", reason, remedy=REMEDY, file=place) for reason in misfits(answer, asked, bundle, time or now())
    ]
    if findings:
        return findings
    theirs, its = answer.environment, bundle.environment
    for name in ("target", "device", "architecture", "threads", "machine"):
        before, after = getattr(its, name), getattr(theirs, name)
        if before != after:
            message = f"measured on another machine: {name} {after}, and {before} in the bundle's {ENVIRONMENT}"
            findings.append(Finding("device", message, remedy=REMEDY, file=place))
    records = records_of(bundle)
    known = {tuple(pair.costs) for pair in bundle.pairs if pair.costs}
    for pair in answer.pairs:
        if tuple(pair.costs) in known:
            message = f"the repeats of line {pair.line} are copied from the bundle"
            findings.append(Finding("answer", message, remedy=REMEDY, file=place))
        findings += [
            dataclasses.replace(each, message=f"line {pair.line}: {each.message}", file=place)
            for each in _of_pair(records[pair.line], pair, REMEDY)
        ]
    return findings


@dataclass(frozen=True)
class Accepted:
    """A contribution that was released.

    Attributes
    ----------
    release
        What was published; `release.release` is None in it if the registry had all of it.
    ranks
        The rank of each of the bundle's records, by line.
    left_out
        Why records were not released, by line.
    """

    release: RepositoryRelease
    ranks: Mapping[int, Rank]
    left_out: Mapping[int, str]


def accept(bundle: Bundle, answer: ChallengeAnswer, repository: Repository, *, dry_run: bool = False) -> Accepted:
    """Release a bundle's records as the next version of their package, together with those published before.

    A record that replaces a published one must have been timed in turns with it, and not have lost. One whose config is
    published already, with about the same cost on another machine, replaces that row: it is reproduced.

    Parameters
    ----------
    bundle, answer
        Both must have been checked.
    repository
        Where.
    dry_run
        Whether nothing is changed.

    Raises
    ------
    InputError, UsageError, EnvironmentFailure
        See `release_in_repository`.
    """
    package = bundle.manifest.package
    index = known_index(repository.registry)
    records = records_of(bundle)
    twins = _twins(records, published(repository.registry, index, package))
    ranks = {line: _rank(line, record, answer, twins.get(line), bundle) for line, record in records.items()}
    rows = {line: _confirmed(record, ranks[line], answer, bundle) for line, record in records.items()}
    pairs = {pair.line: pair for pair in bundle.pairs}
    lines = {_identity(record): line for line, record in records.items()}
    timed = [*bundle.pairs, *answer.pairs]
    lost = {pair.line: reason for pair in timed if (reason := loss(records[pair.line], pair)) is not None}

    def unproven(log: Path, before: Path | None) -> Iterable[Record]:
        for claim in claims(log, before):
            line = lines.get(_identity(claim.record))
            if line is None:
                continue
            reason = _uncompared(claim, pairs.get(line))
            if reason is not None:
                lost.setdefault(line, reason)
            if line in lost:
                yield claim.record

    with tempfile.TemporaryDirectory(prefix="tophub-accept-") as scratch:
        new, again = Path(scratch) / "new.log", Path(scratch) / "again.log"
        write_log(new, [row for line, row in rows.items() if line not in lost])
        reproduced = [line for line, rank in ranks.items() if rank is Rank.REPRODUCED and line not in lost]
        write_log(again, [_addressed_like(rows[line], twins[line].record) for line in reproduced])
        if len(lost) == len(rows):
            raise InputError(f"nothing to release: {next(iter(lost.values()))}", file=bundle.place(LOG))
        done = release_in_repository(
            package,
            [new],
            repository,
            again=[again] if reproduced else [],
            checks=[check_space],
            addressed=for_everybody,
            prove=unproven,
            dry_run=dry_run,
        )
    return Accepted(done, ranks, lost)


def _identity(record: Record) -> tuple[Target, str, str]:
    return without_general_keys(record.target), record.workload, spelled(record)


def _twins(records: Mapping[int, Record], originals: Iterable[PublishedRecord]) -> dict[int, PublishedRecord]:
    """Return for each record, by line, the newest published one of the same target, workload and config."""
    lines = {_identity(record): line for line, record in records.items()}
    found = ((lines.get(_identity(original.record)), original) for original in originals)
    return {line: original for line, original in found if line is not None}


APART = 0.25
"""By what fraction two machines' costs of one config may differ for it to be reproduced."""


def _rank(line: int, record: Record, answer: ChallengeAnswer, twin: PublishedRecord | None, bundle: Bundle) -> Rank:
    if line not in {pair.line for pair in answer.pairs}:
        return Rank.CLAIMED
    if twin is None or not _elsewhere(twin.record.tophub, bundle) or not _agree(twin.record, record):
        return Rank.REPLAYED
    return Rank.REPRODUCED


def _agree(one: Record, other: Record) -> bool:
    """Whether two machines' costs of one config are about the same, measured under the same conditions."""
    if one.cost.cached != other.cost.cached:
        return False
    lower, higher = sorted((one.mean_cost, other.mean_cost))
    return higher <= (1 + APART) * lower


def _elsewhere(its: Provenance | None, bundle: Bundle) -> bool:
    """Whether a published record was certainly measured on another machine than a bundle's."""
    if its is None:
        return False
    if its.machine is not None and bundle.environment.machine is not None:
        return its.machine != bundle.environment.machine
    return its.device is not None and its.device != bundle.environment.device


def _confirmed(record: Record, rank: Rank, answer: ChallengeAnswer, bundle: Bundle) -> Record:
    """Return a record as it is published: with its machine, and who has confirmed its cost."""
    told = (record.tophub or Provenance()).model_dump(exclude_unset=True)
    if bundle.environment.machine is not None:
        told["machine"] = bundle.environment.machine
    if rank is not Rank.CLAIMED:
        told |= {"rank": str(rank), "revalidated": answer.finished}
    return record.model_copy(update={"tophub": Provenance(**told)})


def _addressed_like(record: Record, published_one: Record) -> Record:
    """Return a record with another's target as it is spelled there."""
    return record.model_copy(update={"input": record.input._replace(target=published_one.input.target)})


def _uncompared(claim: Claim, pair: Pair | None) -> str | None:
    """Return why a record may not replace a published one; None if it may."""
    before = claim.before
    if before is None or claim.record.config.entity == before.config.entity:
        return None
    if pair is None:
        return "it would replace a published record, and was not timed against it"
    if pair.replaced is None or pair.replaced.config.entity != before.config.entity:
        return "it was timed against another record than the one that it would replace: the registry has a newer one"
    return None


def refused(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that are reasons to refuse."""
    return [finding for finding in findings if finding.severity == "error"]
