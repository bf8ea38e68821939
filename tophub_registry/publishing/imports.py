"""Importing: somebody's packages are taken over into one's own registry, byte for byte and under their numbers.

The source is a registry with an index, or what upstream had: nothing but files called
`{package}_{version}.log`. Rows of log version 0.1 are taken as they are. All that is asked for is there and
sound before the registry is touched; then either all of it is imported or nothing.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.packages.contents import Contents, examine
from tophub_registry.packages.digest import Digest
from tophub_registry.packages.fetch import ask_index, download
from tophub_registry.packages.folder import read_index
from tophub_registry.packages.index import Imported, Index, Notice, Published, moment, now, resolve
from tophub_registry.packages.location import Folder, NotThere
from tophub_registry.packages.version import FileName, Reference, Version
from tophub_registry.publishing.registry import changing, put, write_index
from tophub_registry.publishing.release import entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from tophub_registry.packages.fetch import Progress
    from tophub_registry.packages.location import Location


_SHOWN = 5


@dataclass(frozen=True)
class TakenOver:
    """One version that the registry has now.

    Attributes
    ----------
    package, version
        What it is.
    path
        The file in the registry.
    published
        Its entry in the index.
    status
        `imported`; `present`, where the very bytes had been there before.
    """

    package: str
    version: Version
    path: Path
    published: Published
    status: Literal["imported", "present"]


@dataclass(frozen=True)
class Import:
    """What an import did.

    Attributes
    ----------
    source
        The location's name.
    registry
        The registry's folder.
    versions
        By package and number.
    serial
        The index's serial now.
    notices
        What else the reader should know.
    """

    source: str
    registry: Path
    versions: tuple[TakenOver, ...]
    serial: int
    notices: tuple[Notice, ...]


def import_packages(
    references: Sequence[Reference],
    source: Location,
    registry: str | Path,
    *,
    progress: Progress | None = None,
    time: datetime | None = None,
) -> Import:
    """Take over packages.

    Parameters
    ----------
    references
        The versions, or packages with all of their versions; none stands for all that the source has. On the
        web without an index, every version must be named.
    source
        Where from.
    registry
        The registry's folder; it is made if it is missing.
    progress
        Called as files arrive.
    time
        The time of the import; now, if it is not given.

    Raises
    ------
    UsageError
        The source has no such package or version, or a version is published here with other bytes.
    InputError
        A log has a row that is no record, or records a failed measurement; an index is broken.
    EnvironmentFailure
        The source does not answer, or sends other bytes than its index says; the registry can't be written to.
    """
    folder, time = Path(registry), time or now()
    theirs = _their_index(source)
    wanted = _choose(theirs, references, source)
    skipped = tuple(_skipped(source.path)) if theirs is None and isinstance(source, Folder) and not references else ()
    with tempfile.TemporaryDirectory(prefix="tophub-import-") as scratch:
        logs = [_get(one, source, Path(scratch), progress) for one in wanted]
        with changing(folder):
            index = read_index(folder) or Index.empty(time)
            before = index
            for log in logs:
                _check_place(folder / log.path.name, log)
                index = _with_log(index, log, Imported(source=source.name, at=moment(time)), time)
            for log in logs:
                put(log.path, folder / log.path.name, log.contents.digest)
            if index != before:
                write_index(folder, index)
    versions = tuple(
        TakenOver(
            log.wanted.package,
            log.wanted.version,
            folder / log.path.name,
            index.versions(log.wanted.package)[log.wanted.version],
            "present" if log.wanted.version in before.versions(log.wanted.package) else "imported",
        )
        for log in logs
    )
    return Import(source.name, folder, versions, index.serial, (*_old_rows(logs), *skipped))


class _Wanted(NamedTuple):
    """A version to be taken over, and what the source's index says of it, if there is one."""

    package: str
    version: Version
    published: Published | None

    @property
    def file(self) -> str:
        return str(FileName(self.package, self.version))


class _Log(NamedTuple):
    """A version that is here, and sound."""

    wanted: _Wanted
    path: Path
    contents: Contents


def _their_index(source: Location) -> Index | None:
    try:
        return ask_index(source)
    except NotThere:
        if isinstance(source, Folder) and not source.path.is_dir():
            raise
        return None


def _choose(index: Index | None, references: Sequence[Reference], source: Location) -> list[_Wanted]:
    """Return what was asked for, by package and number, each once."""
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
        raise UsageError("there is no log called PACKAGE_vN.NN.log in it", file=source.path)
    for reference in references or [Reference(package, None) for package in {name.package for name in names}]:
        package, version = reference
        found = [name for name in names if name.package == package and version in (None, name.version)]
        if not found:
            raise UsageError(f"there is no log of {reference} in it", file=source.path)
        yield from (_Wanted(*name, None) for name in found)


def _skipped(folder: Path) -> Iterator[Notice]:
    """Say which files of a folder without an index are no package's, by their names."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and FileName.parse(path.name) is None)
    if names:
        more = f" and {len(names) - _SHOWN} more" if names[_SHOWN:] else ""
        yield Notice(
            "skipped",
            f"skipped, not called PACKAGE_vN.NN.log: {', '.join(names[:_SHOWN])}{more}",
            "rename a file to import it",
        )


def _named(references: Sequence[Reference], source: Location) -> Iterator[_Wanted]:
    if not references or any(reference.version is None for reference in references):
        raise UsageError(
            "there is no index.json, so nobody can tell what there is",
            file=source.name,
            remedy="name the packages with their versions: cuda@v0.10 llvm@v0.04",
        )
    return (_Wanted(package, version, None) for package, version in references if version is not None)


def _get(wanted: _Wanted, source: Location, scratch: Path, progress: Progress | None) -> _Log:
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
            f"{log.wanted.package} {log.wanted.version} is here with other bytes",
            file=path,
            remedy="a published version never changes; a registry of its own can hold theirs",
        )


def _with_log(index: Index, log: _Log, imported: Imported, time: datetime) -> Index:
    package, version, theirs = log.wanted
    versions = index.versions(package)
    if version in versions:
        if versions[version].sha256 == log.contents.digest.sha256:
            return index
        raise UsageError(f"{package} {version} is published here with other bytes", file=log.path.name)
    published = entry(
        FileName(package, version), log.contents, _base(index, log.wanted), time, log.path, imported=imported
    )
    if theirs is not None:
        published = published.model_copy(update={"released": theirs.released, "yanked": theirs.yanked})
    return index.with_version(package, version, published, time)


def _base(index: Index, wanted: _Wanted) -> Version | None:
    """Return the version that the source says it follows, if it is here; else the last good one before it."""
    package, version, theirs = wanted
    versions = index.versions(package)
    if theirs is not None and theirs.base is not None and Version.parse(theirs.base) in versions:
        return Version.parse(theirs.base)
    earlier = [number for number, published in versions.items() if number < version and published.yanked is None]
    return max(earlier, default=None)


def _old_rows(logs: Sequence[_Log]) -> Iterator[Notice]:
    """Say which logs have rows that most clients do not read."""
    names = [f"{log.wanted.package} {log.wanted.version}" for log in logs if log.contents.old_rows]
    if names:
        yield Notice(
            "old-rows",
            f"of log version 0.1, which TVM since 0.7 passes over: {', '.join(names)}",
            "`tophub convert` makes 0.2 of it, to be released under a number of its own",
        )
