"""Fetching: from a location into the root, each file checked against the index before it gets its name.

Guarantees: a file in the root is complete and has the published bytes, whatever crashes and however many
processes fetch at once; what is already there is not fetched again; and another registry's file of the same
name is neither lost nor mistaken for this one's (`packages.root`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tophub_registry.errors import EnvironmentFailure, UsageError
from tophub_registry.files import atomic_write, clear_leftovers, make_folders
from tophub_registry.packages.digest import Digest, Meter
from tophub_registry.packages.folder import beside, is_log, newest_here, published_file
from tophub_registry.packages.index import INDEX_FILE, MAX_PACKAGE, Index, Notice, Resolved, freshness, now, resolve
from tophub_registry.packages.location import Folder, NotThere
from tophub_registry.packages.root import Root, taking_turns
from tophub_registry.packages.trust.ask import Asked, ask, check_models, read_index, signed_of
from tophub_registry.packages.trust.policy import Expired, Untrusted
from tophub_registry.packages.trust.state import Kept
from tophub_registry.packages.version import Reference, Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from tophub_registry.packages.folder import Listed
    from tophub_registry.packages.location import Location
    from tophub_registry.packages.trust.state import Signed

ProgressCallback = Callable[[str, int, int], None]
"""Called as a file arrives, with its name, the bytes received and the total, 0 if unknown."""


Status = Literal["downloaded", "cached", "replaced"]

_CACHED: Status = "cached"


@dataclass(frozen=True)
class Fetched:
    """A package that is in the root now.

    Attributes
    ----------
    package, version
        Which one.
    path
        Its file.
    digest
        The file's size and hash.
    status
        `downloaded`, `cached` if it was there already, or `replaced` if a damaged file was there.
    """

    package: str
    version: Version
    path: Path
    digest: Digest
    status: Status


@dataclass(frozen=True)
class Fetch:
    """What a fetch did.

    Attributes
    ----------
    location
        The location's name, None if fetching is switched off.
    root
        Where the packages are.
    packages
        The requested packages, in order.
    notices
        What else the user should know.
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
    progress: ProgressCallback | None = None,
    time: datetime | None = None,
) -> Fetch:
    """Fetch packages into the root.

    Parameters
    ----------
    references
        The packages, each at its newest version or a pinned one; if empty, all packages at their newest
        versions.
    location
        Where from; None, if fetching is switched off, fetches nothing.
    root
        Where to.
    index
        The location's index, if it was read already.
    progress
        Called as files arrive.
    time
        The time at which an index may have expired; by default now.

    Raises
    ------
    UsageError
        The registry has no such package or version; nothing was fetched.
    InputError
        index.json is invalid.
    EnvironmentFailure
        The location does not respond, went back, or sends other bytes than its index lists; or the disk is
        full. The files that were there before are unchanged.
    """
    if location is None:
        notice = Notice("switched-off", "fetching is switched off: the location is NONE", "unset TOPHUB_LOCATION")
        return Fetch(None, root.path, (), (notice,))
    time = time or now()
    asked = ask(location, root, time) if index is None else Asked(index, signed_of(location, root, index, time))
    index, signed = asked.index, asked.signed
    notices = [*asked.notices, *follow_index(location, index, root, time, signed=signed is not None)]
    everything = not references
    if not references:
        references = [Reference(package, None) for package in sorted(index.packages) if index.newest(package)]
        notices += [
            Notice("yanked", f"every version of {package} is yanked: it is not fetched", f"{package}@VERSION takes one")
            for package in sorted(index.packages)
            if not index.newest(package)
        ]
    wanted = [resolve(index, reference) for reference in references]
    if signed is not None:
        wanted, refused = _signed_ones(wanted, signed, skip=everything)
        notices += refused
    clear_leftovers(root.path)  # also where nothing is written
    packages = []
    for resolved in wanted:
        fetched, told = fetch_version(*resolved[:3], location, root, progress, signed)
        packages.append(fetched)
        notices += [*resolved.notices, *told]
    newest = [package for package, version in references if version is None]
    notices += newer_here(location, index, root, newest)
    return Fetch(location.name, root.path, tuple(packages), tuple(notices))


