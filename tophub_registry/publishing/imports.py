"""Importing packages into a registry, byte for byte and with their version numbers.

The source is a registry with an index, or only files named `{package}_{version}.log`, as upstream's. Rows of log
version 0.1 are kept as they are. Everything is downloaded and checked before the registry is changed; then either
all of it is imported or nothing.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.packages.contents import Contents, examine
from tophub_registry.packages.digest import Digest
from tophub_registry.packages.download import download
from tophub_registry.packages.follow import ask_index
from tophub_registry.packages.index import Imported, Index, Notice, Published, iso_time, now, resolve
from tophub_registry.packages.location import Folder, NotThere
from tophub_registry.packages.trust.ask import Asked, ask
from tophub_registry.packages.version import FileName, Reference, Version
from tophub_registry.publishing.metadata import latest_index
from tophub_registry.publishing.registry import changing, put, write_index
from tophub_registry.publishing.release import entry
from tophub_registry.records.lookup import backend_of
from tophub_registry.records.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from tophub_registry.packages.download import ProgressCallback
    from tophub_registry.packages.location import Location
    from tophub_registry.packages.root import Root


_SHOWN = 5


@dataclass(frozen=True)
class ImportedVersion:
    """A version that the registry has now.

    Attributes
    ----------
    package, version
        Which one.
    path
        The file in the registry.
    published
        Its entry in the index.
    status
        `imported`, or `present` if the registry had the same bytes before.
    """

    package: str
    version: Version
    path: Path
    published: Published
    status: Literal["imported", "present"]


@dataclass(frozen=True)
class Import:
    """The result of an import.

    Attributes
    ----------
    source
        The location's name.
    registry
        The registry's folder.
    versions
        Sorted by package and version.
    serial
        The index's serial now.
    notices
        What else the user should know.
    """

    source: str
    registry: Path
    versions: tuple[ImportedVersion, ...]
    serial: int
    notices: tuple[Notice, ...]


def import_packages(
    references: Sequence[Reference],
    source: Location,
    registry: str | Path,
    *,
    progress: ProgressCallback | None = None,
    time: datetime | None = None,
    root: Root | None = None,
) -> Import:
    """Import packages.

    Parameters
    ----------
    references
        Versions, or packages with all of their versions; if empty, everything that the source has. From the
        web without an index, every version must be given.
    source
        Where from.
    registry
        The registry's folder; it is created if it is missing.
    progress
        Called as files arrive.
    time
        The time of the import; by default now.
    root
        Where is kept what is known of a signed source; without it, signatures are not verified.

    Raises
    ------
    Untrusted
        The source is not signed as it must be.
    UsageError
        The source has no such package or version, or the registry has a version with other bytes.
    InputError
        A log has a row that is not a record, or a failed measurement; or an index is invalid.
    EnvironmentFailure
        The source does not respond, or sends other bytes than its index lists; or the registry can't be
        written to.
    """
    folder, time = Path(registry), time or now()
    asked = _their_index(source, root, time)
    theirs = None if asked is None else asked.index
    wanted = _choose(theirs, references, source)
    if asked is not None and asked.signed is not None:
        for one in wanted:
            if one.published is not None:
                asked.signed.check(one.published)
    told = () if asked is None else asked.notices
    skipped = tuple(_skipped(source.path)) if theirs is None and isinstance(source, Folder) and not references else ()
    with tempfile.TemporaryDirectory(prefix="tophub-import-") as scratch:
        logs = [_get(one, source, Path(scratch), progress) for one in wanted]
        with changing(folder):
            there = latest_index(folder)
            before = index = there or Index.empty(time)
            for log in logs:
                _check_place(folder / log.path.name, log)
                index = _with_log(index, log, Imported(source=source.name, at=iso_time(time)), time)
            for log in logs:
                put(log.path, folder / log.path.name, log.contents.digest)
            if index != before:
                write_index(folder, index, before=there)
    versions = tuple(
        ImportedVersion(
            log.wanted.package,
            log.wanted.version,
            folder / log.path.name,
            index.versions(log.wanted.package)[log.wanted.version],
            "present" if log.wanted.version in before.versions(log.wanted.package) else "imported",
        )
        for log in logs
    )
    return Import(source.name, folder, versions, index.serial, (*told, *_old_rows(logs), *_misnamed(logs), *skipped))


class _Wanted(NamedTuple):
    """A version to import, and its entry in the source's index, if there is one."""

    package: str
    version: Version
    published: Published | None

    @property
    def file(self) -> str:
        return str(FileName(self.package, self.version))


class _Log(NamedTuple):
    """A version that was downloaded and checked."""

    wanted: _Wanted
    path: Path
    contents: Contents


def _their_index(source: Location, root: Root | None, time: datetime) -> Asked | None:
    try:
        return Asked(ask_index(source)) if root is None else ask(source, root, time)
    except NotThere:
        if isinstance(source, Folder) and not source.path.is_dir():
            raise
        return None


