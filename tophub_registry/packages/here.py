"""The packages on this machine, in the root and in a location that is a folder; the network is not used."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tophub_registry.errors import InputError
from tophub_registry.packages.digest import Digest
from tophub_registry.packages.folder import newest_here, published_file, read_index, version_here
from tophub_registry.packages.location import Folder, find_location
from tophub_registry.packages.lock import lock_in_effect
from tophub_registry.packages.version import Reference
from tophub_registry.records.lookup import backends_of
from tophub_registry.records.target import PACKAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from tophub_registry.packages.folder import Here
    from tophub_registry.packages.index import Index
    from tophub_registry.packages.location import Location
    from tophub_registry.packages.lock import Lock
    from tophub_registry.packages.root import Root
    from tophub_registry.records.target import Target


def packages_here(target: Target, location: Location | None, root: Root) -> list[Path]:
    """Return the newest logs of a target's packages, in the location and in the root; the same bytes count once.

    If a lock is in effect (`$TOPHUB_LOCK`), these are the locked versions that are on this machine.

    Raises
    ------
    InputError
        The location's index is invalid, or the lock is.
    """
    if (lock := lock_in_effect()) is not None:
        kept = (_locked(lock, package, location, root) for package in backends_of(target) if package in lock.packages)
        return [path for path in kept if path is not None]
    places = list(_folders(location, root))
    found = [here.path for package in backends_of(target) for here in _newest(package, places, root)]
    return list({Digest.of(path): path for path in reversed(found)}.values())[::-1]


def find_log(argument: Path, root: Root, location: Callable[[], Location | None] = find_location) -> Path:
    """Return the log that a user's argument means: a path, a package, or `package@version`.

    An existing file comes first. A package means the newest of the location's versions that is on this machine and not
    yanked, as for whoever compiles; if there is none, the newest of any registry. If a lock is in effect
    (`$TOPHUB_LOCK`), a package means the locked version.

    Parameters
    ----------
    argument
        The user's argument.
    root
        Where packages are kept.
    location
        Returns where packages come from; called only if there is no such file.

    Raises
    ------
    InputError
        There is no such file and no such package on this machine; or the location's index is invalid.
    UsageError
        What follows the `@` is not a version.
    """
    if argument.exists() and not argument.is_dir():
        return argument
    text = str(argument)
    if re.fullmatch(PACKAGE, text.partition("@")[0]) is None:
        raise InputError("this is a folder, not a log" if argument.is_dir() else "no such file", file=argument)
    package, version = Reference.parse(text)
    if version is None and (lock := lock_in_effect()) is not None:
        lock.only([Reference(package, None)])
        if (found := _locked(lock, package, location(), root)) is None:
            raise InputError(
                "the locked version is not on this machine", file=argument, remedy="`tophub fetch --locked`"
            )
        return found
    places = list(_folders(location(), root))
    if version is None:
        newest = _latest(_newest(package, places, root, listed=True)) or _latest(_newest(package, places, root))
        found = None if newest is None else newest.path
    else:
        here = (version_here(folder, index, package, version) for folder, index in places)
        found = next((path for path in here if path is not None), None)
    if found is None and argument.is_dir():
        raise InputError("this is a folder, not a log", file=argument)
    if found is None:
        raise InputError(
            "no such file, and no such package on this machine",
            file=argument,
            remedy=f"run `tophub fetch {text}`",
        )
    return found


def _locked(lock: Lock, package: str, location: Location | None, root: Root) -> Path | None:
    """Return the file on this machine with the locked bytes of a package; None if there is none."""
    folders = [location.path] if isinstance(location, Folder) else []
    found = (published_file(folder, lock.packages[package]) for folder in (*folders, root.path))
    return next((path for path in found if path is not None), None)


def _latest(found: Iterable[Here]) -> Here | None:
    return max(found, key=lambda here: here.version, default=None)  # the first of equals, which is the location's


def _newest(
    package: str, places: Iterable[tuple[Path, Index | None]], root: Root, *, listed: bool = False
) -> Iterator[Here]:
    for folder, index in places:
        here = newest_here(folder, index, package, listed=listed)
        while here is not None and _yanked_elsewhere(package, here, index, root):
            here = newest_here(folder, index, package, listed=listed, before=here.version)
        if here is not None:
            yield here


def _yanked_elsewhere(package: str, here: Here, index: Index | None, root: Root) -> bool:
    """Return whether a file that the index does not list was yanked by the registry that published it."""
    published = None if index is None else index.versions(package).get(here.version)
    if published is not None and published.digest == Digest.of(here.path):
        return False
    origin = root.origin(here.path)
    return origin is not None and origin.published.yanked is not None


def _folders(location: Location | None, root: Root) -> Iterator[tuple[Path, Index | None]]:
    """Yield the folders to search, the location's first, each with the index to check its files against."""
    if isinstance(location, Folder):
        index = read_index(location.path)
        yield location.path, index
        yield root.path, index
    else:
        yield root.path, None if location is None else root.remembered(location)
