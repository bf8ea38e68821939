"""Fetching: from a location into the root, each file checked against the index before it gets its name.

Guarantees: a file in the root is complete and has the published bytes, whatever crashes and however many
processes fetch at once; what is already there is not fetched again; and another registry's file of the same
name is neither lost nor mistaken for this one's (`packages.root`).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tophub_registry.errors import EnvironmentFailure, UsageError
from tophub_registry.packages.digest import Digest
from tophub_registry.packages.download import Served, download
from tophub_registry.packages.exclusive import exclusively
from tophub_registry.packages.folder import beside, is_log, published_file
from tophub_registry.packages.follow import ask_and_follow, follow_index, newer_here
from tophub_registry.packages.index import Index, Notice, Resolved, now, resolve
from tophub_registry.packages.location import Folder
from tophub_registry.packages.root import Root, taking_turns
from tophub_registry.packages.scratch import scratch_folder
from tophub_registry.packages.trust.ask import Asked, check_models, signed_of
from tophub_registry.packages.version import Reference, Version

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from tophub_registry.packages.download import ProgressCallback
    from tophub_registry.packages.folder import Listed
    from tophub_registry.packages.location import Location
    from tophub_registry.packages.trust.state import Signed

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
    if index is None:
        asked = ask_and_follow(location, root, time, expired=False)
    else:
        signed = signed_of(location, root, index, time)
        asked = Asked(index, signed, follow_index(location, index, root, time, signed=signed is not None))
    index, signed, notices = asked.index, asked.signed, [*asked.notices]
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
    root.clear_leftovers()  # also where nothing is written
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
    notices: list[Notice] = []
    with _of_devices(models, published, path, location, progress) as (source, told):
        notices += told
        if path is None:
            with taking_turns(root.file(published)):
                path, status, brought = _bring(published, source, root, progress)
            notices += brought
    fetched = Fetched(package, version, path, published.digest, status)
    notices += _bring_model(published, path, location, progress)
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
) -> Iterator[tuple[Location, list[Notice]]]:
    """Check that a version has only records of these devices, before it gets its name; yield where it is."""
    if models is None:
        yield location, []
        return
    with scratch_folder("fetch") as scratch:
        path, told = here or scratch / published.file, []
        if here is None:
            served = download(location, published.file, path, wanted=published.digest, progress=progress)
            told = _told(published.file, served)
        check_models(path, models, location.address(published.file))
        yield Folder(path.parent), told


def _bring_model(
    published: Listed, log: Path, location: Location, progress: ProgressCallback | None
) -> Iterator[Notice]:
    """Fetch a version's cost model beside its log, and yield a notice if that fails: a log is good without it."""
    if (model := published.model) is None or Digest.of(path := log.with_name(model.file)) == model.digest:
        return
    try:
        with taking_turns(path):
            if Digest.of(path) != model.digest:  # another process may have fetched it
                yield from _told(
                    model.file, download(location, model.file, path, wanted=model.digest, progress=progress)
                )
    except EnvironmentFailure as error:
        yield Notice("no-model", f"{error}; the log is used without its cost model")


def _told(file: str, served: Served) -> list[Notice]:
    """Return a notice if a mirror has served a file."""
    if served.failure is None:
        return []
    return [Notice("mirror", f"{file} came from the mirror {served.name}; the location itself: {served.failure}")]


def _kept(root: Root, published: Listed) -> Path | None:
    """Return the root's file of a version; None if there is none, or if its proper name is another's no longer."""
    path, proper = published_file(root.path, published), root.file(published)
    if path is None or path == proper:
        return path
    return path if proper.exists() and (root.origin(proper) is not None or is_log(proper)) else None


def _bring(
    published: Listed, location: Location, root: Root, progress: ProgressCallback | None
) -> tuple[Path, Status, list[Notice]]:
    """Fetch a version to its proper name, or beside another registry's file that has this name."""
    if (kept := _kept(root, published)) is not None:  # another process has fetched it
        return kept, "cached", []
    path, wanted, file = root.file(published), published.digest, published.file
    if (found := published_file(root.path, published)) is not None:
        location = Folder(found.parent)
    there = path.exists()
    if not there or not is_log(path):
        try:
            served = download(
                location,
                file,
                path,
                wanted=wanted,
                progress=progress,
                overwrite=there,
                guard=lambda: _while_damaged(path),
            )
        except UsageError:  # another process was quicker
            if (kept := published_file(root.path, published)) is not None:
                return kept, "cached", []
        else:
            status: Status = "replaced" if there else "downloaded" if found is None else "cached"
            return path, status, _told(file, served)
    path = beside(root.path, published)
    served = download(location, file, path, wanted=wanted, progress=progress)
    return path, "downloaded", _told(file, served)


@contextmanager
def _while_damaged(path: Path) -> Iterator[bool]:
    """Let a damaged file be replaced, if it is still damaged; no lock is relied on."""
    with exclusively(path) as alone:
        yield alone and path.exists() and not is_log(path)
