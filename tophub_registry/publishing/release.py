"""Releasing: a log becomes a package's next version in a registry, for good.

Only one release at a time changes a registry; see `registry` for what a registry's folder guarantees.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from tophub_registry.errors import InputError, UsageError
from tophub_registry.packages.contents import Contents, examine
from tophub_registry.packages.digest import Digest
from tophub_registry.packages.index import MAX_MODEL, Attached, Imported, Index, Published, iso_time, now
from tophub_registry.packages.version import FIRST, FileName, Version, check_package
from tophub_registry.publishing.metadata import latest_index
from tophub_registry.publishing.registry import changing, put, unknown_files, write_index

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from tophub_registry.records.fitness import Policy


@dataclass(frozen=True)
class Release:
    """The result of a release.

    Attributes
    ----------
    package, version
        What was published.
    path
        The published file.
    published
        Its entry in the index.
    serial
        The index's new serial.
    """

    package: str
    version: Version
    path: Path
    published: Published
    serial: int


def release(
    package: str,
    log: str | Path,
    registry: str | Path,
    *,
    model: str | Path | None = None,
    policy: Policy | None = None,
    time: datetime | None = None,
) -> Release:
    """Publish a log as a package's next version.

    A log named `{package}_{version}.log` gets that version, which must be greater than all published ones. Any
    other log gets the next one after the registry's highest, or v0.01 if it has none.

    Parameters
    ----------
    package
        The package's name.
    log
        The log, gzipped or not; it is published unzipped.
    registry
        The registry's folder; it is created if it is missing.
    model
        A cost model to publish with it.
    policy
        Which records are fit; by default all that are plausible.
    time
        The time of the release; by default now.

    Raises
    ------
    InputError
        The log is missing or not fit to be published (`records.fitness`), or is the same as the previous
        version; or the registry's index is invalid.
    UsageError
        The package name is invalid, the log is named like another package's, or its version is taken.
    EnvironmentFailure
        The registry can't be written to, or another process keeps it locked.
    """
    log, folder, time = Path(log), Path(registry), time or now()
    wanted = _wanted(package, log)
    contents = examine(log, policy=policy, package=package)
    with changing(folder):
        before = latest_index(folder)
        done, index = _plan(package, wanted, log, contents, before, folder, time, model)
        put(log, done.path, contents.digest)
        if model is not None and done.published.model is not None:
            put(Path(model), folder / done.published.model.file, done.published.model.digest)
        write_index(folder, index, before=before)
    return done


def plan_release(
    package: str,
    log: str | Path,
    registry: str | Path,
    *,
    model: str | Path | None = None,
    policy: Policy | None = None,
    time: datetime | None = None,
) -> Release:
    """Return what `release` would do, without doing it; it raises the same errors."""
    log = Path(log)
    wanted = _wanted(package, log)
    contents = examine(log, policy=policy, package=package)
    folder = Path(registry)
    return _plan(package, wanted, log, contents, latest_index(folder), folder, time or now(), model)[0]


def _plan(  # what `release` is given, and what was found
    package: str,
    wanted: Version | None,
    log: Path,
    contents: Contents,
    before: Index | None,
    folder: Path,
    time: datetime,
    model: str | Path | None,
) -> tuple[Release, Index]:
    index = before or Index.empty(time)
    _check_new(index, package, contents.digest, log)
    unlisted = unknown_files(folder, package, index.versions(package))
    version = _number(index, package, wanted, contents.digest, unlisted)
    name = FileName(package, version)
    attached = None if model is None else _attached(Path(model), name)
    published = entry(name, contents, index.newest(package), time, log, model=attached)
    index = index.with_version(package, version, published, time)
    return Release(package, version, folder / published.file, published, index.serial), index


def _attached(model: Path, name: FileName) -> Attached:
    """Return the index's entry for a cost model; InputError if there is no such file, or it is too large."""
    digest = Digest.of(model)
    if digest is None:
        raise InputError("no such file", file=model, remedy="`tophub learn` makes a cost model")
    if not 0 < digest.bytes <= MAX_MODEL:
        raise InputError(f"{digest.bytes} bytes are no cost model: it has up to {MAX_MODEL}", file=model)
    return Attached(file=name.model, bytes=digest.bytes, sha256=digest.sha256)


def _wanted(package: str, log: Path) -> Version | None:
    """Return the version that the log's name gives, if any."""
    check_package(package)
    name = FileName.parse(log.name)
    if name is None:
        return None
    if name.package != package:
        raise UsageError(
            f"the log is named like one of the package {name.package!r}, not {package!r}",
            file=log,
            remedy="give its package, or rename the file",
        )
    return name.version


def _check_new(index: Index, package: str, digest: Digest, log: Path) -> None:
    """Refuse the same bytes as in the latest version, or in the newest one that is not yanked."""
    versions = index.versions(package)
    for version in {max(versions, default=None), index.newest(package)} - {None}:
        if version is not None and versions[version].sha256 == digest.sha256:
            raise InputError(f"the same bytes as {package} {version}: nothing to release", file=log)


def _number(
    index: Index, package: str, wanted: Version | None, digest: Digest, unlisted: Mapping[Version, Digest]
) -> Version:
    """Return the version that the log becomes: an unlisted file's if it has the same bytes, else the next free one."""
    if wanted is not None:
        if unlisted.get(wanted, digest) != digest:
            raise UsageError(
                f"the registry has a file of {package} {wanted} with other bytes, which its index does not list",
                remedy="files are never overwritten: use the next version, or delete the file if nobody has fetched it",
            )
        return wanted
    last = max(index.versions(package), default=None)
    for version, found in unlisted.items():
        if found == digest and (last is None or version > last):
            return version
    last = max([*index.versions(package), *unlisted], default=None)
    return FIRST if last is None else last.next()


def entry(
    name: FileName,
    contents: Contents,
    base: Version | None,
    time: datetime,
    log: Path,
    *,
    imported: Imported | None = None,
    model: Attached | None = None,
) -> Published:
    """Return the index's entry for a log.

    Raises
    ------
    InputError
        The index can't hold one of the log's values.
    """
    try:
        return Published(
            file=str(name),
            bytes=contents.digest.bytes,
            sha256=contents.digest.sha256,
            records=contents.records,
            released=iso_time(time),
            base=None if base is None else str(base),
            tasks=dict(contents.tasks),
            targets=dict(contents.targets),
            imported=imported,
            model=model,
        )
    except ValidationError as error:
        finding = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, finding["loc"]))
        raise InputError(f"the index can't hold the log's {place}: {finding['msg']}"[:300], file=log) from error
