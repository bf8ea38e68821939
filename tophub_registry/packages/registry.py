"""A registry's folder: its index, and the files that the index names.

Promised: whatever changes a registry does so alone; a file is there before the index names it, so that a
crash leaves the old registry, or the old one and a file that the same command, tried again, takes over; a
published file is never written again.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.files import atomic_write
from tophub_registry.packages.digest import Digest, Meter
from tophub_registry.packages.index import INDEX_FILE, Index
from tophub_registry.packages.root import clear_leftovers
from tophub_registry.packages.version import FileName
from tophub_registry.records.log import open_log

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tophub_registry.packages.version import Version

PATIENCE = 60.0
"""Seconds to wait for another change of the same registry."""


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


def known_index(folder: Path) -> Index:
    """Read the index of a folder that must be a registry.

    Raises
    ------
    InputError
        The file is no index.
    UsageError
        There is none.
    EnvironmentFailure
        It can't be read.
    """
    index = read_index(folder)
    if index is None:
        raise UsageError("no registry there: it has no index.json", file=folder, remedy="check --registry")
    return index


def write_index(folder: Path, index: Index) -> None:
    """Replace a registry's index as a whole."""
    with atomic_write(folder / INDEX_FILE, overwrite=True) as stream:
        stream.write(index.to_bytes())


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Keep other changes away from a registry; its folder is made if it is missing.

    Raises
    ------
    EnvironmentFailure
        Another change does not end, or the folder can't be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=PATIENCE)
        lock.acquire()
    except Timeout as error:
        raise EnvironmentFailure("another change of this registry does not end", file=folder) from error
    except OSError as error:
        raise EnvironmentFailure(f"can't be written to: {error.strerror or error}", file=folder) from error
    try:
        clear_leftovers(folder)
        yield
    finally:
        lock.release()


def newest_log(folder: Path, index: Index, package: str) -> Path | None:
    """Return the file of a package's newest version that is not yanked, None where there is none.

    Raises
    ------
    InputError
        The file is not what was published.
    """
    newest = index.newest(package)
    if newest is None:
        return None
    published = index.versions(package)[newest]
    path = folder / published.file
    if Digest.of(path) != (published.bytes, published.sha256):
        raise InputError("not what the index says was published", file=path, remedy="restore the published file")
    return path


def newest_here(folder: Path, index: Index | None, package: str, *, strangers: bool = True) -> Path | None:
    """Return a package's newest good file in a folder, None without one.

    A version that the index knows is good when it is not yanked and its bytes are the published ones.

    Parameters
    ----------
    strangers
        Whether files that the index does not know count: an AutoTVM client may have fetched them.
    """
    known = {} if index is None else index.versions(package)

    def good(version: Version, path: Path) -> bool:
        published = known.get(version)
        if published is None:
            return strangers
        return published.yanked is None and Digest.of(path) == (published.bytes, published.sha256)

    named = [(name.version, path) for path in folder.glob(f"{package}_v*.log") if (name := FileName.parse(path.name))]
    exact = [(version, path) for version, path in named if path.name == str(FileName(package, version))]
    newest_first = sorted(exact, reverse=True)
    return next((path for version, path in newest_first if good(version, path)), None)


def unknown_files(folder: Path, package: str, known: Mapping[Version, object]) -> dict[Version, Digest]:
    """Return the files that are called like versions of a package and that are not among the known ones.

    A change that was cut short leaves one, and somebody may have put one there.
    """
    try:
        names = [FileName.parse(path.name) for path in folder.iterdir()]
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise EnvironmentFailure(f"can't be read: {error.strerror or error}", file=folder) from error
    versions = sorted(name.version for name in names if name and name.package == package and name.version not in known)
    digests = {version: Digest.of(folder / str(FileName(package, version))) for version in versions}
    return {version: digest for version, digest in digests.items() if digest is not None}


def put(log: Path, path: Path, digest: Digest) -> None:
    """Put a log's plain bytes into a registry, unless they are there already.

    Raises
    ------
    InputError
        The log is not what it was when its digest was taken.
    UsageError
        Another file has that name.
    EnvironmentFailure
        The registry can't be written to.
    """
    if Digest.of(path) == digest:
        return
    meter = Meter()
    with open_log(log) as source, atomic_write(path) as stream:
        for chunk in meter.passing(source):
            stream.write(chunk)
        if meter.digest != digest:
            raise InputError("it changed while it was read", file=log, remedy="try again when nobody writes to it")
