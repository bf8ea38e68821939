"""Fetching what a lock names: these versions with these bytes, from whichever location has them.

The lock's hashes decide, so no index is needed, and nothing newer is looked for. Where a location has an index it is
asked all the same: it says whether it has other bytes under that version, which is an error, and whether the version
was yanked since, which is a notice. What the root has is used without any location.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tophub_registry.errors import EnvironmentFailure, InputError
from tophub_registry.packages.digest import Digest
from tophub_registry.packages.fetch import Fetch, Fetched, fetch_version
from tophub_registry.packages.folder import published_file
from tophub_registry.packages.follow import ask_or_recall
from tophub_registry.packages.index import INDEX_FILE, Notice, now, resolve
from tophub_registry.packages.location import Folder, NotThere, find_location
from tophub_registry.packages.version import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from tophub_registry.packages.download import ProgressCallback
    from tophub_registry.packages.index import Index
    from tophub_registry.packages.location import Location
    from tophub_registry.packages.lock import Lock, LockedVersion
    from tophub_registry.packages.root import Root


def locations_of(lock: Lock, location: Location | None) -> list[Location]:
    """Return where to look for a lock's packages: at the location in use, before it at the lock's if that is builtin.

    The builtin registry is in use where nobody has chosen another one, and it has only what came with the installation.
    """
    if location is None:
        return []
    if not (isinstance(location, Folder) and location.builtin):
        return [location]
    named = find_location(lock.location)
    return [location] if named is None or named == location else [named, location]


def fetch_locked(
    lock: Lock,
    location: Location | None,
    root: Root,
    *,
    ask: bool = True,
    progress: ProgressCallback | None = None,
    time: datetime | None = None,
) -> Fetch:
    """Fetch the packages of a lock into the root.

    Parameters
    ----------
    lock
        What to fetch.
    location
        Where from; None, if fetching is switched off, takes only what the root has.
    root
        Where to.
    ask
        Whether to ask a location's index about packages that are in the root already.
    progress
        Called as files arrive.
    time
        The time at which an index may have expired; by default now.

    Raises
    ------
    EnvironmentFailure
        No location has these bytes, or none responds; the files that were there before are unchanged.
    """
    offers = [_Offer(each, root, time or now()) for each in locations_of(lock, location)]
    packages: list[Fetched] = []
    notices: list[Notice] = []
    for package, locked in lock.packages.items():
        here = kept(locked, root)
        if here is not None:
            packages.append(Fetched(package, locked.number, here, locked.digest, "cached"))
            notices += offers[0].said_of(package, locked) if ask and offers else ()
        else:
            fetched, told = _fetch_one(package, locked, offers, root, progress)
            packages.append(fetched)
            notices += told
    notices += [notice for offer in offers for notice in offer.notices]
    return Fetch(offers[0].location.name if offers else None, root.path, tuple(packages), tuple(dict.fromkeys(notices)))


def kept(locked: LockedVersion, root: Root) -> Path | None:
    """Return the root's file of a locked version, None if it, or its cost model, is not there or damaged."""
    path = published_file(root.path, locked)
    if path is None or locked.model is None:
        return path
    return path if Digest.of(path.with_name(locked.model.file)) == locked.model.digest else None


def _fetch_one(
    package: str, locked: LockedVersion, offers: list[_Offer], root: Root, progress: ProgressCallback | None
) -> tuple[Fetched, list[Notice]]:
    """Fetch a version from the first location that has it; raise the first one's error if none has."""
    errors: list[EnvironmentFailure | InputError] = []
    for offer in offers:
        try:
            told = [*offer.said_of(package, locked)]
            offer.check(package, locked)
            fetched, more = fetch_version(package, locked.number, locked, offer.location, root, progress)
        except (EnvironmentFailure, InputError) as error:  # noqa: PERF203  # a handful of locations
            errors.append(error)
        else:
            return fetched, [*told, *more]
    if (path := published_file(root.path, locked)) is not None:  # only its cost model is missing
        fetched = Fetched(package, locked.number, path, locked.digest, "cached")
        return fetched, [Notice("no-model", f"the cost model of {package} {locked.version} is not on this machine")]
    if errors:
        raise errors[0]
    raise EnvironmentFailure(
        f"{package} {locked.version} is not on this machine, and fetching is switched off",
        file=root.path,
        remedy="unset TOPHUB_LOCATION",
    )


class _Offer:
    """A location, and what its index says of the locked versions; it is asked once, when that is needed."""

    def __init__(self, location: Location, root: Root, time: datetime) -> None:
        self.location = location
        self.notices: tuple[Notice, ...] = ()
        self._root, self._time = root, time
        self._index: Index | None = None
        self._error: EnvironmentFailure | InputError | None = None
        self._asked = False

    def _ask(self) -> Index | None:
        if not self._asked:
            self._asked = True
            try:
                self._index, self.notices = ask_or_recall(self.location, self._root, self._time)
            except NotThere:  # files without an index: their names and hashes are known
                pass
            except (EnvironmentFailure, InputError) as error:
                self._error = error
        return self._index

    def said_of(self, package: str, locked: LockedVersion) -> Iterator[Notice]:
        """Yield what the user should know of a version, as far as the index can be read."""
        index = self._ask()
        published = index.versions(package).get(locked.number) if index else None
        if index is not None and published is not None and published.digest == locked.digest:
            yield from resolve(index, Reference(package, locked.number)).notices

    def check(self, package: str, locked: LockedVersion) -> None:
        """Raise EnvironmentFailure or InputError if the location can't be the one that has a version's bytes."""
        index = self._ask()
        if self._error is not None:
            raise self._error
        if index is None:
            return
        published = index.versions(package).get(locked.number)
        name, where = f"{package} {locked.version}", self.location.address(INDEX_FILE)
        if published is None:
            raise EnvironmentFailure(f"has no {name}", file=where, remedy="the lock needs a location that has it")
        if published.digest != locked.digest:
            raise EnvironmentFailure(
                f"has other bytes as {name}: SHA-256 {published.sha256[:16]}…, and the lock has {locked.sha256[:16]}…",
                file=where,
                remedy="use a location that has the locked bytes; if these are right, `tophub lock` locks them",
            )