def _name_taken(fetched: Fetched, location: Location, root: Root) -> Notice:
    path = root.path / fetched.path.name
    origin = root.origin(path)
    whose = f"comes from {origin.location}" if origin else f"is not from {location.name}"
    return Notice(
        "name-taken",
        f"{path} {whose} and is kept; the {fetched.package} {fetched.version} of {location.name} is {fetched.path}",
        "AutoTVM clients read the first; to give them the other, delete the first and fetch again",
    )


def ask_index(location: Location) -> Index:
    """Read a location's index, signed or not, without verifying it.

    Raises
    ------
    InputError
        index.json is invalid.
    EnvironmentFailure
        The location does not respond, or has no index.
    """
    return Index.parse(read_index(location), file=location.address(INDEX_FILE))


def ask_or_recall(location: Location, root: Root, time: datetime) -> tuple[Index, tuple[Notice, ...]]:
    """Read a location's index; if it does not respond, return the last one that it served, with a notice.

    Raises
    ------
    InputError
        index.json is invalid.
    EnvironmentFailure
        The location does not respond and no index of it is known; or it went back.
    """
    try:
        asked = ask(location, root, time)
    except EnvironmentFailure as error:
        remembered = root.remembered(location)
        refused = isinstance(error, (NotThere, Untrusted)) and not isinstance(error, Expired)
        if remembered is None or refused:
            raise
        return remembered, (Notice("offline", f"{error}; using its last known index"),)
    notices = follow_index(location, asked.index, root, time, signed=asked.signed is not None)
    return asked.index, (*asked.notices, *notices)


def follow_index(
    location: Location, index: Index, root: Root, time: datetime, *, signed: bool = False
) -> tuple[Notice, ...]:
    """Check an index against the last one of its location, and whether it has expired.

    The signatures of a signed registry say both already.

    Raises
    ------
    EnvironmentFailure
        The location went back.
    """
    # The builtin registry changes with the installation, which may well be downgraded.
    if isinstance(location, Folder) and location.builtin:
        return freshness(index, time)
    if root.trust.insecure and Kept.of(root.path, location).anchor is not None:
        return freshness(index, time)  # what was taken unverified is not what is known of a signed registry
    if signed:
        root.remember(location, index)
        return ()
    return (*root.follow(location, index), *freshness(index, time))


def newer_here(location: Location, index: Index, root: Root, packages: Iterable[str]) -> Iterator[Notice]:
    """Yield a notice for each package of which the root has a newer version than a location."""
    for package in packages:
        offered, here = index.newest(package), newest_here(root.path, index, package)
        if here is None or (offered is not None and here.version <= offered):
            continue
        origin = root.origin(here.path)
        if origin is not None and origin.published.yanked is not None:
            continue
        has = f"has {package} {offered}" if offered else f"has no {package}"
        newer = f"the newer {here.version}" if offered else f"{package} {here.version}"
        whose = f" from {origin.location}" if origin else ""
        remedy = f"TOPHUB_LOCATION={origin.location}" if origin else f"`--log {package}@{here.version}`"
        yield Notice(
            "newer-here",
            f"{location.name}, the location in use, {has}; {root.path} has {newer}{whose}",
            f"{remedy} uses it",
        )


def _signed_ones(
    wanted: Sequence[Resolved], signed: Signed, *, skip: bool
) -> tuple[list[Resolved], tuple[Notice, ...]]:
    """Return the versions whose files are signed; Untrusted for another one, or a notice if it may be skipped."""
    checked = [(each, signed.why_refused(each.published)) for each in wanted]
    errors = [error for _, error in checked if error is not None]
    if errors and not skip:
        raise errors[0]
    notices = tuple(Notice("not-signed", f"{error}; it is not fetched") for error in errors)
    return [each for each, error in checked if error is None], notices


def fetch_version(
    package: str,
    version: Version,
    published: Listed,
    location: Location,
    root: Root,
    progress: ProgressCallback | None,
    signed: Signed | None = None,
) -> tuple[Fetched, list[Notice]]:
    """Fetch one version with its cost model, unless it is in the root; return it, and what the user should know.

    Parameters
    ----------
    signed
        What its registry has signed; None if it is unsigned, or if a lock has the bytes.

    Raises
    ------
    EnvironmentFailure
        See `download`.
    Untrusted
        It is not signed, or has records of devices that its signer may not sign for.
    """
    models = None if signed is None else signed.check(published).models
    path, status = _kept(root, published), _CACHED
    with _of_devices(models, published, path, location, progress) as source:
        if path is None:
            with taking_turns(root.file(published)) as alone:
                path, status = _bring(published, source, root, progress, alone=alone)
    fetched = Fetched(package, version, path, published.digest, status)
    notices = [*_bring_model(published, path, location, progress)]
    if status == "replaced":
        notices.append(Notice("damaged", f"{path} was damaged and has been replaced"))
    if path != root.file(published):
        notices.append(_name_taken(fetched, location, root))
    return fetched, notices


