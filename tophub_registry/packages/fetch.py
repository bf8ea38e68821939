"""Fetching: from a location into the root, each file checked against the index before it gets its name.

Promised: a file in the root is complete and has the published bytes, whatever crashes, and however many
processes fetch at once; what is already there is not fetched again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tophub_registry.errors import EnvironmentFailure
from tophub_registry.files import atomic_write, clear_leftovers
from tophub_registry.packages.digest import Digest, Meter
from tophub_registry.packages.index import INDEX_FILE, MAX_PACKAGE, Index, Notice, Resolved, freshness, now, resolve
from tophub_registry.packages.location import Folder, NotThere, read_small
from tophub_registry.packages.root import Root, taking_turns
from tophub_registry.packages.version import Reference, Version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from tophub_registry.packages.location import Location

MAX_INDEX = 1 << 24
"""The largest index that is read, in bytes."""

Progress = Callable[[str, int, int], None]
"""Called as a file arrives, with its name, the bytes that are here and the bytes that there will be, 0 where
nobody knows."""


@dataclass(frozen=True)
class Fetched:
    """One package that is in the root now.

    Attributes
    ----------
    package, version
        What it is.
    path
        Where it is.
    digest
        What the file is known by.
    status
        `downloaded`; `cached`, where it had been there before; `replaced`, where a file of that name with
        other bytes had been there.
    """

    package: str
    version: Version
    path: Path
    digest: Digest
    status: Literal["downloaded", "cached", "replaced"]


@dataclass(frozen=True)
class Fetch:
    """What a fetch did.

    Attributes
    ----------
    location
        The location's name, None where fetching is switched off.
    root
        Where the packages are.
    packages
        Every package that was asked for, in that order.
    notices
        What else the reader should know.
    """

    location: str | None
    root: Path
    packages: tuple[Fetched, ...]
    notices: tuple[Notice, ...]


def fetch(
    references: Sequence[Reference],
    location: Location | None,
    root: Root,
    *,
    index: Index | None = None,
    progress: Progress | None = None,
    time: datetime | None = None,
) -> Fetch:
    """Bring packages into the root.

    Parameters
    ----------
    references
        The packages, each at its newest version or a pinned one; none stands for all packages at their
        newest versions.
    location
        Where from; None, where fetching is switched off, fetches nothing.
    root
        Where to.
    index
        The location's index, where it was asked for already.
    progress
        Called as files arrive.
    time
        The time by which an index expires; now, if it is not given.

    Raises
    ------
    UsageError
        The registry has no such package or version; nothing was fetched.
    InputError
        The location's index is none.
    EnvironmentFailure
        The location does not answer, went back, or sends other bytes than its index says; the disk is
        full. The files that were there before are as they were.
    """
    if location is None:
        notice = Notice("switched-off", "fetching is switched off: the location is NONE", "unset TOPHUB_LOCATION")
        return Fetch(None, root.path, (), (notice,))
    index = index or ask_index(location)
    notices = [*follow_index(location, index, root, time or now())]
    if not references:
        references = [Reference(package, None) for package in sorted(index.packages) if index.newest(package)]
        notices += [
            Notice("yanked", f"every version of {package} is yanked: it is left out", f"{package}@VERSION takes one")
            for package in sorted(index.packages)
            if not index.newest(package)
        ]
    wanted = [resolve(index, reference) for reference in references]
    clear_leftovers(root.path)  # also where nothing is written
    packages = []
    for resolved in wanted:
        fetched = _fetch_one(resolved, location, root, progress)
        packages.append(fetched)
        notices += resolved.notices
        if fetched.status == "replaced":
            notices.append(Notice("damaged", f"{fetched.path} was not what {location.name} published, and is replaced"))
    return Fetch(location.name, root.path, tuple(packages), tuple(notices))


def ask_index(location: Location) -> Index:
    """Read a location's index.

    Raises
    ------
    InputError
        What it answers is no index.
    EnvironmentFailure
        It does not answer, or has no index.
    """
    try:
        data = read_small(location, INDEX_FILE, limit=MAX_INDEX)
    except NotThere as error:
        raise NotThere(
            f"no registry there: {error.message}",
            file=location.address(INDEX_FILE),
            remedy="check the location; a folder of logs becomes a registry when `tophub release` puts them into one",
        ) from error
    return Index.parse(data, file=location.address(INDEX_FILE))


def ask_or_recall(location: Location, root: Root, time: datetime) -> tuple[Index, tuple[Notice, ...]]:
    """Read a location's index; where it does not answer, take what it answered last, and say so.

    Raises
    ------
    InputError
        What it answers is no index.
    EnvironmentFailure
        It does not answer and never has; or it went back.
    """
    try:
        index = ask_index(location)
    except NotThere:
        raise
    except EnvironmentFailure as error:
        remembered = root.remembered(location)
        if remembered is None:
            raise
        return remembered, (Notice("offline", f"{error}; this is what it answered last"),)
    return index, follow_index(location, index, root, time)


def follow_index(location: Location, index: Index, root: Root, time: datetime) -> tuple[Notice, ...]:
    """Check an index against the one seen before and against the calendar.

    Raises
    ------
    EnvironmentFailure
        The location went back.
    """
    # The builtin registry changes with the installation, which its owner may well put back.
    if not (isinstance(location, Folder) and location.builtin):
        root.follow(location, index)
    return freshness(index, time)


def _fetch_one(resolved: Resolved, location: Location, root: Root, progress: Progress | None) -> Fetched:
    published = resolved.published
    path = root.file(published)
    wanted = Digest(published.bytes, published.sha256)
    found = Digest.of(path)
    if found == wanted:
        return Fetched(resolved.package, resolved.version, path, wanted, "cached")
    with taking_turns(path):
        found = Digest.of(path)  # another process may have had its turn
        if found == wanted:
            return Fetched(resolved.package, resolved.version, path, wanted, "cached")
        download(location, published.file, path, wanted=wanted, progress=progress)
    return Fetched(resolved.package, resolved.version, path, wanted, "replaced" if found else "downloaded")


def download(
    location: Location, file: str, path: Path, *, wanted: Digest | None = None, progress: Progress | None = None
) -> None:
    """Bring one file of a location to a place of its own, all or nothing.

    Parameters
    ----------
    location, file
        Where from.
    path
        Where to; an existing file is replaced.
    wanted
        What the file must be known by; None where nobody has said.
    progress
        Called as it arrives.

    Raises
    ------
    EnvironmentFailure
        The location has no such file, does not answer, or sends other bytes than are wanted, or too many; the
        disk is full.
    """
    limit = MAX_PACKAGE if wanted is None else wanted.bytes
    meter = Meter()
    with location.open(file) as chunks, atomic_write(path, overwrite=True) as stream:
        for chunk in chunks:
            meter.add(chunk)
            if meter.bytes > limit:
                break
            stream.write(chunk)
            if progress is not None:
                progress(file, meter.bytes, 0 if wanted is None else wanted.bytes)
        if wanted is not None and meter.digest != wanted:
            raise EnvironmentFailure(
                f"not the published file: {_difference(meter.digest, wanted)}",
                file=location.address(file),
                remedy="nothing was changed; try again, and if it stays so tell whoever keeps the registry",
            )
        if meter.bytes > limit:
            raise EnvironmentFailure(f"longer than {limit} bytes", file=location.address(file))


def _difference(found: Digest, wanted: Digest) -> str:
    if found.bytes > wanted.bytes:
        return f"longer than the {wanted.bytes} bytes that the index names"
    if found.bytes < wanted.bytes:
        return f"{found.bytes} bytes where the index names {wanted.bytes}"
    return f"its SHA-256 is {found.sha256}, not {wanted.sha256}"
