"""Releasing a repository's own data in one step: index, log file, changelog, and the TVM that uses it.

New records are validated, merged with the package's current version and published as its next one; the
changelog gets a line, and TVM's table the new version. Steps that are done already are skipped, so that running
an interrupted release again completes it, and running it once more does nothing.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tophub_registry.errors import InputError
from tophub_registry.packages.digest import Digest
from tophub_registry.packages.folder import newest_log
from tophub_registry.packages.index import Index, now
from tophub_registry.packages.version import FileName, Version, check_package
from tophub_registry.publishing.changelog import note_version
from tophub_registry.publishing.metadata import latest_index
from tophub_registry.publishing.release import Release, plan_release, release
from tophub_registry.publishing.tvm_tree import find_tophub, raise_version
from tophub_registry.records.fitness import Policy
from tophub_registry.records.log import read_records
from tophub_registry.records.merge import MergeReport, merge_logs
from tophub_registry.records.validate import Validation, validate_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from tophub_registry.publishing.edit import Edit
    from tophub_registry.records.finding import Finding
    from tophub_registry.records.record import Record
    from tophub_registry.records.target import Target


@dataclass(frozen=True)
class Repository:
    """What a release changes.

    Attributes
    ----------
    registry
        The registry's folder.
    changelog
        The file that gets a line on the version; None if there is none.
    tvm_tree
        A TVM's checkout, or the folder in which TVM is installed, that is to use the version.
    """

    registry: Path
    changelog: Path | None
    tvm_tree: Path | None = None


@dataclass(frozen=True)
class RepositoryRelease:
    """What was done, or for a dry run what would be done.

    Attributes
    ----------
    package, version
        The package, and its newest version afterwards.
    validations
        The findings in the new logs; no errors.
    merged
        What became of their records.
    release
        What was published; None if the new logs have nothing that the current version lacks.
    edits
        The changes of the changelog and of TVM.
    """

    package: str
    version: Version
    validations: tuple[Validation, ...]
    merged: MergeReport
    release: Release | None
    edits: tuple[Edit, ...]

    @property
    def nothing_to_do(self) -> bool:
        """Whether everything had been done before."""
        return self.release is None and not self.edits


def release_in_repository(  # noqa: PLR0913  # one for each option of the tool
    package: str,
    new: Sequence[Path],
    repository: Repository,
    *,
    again: Sequence[Path] = (),
    alone: bool = False,
    min_gain: float | None = None,
    checks: Sequence[Callable[[Record], Iterable[Finding]]] = (),
    addressed: Callable[[Record], Record] | None = None,
    prove: Callable[[Path, Path | None], Iterable[Record]] | None = None,
    model: Path | None = None,
    dry_run: bool = False,
    time: datetime | None = None,
) -> RepositoryRelease:
    """Release new records.

    Parameters
    ----------
    package
        The package. Its first version takes its number from the first log's name, if that has one.
    new
        The logs with the new records, one or more.
    repository
        Where.
    again
        Logs with records of the current version measured again. Their costs replace the claimed ones; otherwise a
        record once measured too fast could never be replaced.
    alone
        Whether the new version has the new records alone: the current version's are no gain any more, say since the
        kernels' schedules changed.
    min_gain
        By how many per cent a new record must be better than the current one.
    checks
        Further checks of each new record.
    addressed
        Returns a record as it is published, with the target by which clients find it.
    prove
        Given the merged log and the current version's, yields the new records that fail their proof; no new
        record of the same target and workload is released.
    model
        A cost model to publish with the version.
    dry_run
        Whether nothing is changed.
    time
        The time of the release; by default now.

    Raises
    ------
    InputError
        A log is not fit to be published; or the registry, the changelog or TVM's file is invalid.
    UsageError
        The package name is invalid, TVM uses a later version, or there is no TVM in the tree.
    EnvironmentFailure
        A file can't be written.
    """
    check_package(package)
    blamed = new[0]
    policy = Policy(tuple(checks))
    time = time or now()
    registry = repository.registry
    tophub = None if repository.tvm_tree is None else find_tophub(repository.tvm_tree)
    validations = tuple(_validated(log, checks) for log in new)
    index = latest_index(registry) or Index.empty(time)
    current = index.newest(package)
    with tempfile.TemporaryDirectory(prefix="tophub-release-") as scratch:
        log = Path(scratch) / (_first_name(package, blamed) if current is None else "merged.log")
        with _blaming(blamed, log):
            old = None if alone else newest_log(registry, index, package)
            for each in again:
                _validated(each, checks)
            if old is not None and again:
                old = _with_costs_of(again, old, Path(scratch) / "again.log")
            if addressed is not None:
                old = None if old is None else _rewritten(old, addressed, Path(scratch) / "old.log")
                new = [_rewritten(each, addressed, Path(scratch) / f"new{i}.log") for i, each in enumerate(new)]
            merged = _merge(old, new, log, _Merging(min_gain, policy, prove))
        planned = None
        if (
            current is None
            or merged.added + merged.improved > 0
            or (again and not _same(log, registry, index, package))
        ):
            with _blaming(blamed, log):
                planned = plan_release(package, log, registry, model=model, policy=policy, time=time)
            log = log.rename(log.with_name(planned.path.name))  # which pins the number
            index = index.with_version(package, planned.version, planned.published, time)
        version = _version(current, planned)
        added = None if alone or planned is None else merged
        notes = repository.changelog
        edits = [None if notes is None else note_version(notes, index, package, version, added)]
        if tophub is not None:
            edits.append(raise_version(tophub, package, version))
        done = RepositoryRelease(
            package, version, validations, merged, planned, tuple(edit for edit in edits if edit is not None)
        )
        if not dry_run:
            if planned is not None:
                release(package, log, registry, model=model, policy=policy, time=time)
            for edit in done.edits:
                edit.apply()
    return done


class _Merging(NamedTuple):
    """How records are merged: as `release_in_repository` is told."""

    min_gain: float | None
    policy: Policy
    prove: Callable[[Path, Path | None], Iterable[Record]] | None


def _merge(old: Path | None, new: Sequence[Path], log: Path, how: _Merging) -> MergeReport:
    """Merge new records with the current version's, except those that fail their proof."""
    first = old or log.with_name("nothing.log")
    if old is None:
        first.touch()
    merged = merge_logs(first, new, log, min_gain=how.min_gain, policy=how.policy)
    if how.prove and (unproven := {(record.target, record.workload) for record in how.prove(log, old)}):
        log.unlink()
        merged = merge_logs(first, new, log, min_gain=how.min_gain, policy=how.policy, unproven=unproven)
    return merged