@contextmanager
def _of_devices(
    models: tuple[str, ...] | None,
    published: Listed,
    here: Path | None,
    location: Location,
    progress: ProgressCallback | None,
) -> Iterator[Location]:
    """Check that a version has only records of these devices, before it gets its name; yield where it is."""
    if models is None:
        yield location
        return
    with tempfile.TemporaryDirectory(prefix="tophub-fetch-") as scratch:
        path = here or Path(scratch, published.file)
        if here is None:
            download(location, published.file, path, wanted=published.digest, progress=progress)
        check_models(path, models, location.address(published.file))
        yield Folder(path.parent)


def _bring_model(
    published: Listed, log: Path, location: Location, progress: ProgressCallback | None
) -> Iterator[Notice]:
    """Fetch a version's cost model beside its log, and yield a notice if that fails: a log is good without it."""
    if (model := published.model) is None or Digest.of(path := log.with_name(model.file)) == model.digest:
        return
    try:
        with taking_turns(path):
            download(location, model.file, path, wanted=model.digest, progress=progress)
    except EnvironmentFailure as error:
        yield Notice("no-model", f"{error}; the log is used without its cost model")


def _kept(root: Root, published: Listed) -> Path | None:
    """Return the root's file of a version; None if there is none, or if its proper name is free again."""
    path = published_file(root.path, published)
    return path if path is None or root.file(published).exists() else None


def _bring(
    published: Listed, location: Location, root: Root, progress: ProgressCallback | None, *, alone: bool
) -> tuple[Path, Status]:
    """Fetch a version to its proper name, or beside another registry's file that has this name."""
    if (kept := _kept(root, published)) is not None:  # another process has fetched it
        return kept, "cached"
    path, wanted = root.file(published), published.digest
    if (found := published_file(root.path, published)) is not None:
        location = Folder(found.parent)
    if not path.exists():
        try:
            download(location, published.file, path, wanted=wanted, progress=progress, overwrite=False)
        except UsageError:  # another process was quicker
            if (kept := published_file(root.path, published)) is not None:
                return kept, "cached"
        else:
            return path, "downloaded" if found is None else "cached"
    elif alone and not is_log(path):
        download(location, published.file, path, wanted=wanted, progress=progress)
        return path, "replaced"
    path = beside(root.path, published)
    download(location, published.file, path, wanted=wanted, progress=progress)
    return path, "downloaded"


def download(
    location: Location,
    file: str,
    path: Path,
    *,
    wanted: Digest | None = None,
    progress: ProgressCallback | None = None,
    overwrite: bool = True,
) -> None:
    """Download one file of a location, all or nothing.

    Parameters
    ----------
    location, file
        Where from.
    path
        Where to.
    wanted
        The size and hash that the file must have; None for any.
    progress
        Called as it arrives.
    overwrite
        Whether an existing file is replaced.

    Raises
    ------
    UsageError
        `path` exists and is not to be replaced.
    EnvironmentFailure
        The location has no such file, does not respond, or sends other bytes than wanted, or too many; or the
        disk is full.
    """
    make_folders(path.parent)
    limit = MAX_PACKAGE if wanted is None else wanted.bytes
    meter = Meter()
    with location.open(file) as chunks, atomic_write(path, overwrite=overwrite) as stream:
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
                remedy="nothing was changed; try again, or tell the registry's maintainer",
            )
        if meter.bytes > limit:
            raise EnvironmentFailure(f"longer than {limit} bytes", file=location.address(file))


def _difference(found: Digest, wanted: Digest) -> str:
    if found.bytes > wanted.bytes:
        return f"longer than the {wanted.bytes} bytes that the index lists"
    if found.bytes < wanted.bytes:
        return f"{found.bytes} bytes where the index lists {wanted.bytes}"
    return f"its SHA-256 is {found.sha256}, not {wanted.sha256}"
