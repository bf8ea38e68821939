"""Following a location's index: it is asked for it, or what it served last is used, and it can't go back unnoticed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tophub_registry.errors import EnvironmentFailure, InputError
from tophub_registry.packages.folder import newest_here
from tophub_registry.packages.index import INDEX_FILE, Index, Notice, freshness, iso_time
from tophub_registry.packages.location import Folder
from tophub_registry.packages.trust.ask import Asked, ask, read_index, recall
from tophub_registry.packages.trust.policy import Expired, Untrusted
from tophub_registry.packages.trust.state import Kept

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from tophub_registry.packages.location import Location
    from tophub_registry.packages.root import Root


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

    So too if it has no index any more, or what it serves is not one, as a network's login page, or if its signatures
    have expired.

    Raises
    ------
    Untrusted
        It is signed, and its answer is not what was signed.
    InputError
        index.json is invalid, and no index of the location is known.
    EnvironmentFailure
        The location does not respond and no index of it is known; or it went back.
    """
    asked = ask_and_follow(location, root, time, expired=True)
    return asked.index, asked.notices


def ask_and_follow(location: Location, root: Root, time: datetime, *, expired: bool) -> Asked:
    """Do what `ask_or_recall` does; nothing is taken from expired signatures unless that is allowed."""
    try:
        asked = ask(location, root, time)
    except (EnvironmentFailure, InputError) as error:
        refused = isinstance(error, Untrusted) and not (expired and isinstance(error, Expired))
        recalled = None if refused else recall(location, root, time, expired=expired)
        if recalled is None:
            raise
        notice = Notice("offline", f"{error}; using its last known index, {_age(root.seen(location), time)}")
        more = () if isinstance(error, Expired) else recalled.notices  # which would say the same
        return replace(recalled, notices=(notice, *more))
    followed = follow_index(location, asked.index, root, time, signed=asked.signed is not None)
    return replace(asked, notices=(*asked.notices, *followed))


def _age(seen: datetime | None, time: datetime) -> str:
    """Return how old what was seen is, and when that was: the clock may have jumped."""
    if seen is None:
        return "of unknown age"
    hours = (time - seen).total_seconds() / 3600
    since = f"of {iso_time(seen)}"
    if hours < 0:
        return since
    return f"{since}, {hours:.0f} hours old" if hours < _TWO_DAYS else f"{since}, {hours / 24:.0f} days old"


_TWO_DAYS = 48


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