def _choose(index: Index | None, references: Sequence[Reference], source: Location) -> list[_Wanted]:
    """Return the wanted versions, sorted by package and version, without duplicates."""
    if index is not None:
        wanted = _of_index(index, references)
    elif isinstance(source, Folder):
        wanted = _of_folder(source, references)
    else:
        wanted = _named(references, source)
    return sorted({(one.package, one.version): one for one in wanted}.values(), key=lambda one: one[:2])


def _of_index(index: Index, references: Sequence[Reference]) -> Iterator[_Wanted]:
    for reference in references or [Reference(package, None) for package in index.packages]:
        package, version = reference
        versions = index.versions(package)
        if version is None and versions:
            yield from (_Wanted(package, number, published) for number, published in versions.items())
        else:
            yield _Wanted(*resolve(index, reference)[:3])


def _of_folder(source: Folder, references: Sequence[Reference]) -> Iterator[_Wanted]:
    try:
        names = [name for path in source.path.iterdir() if (name := FileName.parse(path.name))]
    except OSError as error:
        raise EnvironmentFailure(f"can't be read: {error.strerror or error}", file=source.path) from error
    if not names:
        raise UsageError("the folder has no log named PACKAGE_vN.NN.log", file=source.path)
    for reference in references or [Reference(package, None) for package in {name.package for name in names}]:
        package, version = reference
        found = [name for name in names if name.package == package and version in (None, name.version)]
        if not found:
            raise UsageError(f"the folder has no log of {reference}", file=source.path)
        yield from (_Wanted(*name, None) for name in found)


def _skipped(folder: Path) -> Iterator[Notice]:
    """Say which files of a folder are not imported, because of their names."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and FileName.parse(path.name) is None)
    if names:
        more = f" and {len(names) - _SHOWN} more" if names[_SHOWN:] else ""
        yield Notice(
            "skipped",
            f"skipped, not named PACKAGE_vN.NN.log: {', '.join(names[:_SHOWN])}{more}",
            "rename a file to import it",
        )


def _named(references: Sequence[Reference], source: Location) -> Iterator[_Wanted]:
    if not references or any(reference.version is None for reference in references):
        raise UsageError(
            "there is no index.json that lists the packages",
            file=source.name,
            remedy="give packages with versions: cuda@v0.10 llvm@v0.04",
        )
    return (_Wanted(package, version, None) for package, version in references if version is not None)


def _get(wanted: _Wanted, source: Location, scratch: Path, progress: ProgressCallback | None) -> _Log:
    path = scratch / wanted.file
    theirs = wanted.published
    digest = None if theirs is None else theirs.digest
    download(source, wanted.file, path, wanted=digest, progress=progress)
    try:
        return _Log(wanted, path, examine(path, old_rows=True))
    except InputError as error:
        raise InputError(
            error.message, file=source.address(wanted.file), line=error.line, remedy=error.remedy
        ) from error


def _check_place(path: Path, log: _Log) -> None:
    if Digest.of(path) not in (None, log.contents.digest):
        raise UsageError(
            f"the registry has {log.wanted.package} {log.wanted.version} with other bytes",
            file=path,
            remedy="a published version never changes; import into another registry",
        )


def _with_log(index: Index, log: _Log, imported: Imported, time: datetime) -> Index:
    package, version, theirs = log.wanted
    versions = index.versions(package)
    if version in versions:
        if versions[version].sha256 == log.contents.digest.sha256:
            return index
        raise UsageError(f"the registry has published another {package} {version}", file=log.path.name)
    published = entry(
        FileName(package, version), log.contents, _base(index, log.wanted), time, log.path, imported=imported
    )
    if theirs is not None:
        published = published.model_copy(update={"released": theirs.released, "yanked": theirs.yanked})
    return index.with_version(package, version, published, time)


def _base(index: Index, wanted: _Wanted) -> Version | None:
    """Return the source's base version, if the registry has it; else the one before that is not yanked."""
    package, version, theirs = wanted
    versions = index.versions(package)
    if theirs is not None and theirs.base is not None and Version.parse(theirs.base) in versions:
        return Version.parse(theirs.base)
    earlier = [number for number, published in versions.items() if number < version and published.yanked is None]
    return max(earlier, default=None)


def _old_rows(logs: Sequence[_Log]) -> Iterator[Notice]:
    """Say which logs have rows that most clients skip."""
    names = [f"{log.wanted.package} {log.wanted.version}" for log in logs if log.contents.old_rows]
    if names:
        yield Notice(
            "old-rows",
            f"rows of log version 0.1, which TVM 0.7 and later skip: {', '.join(names)}",
            "`tophub convert` makes a log of version 0.2, to be released as a new version",
        )


def _misnamed(logs: Sequence[_Log]) -> Iterator[Notice]:
    """Say which logs have no record that clients would look for in them."""
    for log in logs:
        packages = {backend_of(Target.parse(target)) for target in log.contents.targets}
        if log.wanted.package not in packages:
            yield Notice(
                "misnamed",
                f"{log.wanted.package} {log.wanted.version} has only records of {', '.join(sorted(packages))}",
                "clients find nothing in it; rename the file, and import it into another registry",
            )
