"""Releasing: a log becomes a package's next version in a registry, for good.

Promised: a published file is never written again; the file is there before the index names it, so that a
crash leaves the old registry, or the old one and a file that the same release, tried again, takes over;
releases that happen at the same time come one after the other.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from filelock import FileLock, Timeout
from pydantic import ValidationError

from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.files import atomic_write
from tophub_registry.packages.digest import Digest, Meter
from tophub_registry.packages.index import INDEX_FILE, MAX_PACKAGE, Index, Published, moment, now
from tophub_registry.packages.root import clear_leftovers
from tophub_registry.packages.version import FIRST, FileName, Version, check_package
from tophub_registry.records.log import open_log, read_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

PATIENCE = 60.0
"""Seconds to wait for another release into the same registry."""


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


def release(package: str, log: str | Path, registry: str | Path, *, time: datetime | None = None) -> Release:
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
    time
        The time of the release; now, if it is not given.

    Raises
    ------
    InputError
        The log is missing, has no records, has a row that is no record or records a failed measurement, or
        its bytes are those of the version before; or the registry's index is broken.
    UsageError
        The package's name can't be one, the log is called like another package's, or its number is taken.
    EnvironmentFailure
        The registry can't be written to, or another release does not end.
    """
    check_package(package)
    time = time or now()
    log, folder = Path(log), Path(registry)
    wanted = _wanted(package, log)
    digest = _digest(log)
    contents = _contents(log)
    with _alone(folder):
        clear_leftovers(folder)
        index = read_index(folder) or Index.empty(time)
        _check_new(index, package, digest, log)
        version = _number(index, package, wanted, digest, _strangers(folder, package, index))
        newest = index.newest(package)
        published = _entry(FileName(package, version), digest, contents, newest, time, log)
        index = index.with_version(package, version, published, time)
        path = folder / published.file
        if Digest.of(path) != digest:
            _publish(log, path, digest)
        with atomic_write(folder / INDEX_FILE, overwrite=True) as stream:
            stream.write(index.to_bytes())
    return Release(package, version, path, published, index.serial)


def read_index(folder: Path) -> Index | None:
    """Read the index of a registry's folder, None where there is none.

    Raises
    ------
    InputError
        The file is no index.
    EnvironmentFailure
        It can't be read.
    """
    path = folder / INDEX_FILE
    try:
        return Index.parse(path.read_bytes(), file=path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentFailure(f"can't be read: {error.strerror or error}", file=path) from error


def _wanted(package: str, log: Path) -> Version | None:
    """Return the version that the log's name asks for."""
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


class _Contents(NamedTuple):
    records: int
    tasks: Mapping[str, int]
    targets: Mapping[str, int]


def _contents(log: Path) -> _Contents:
    """Read every row, and count."""
    tasks: Counter[str] = Counter()
    targets: Counter[str] = Counter()
    for row in read_rows(log):
        if row.record is not None:
            if not row.record.valid:
                raise InputError(
                    f"the record of a failed measurement (error {row.record.result.error_no})",
                    file=log,
                    line=row.line,
                    remedy=f"`tophub merge {log} -o NEW.log` leaves such out",
                )
            tasks[row.record.input.task] += 1
            targets[row.record.input.target] += 1
    if not tasks:
        raise InputError("there is no record in it", file=log)
    return _Contents(tasks.total(), tasks, targets)


def _digest(log: Path) -> Digest:
    meter = Meter()
    with open_log(log) as stream:
        for _ in meter.passing(stream):
            if meter.bytes > MAX_PACKAGE:
                raise InputError(f"larger than {MAX_PACKAGE} bytes", file=log)
    return meter.digest


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other releases away from a registry."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=PATIENCE)
        lock.acquire()
    except Timeout as error:
        raise EnvironmentFailure("another release into this registry does not end", file=folder) from error
    except OSError as error:
        raise EnvironmentFailure(f"can't be written to: {error.strerror or error}", file=folder) from error
    try:
        yield
    finally:
        lock.release()


def _check_new(index: Index, package: str, digest: Digest, log: Path) -> None:
    """Refuse the bytes of the last version, and of the last good one."""
    versions = index.versions(package)
    for version in {max(versions, default=None), index.newest(package)} - {None}:
        if version is not None and versions[version].sha256 == digest.sha256:
            raise InputError(f"the same bytes as {package} {version}: there is nothing to release", file=log)


def _strangers(folder: Path, package: str, index: Index) -> dict[Version, Digest]:
    """Return the files that are called like versions of the package and that the index does not know.

    A release that was cut short leaves one, and somebody may have put one there.
    """
    known = index.versions(package)
    names = (FileName.parse(path.name) for path in folder.iterdir())
    versions = sorted(name.version for name in names if name and name.package == package and name.version not in known)
    digests = {version: Digest.of(folder / str(FileName(package, version))) for version in versions}
    return {version: digest for version, digest in digests.items() if digest is not None}


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


def _entry(
    name: FileName, digest: Digest, contents: _Contents, base: Version | None, time: datetime, log: Path
) -> Published:
    try:
        return Published(
            file=str(name),
            bytes=digest.bytes,
            sha256=digest.sha256,
            records=contents.records,
            released=moment(time),
            base=None if base is None else str(base),
            tasks=dict(contents.tasks),
            targets=dict(contents.targets),
        )
    except ValidationError as error:
        finding = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, finding["loc"]))
        raise InputError(f"the index can't hold its {place}: {finding['msg']}"[:300], file=log) from error


def _publish(log: Path, path: Path, digest: Digest) -> None:
    meter = Meter()
    with open_log(log) as source, atomic_write(path) as stream:
        _copy(source, stream, meter)
        if meter.digest != digest:
            raise InputError("it changed while it was read", file=log, remedy="try again when nobody writes to it")


def _copy(source: IO[bytes], stream: IO[bytes], meter: Meter) -> None:
    for chunk in meter.passing(source):
        stream.write(chunk)
