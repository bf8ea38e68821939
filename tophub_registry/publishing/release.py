"""Releasing: a log becomes a package's next version in a registry, for good.

Releases that happen at the same time come one after the other; what a registry's folder promises stands in
`registry`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from tophub_registry.errors import InputError, UsageError
from tophub_registry.packages.contents import Contents, examine
from tophub_registry.packages.folder import read_index
from tophub_registry.packages.index import Imported, Index, Published, moment, now
from tophub_registry.packages.version import FIRST, FileName, Version, check_package
from tophub_registry.publishing.registry import changing, put, unknown_files, write_index

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from tophub_registry.packages.digest import Digest
    from tophub_registry.records.fitness import Policy


@dataclass(frozen=True)
class Release:
    """What a release did.

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
    policy: Policy | None = None,
    time: datetime | None = None,
) -> Release:
    """Publish a log as a package's next version.

    A log called `{package}_{version}.log` gets that version, which must be greater than every published one;
    any other the next after the highest that the registry knows, v0.01 where it knows none.

    Parameters
    ----------
    package
        The package's name.
    log
        The log, gzipped or not; what is published is its plain bytes.
    registry
        The registry's folder; it is made if it is missing.
    policy
        Which records are fit; by default those that can be true.
    time
        The time of the release; now, if it is not given.

    Raises
    ------
    InputError
        The log is missing or not fit to be published (`records.fitness`), or its bytes are those of the version
        before; or the registry's index is broken.
    UsageError
        The package's name can't be one, the log is called like another package's, or its number is taken.
    EnvironmentFailure
        The registry can't be written to, or another release does not end.
    """
    log, folder, time = Path(log), Path(registry), time or now()
    wanted = _wanted(package, log)
    contents = examine(log, policy=policy, package=package)
    with changing(folder):
        done, index = _plan(package, wanted, log, contents, folder, time)
        put(log, done.path, contents.digest)
        write_index(folder, index)
    return done


def plan_release(
    package: str,
    log: str | Path,
    registry: str | Path,
    *,
    policy: Policy | None = None,
    time: datetime | None = None,
) -> Release:
    """Return what `release` would do, without doing it; the same errors are raised."""
    log = Path(log)
    wanted = _wanted(package, log)
    contents = examine(log, policy=policy, package=package)
    return _plan(package, wanted, log, contents, Path(registry), time or now())[0]


def _plan(
    package: str, wanted: Version | None, log: Path, contents: Contents, folder: Path, time: datetime
) -> tuple[Release, Index]:
    index = read_index(folder) or Index.empty(time)
    _check_new(index, package, contents.digest, log)
    strangers = unknown_files(folder, package, index.versions(package))
    version = _number(index, package, wanted, contents.digest, strangers)
    published = entry(FileName(package, version), contents, index.newest(package), time, log)
    index = index.with_version(package, version, published, time)
    return Release(package, version, folder / published.file, published, index.serial), index


def _wanted(package: str, log: Path) -> Version | None:
    """Return the version that the log's name asks for."""
    check_package(package)
    name = FileName.parse(log.name)
    if name is None:
        return None
    if name.package != package:
        raise UsageError(
            f"the log is called like one of the package {name.package!r}, not {package!r}",
            file=log,
            remedy="name the package that it is for, or rename the file",
        )
    return name.version


def _check_new(index: Index, package: str, digest: Digest, log: Path) -> None:
    """Refuse the bytes of the last version, and of the last good one."""
    versions = index.versions(package)
    for version in {max(versions, default=None), index.newest(package)} - {None}:
        if version is not None and versions[version].sha256 == digest.sha256:
            raise InputError(f"the same bytes as {package} {version}: there is nothing to release", file=log)


def _number(
    index: Index, package: str, wanted: Version | None, digest: Digest, strangers: Mapping[Version, Digest]
) -> Version:
    """Return the version that the log becomes; a stranger with the very bytes is taken over, no other is."""
    if wanted is not None:
        if strangers.get(wanted, digest) != digest:
            raise UsageError(
                f"a file of {package} {wanted} is there with other bytes, though the index does not know it",
                remedy="files are never overwritten: take the next number, or delete the file if nobody has fetched it",
            )
        return wanted
    last = max(index.versions(package), default=None)
    for version, found in strangers.items():
        if found == digest and (last is None or version > last):
            return version
    last = max([*index.versions(package), *strangers], default=None)
    return FIRST if last is None else last.next()


def entry(
    name: FileName,
    contents: Contents,
    base: Version | None,
    time: datetime,
    log: Path,
    *,
    imported: Imported | None = None,
) -> Published:
    """Return the index's entry for a log.

    Raises
    ------
    InputError
        The log says something that an index can't hold.
    """
    try:
        return Published(
            file=str(name),
            bytes=contents.digest.bytes,
            sha256=contents.digest.sha256,
            records=contents.records,
            released=moment(time),
            base=None if base is None else str(base),
            tasks=dict(contents.tasks),
            targets=dict(contents.targets),
            imported=imported,
        )
    except ValidationError as error:
        finding = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, finding["loc"]))
        raise InputError(f"the index can't hold its {place}: {finding['msg']}"[:300], file=log) from error