def _with_costs_of(again: Sequence[Path], old: Path, log: Path) -> Path:
    """Write a copy of a log with its rows replaced by others' rows of the same config."""
    measured = {_config(record): record for path in again for record in read_records(path) if record.valid}
    lines = [measured.get(_config(record), record).to_json() for record in read_records(old)]
    log.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return log


def _rewritten(old: Path, change: Callable[[Record], Record], log: Path) -> Path:
    """Write a copy of a log with each record changed."""
    lines = [change(record).to_json() for record in read_records(old)]
    log.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return log


def _config(record: Record) -> tuple[Target, str, str]:
    return record.target, record.workload, repr(record.config.entity)


@contextmanager
def _blaming(new: Path, log: Path) -> Iterator[None]:
    """Report errors of the merged log, which is temporary, as errors of the new one."""
    try:
        yield
    except InputError as error:
        if error.file != str(log):
            raise
        raise InputError(error.message, file=new, remedy=error.remedy) from error


def _same(log: Path, registry: Path, index: Index, package: str) -> bool:
    """Whether a log is the package's current version, byte for byte."""
    current = newest_log(registry, index, package)
    return current is not None and Digest.of(log) == Digest.of(current)


def _version(current: Version | None, planned: Release | None) -> Version:
    if planned is not None:
        return planned.version
    assert current is not None, "a first version is always released"  # noqa: S101  # for the type checker
    return current


def _validated(log: Path, checks: Sequence[Callable[[Record], Iterable[Finding]]]) -> Validation:
    found = validate_log(log, checks=checks)
    if found.errors:
        worst = next(finding for finding in found.findings if finding.severity == "error")
        more = f", and {found.errors - 1} more errors" if found.errors > 1 else ""
        raise InputError(worst.message + more, file=log, line=worst.line or None, remedy="`tophub validate` lists all")
    return found


def _first_name(package: str, log: Path) -> str:
    """Return a name for the merged log that has the version in the new log's name."""
    name = FileName.parse(log.name)
    return log.name if name is not None and name.package == package else "merged.log"
