"""The logs in which a target's records are looked up: the user's own first, then the target's package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tophub_registry.errors import EnvironmentFailure
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.folder import newest_here
from tophub_registry.packages.follow import ask_or_recall, newer_here
from tophub_registry.packages.index import Notice, now
from tophub_registry.packages.location import Folder
from tophub_registry.packages.lock import lock_in_effect
from tophub_registry.packages.locked import fetch_locked
from tophub_registry.packages.trust.policy import Expired, Untrusted
from tophub_registry.packages.version import Reference
from tophub_registry.records.lookup import Source, backends_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from tophub_registry.packages.index import Index
    from tophub_registry.packages.location import Location
    from tophub_registry.packages.lock import Lock
    from tophub_registry.packages.root import Root
    from tophub_registry.packages.version import Version
    from tophub_registry.records.target import Target


@dataclass(frozen=True)
class Sources:
    """Where to look up records.

    Attributes
    ----------
    logs
        In order of preference, as for `lookup`. A log of the user's is named by its path, a package by its name
        and version.
    notices
        What else the user should know.
    """

    logs: tuple[Source, ...]
    notices: tuple[Notice, ...]


def find_sources(
    target: Target,
    location: Location | None,
    root: Root,
    *,
    own: Sequence[Path] = (),
    index: Index | None = None,
    pins: Mapping[str, Version] | None = None,
    time: datetime | None = None,
) -> Sources:
    """Find the logs for a target, and fetch its package if it is not here.

    If the location does not respond, or the root can't be written to, the newest version on this machine is used, and a
    notice says so. If a lock is in effect (`$TOPHUB_LOCK`), only the locked version is used.

    Parameters
    ----------
    target
        Its package is the first of `backends_of` that the registry has.
    location
        Where packages come from; None, if fetching is switched off, leaves only the user's own logs.
    root
        Where packages are kept.
    own
        The user's own logs.
    index
        The location's index, if it was read already.
    pins
        Versions to use instead of the newest, by package.
    time
        The time at which an index may have expired; by default now.

    Raises
    ------
    UsageError
        The registry does not have a pinned version, or the lock has another one.
    InputError
        index.json is invalid, or the lock is.
    EnvironmentFailure
        The location does not respond and no index of it is known, or it went back.
    Untrusted
        It is signed, and its answer is not what was signed.
    """
    mine = tuple(Source(str(path), path) for path in own)
    if (lock := lock_in_effect()) is not None:
        return _locked(target, lock, location, root, mine, pins or {})
    if location is None:
        return Sources(mine, (Notice("switched-off", "fetching is switched off: only your own logs are searched"),))
    notices: tuple[Notice, ...] = ()
    time = time or now()
    if index is None:
        index, notices = ask_or_recall(location, root, time)
    package = next((name for name in backends_of(target) if name in index.packages), None)
    if package is None:
        return Sources(mine, (*notices, *newer_here(location, index, root, backends_of(target))))
    version = (pins or {}).get(package)
    if version is None and index.newest(package) is None:
        notice = Notice("yanked", f"every version of {package} is yanked: it is not used")
        return Sources(mine, (*notices, notice, *newer_here(location, index, root, [package])))
    try:
        done = fetch([Reference(package, version)], location, root, index=index, time=time)
    except EnvironmentFailure as error:
        if isinstance(error, Untrusted) and not isinstance(error, Expired):
            raise  # what is here may be the very file that is refused
        kept = location.path if isinstance(location, Folder) else root.path
        here = None if version is not None else newest_here(kept, index, package, listed=True)
        if here is None:
            raise
        name = f"{package} {here.version}"
        notice = Notice("offline", f"{error}; using {name}, which is on this machine")
        return Sources((*mine, Source(name, here.path)), (*notices, notice))
    (fetched,) = done.packages
    source = Source(f"{package} {fetched.version}", fetched.path)
    return Sources((*mine, source), tuple(dict.fromkeys((*notices, *done.notices))))


def _locked(
    target: Target,
    lock: Lock,
    location: Location | None,
    root: Root,
    mine: tuple[Source, ...],
    pins: Mapping[str, Version],
) -> Sources:
    """Return the user's own logs and the locked package of a target, fetched if it is not here."""
    package = next((name for name in backends_of(target) if name in lock.packages), None)
    if package is None:
        wanted = backends_of(target)[0]
        notice = Notice(
            "not-locked", f"the lock has no package {wanted}: none is used", f"`tophub lock {wanted}` adds it"
        )
        return Sources(mine, (notice,))
    done = fetch_locked(lock.only([Reference(package, pins.get(package))]), location, root, ask=False)
    (fetched,) = done.packages
    return Sources((*mine, Source(f"{package} {fetched.version}", fetched.path)), done.notices)
