"""The logs in which a target's records are looked up: one's own first, then the target's package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tophub_registry.errors import EnvironmentFailure
from tophub_registry.packages.fetch import ask_or_recall, fetch, newer_here
from tophub_registry.packages.folder import newest_here
from tophub_registry.packages.index import Notice, now
from tophub_registry.packages.version import Reference
from tophub_registry.records.lookup import Source, backends_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from tophub_registry.packages.index import Index
    from tophub_registry.packages.location import Location
    from tophub_registry.packages.root import Root
    from tophub_registry.packages.version import Version
    from tophub_registry.records.target import Target


@dataclass(frozen=True)
class Sources:
    """Where to look records up.

    Attributes
    ----------
    logs
        The preferred one first, as `lookup` takes them. One's own are called by their paths, packages by name
        and version.
    notices
        What else the reader should know.
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

    Where the location does not answer, the newest version that is here is taken, and a notice says so.

    Parameters
    ----------
    target
        The target. Its package is the first of `backends_of` that the registry has.
    location
        Where packages come from; None, where fetching is switched off, leaves one's own logs only.
    root
        Where packages are kept.
    own
        One's own logs.
    index
        The location's index, where it was asked for already.
    pins
        Packages to be taken at a given version and not at their newest one.
    time
        The time by which an index expires; now, if it is not given.

    Raises
    ------
    UsageError
        The registry has no such version as is pinned.
    InputError
        The location's index is none.
    EnvironmentFailure
        The location does not answer and never has, or it went back.
    """
    mine = tuple(Source(str(path), path) for path in own)
    if location is None:
        return Sources(mine, (Notice("switched-off", "fetching is switched off: only one's own logs are searched"),))
    notices: tuple[Notice, ...] = ()
    time = time or now()
    if index is None:
        index, notices = ask_or_recall(location, root, time)
    package = next((name for name in backends_of(target) if name in index.packages), None)
    if package is None:
        return Sources(mine, (*notices, *newer_here(location, index, root, backends_of(target))))
    version = (pins or {}).get(package)
    if version is None and index.newest(package) is None:
        notice = Notice("yanked", f"every version of {package} is yanked: it is left out")
        return Sources(mine, (*notices, notice, *newer_here(location, index, root, [package])))
    try:
        done = fetch([Reference(package, version)], location, root, index=index, time=time)
    except EnvironmentFailure as error:
        here = None if version is not None else newest_here(root.path, index, package, listed=True)
        if here is None:
            raise
        name = f"{package} {here.version}"
        notice = Notice("offline", f"{error}; {name} is here and is used")
        return Sources((*mine, Source(name, here.path)), (*notices, notice))
    (fetched,) = done.packages
    source = Source(f"{package} {fetched.version}", fetched.path)
    return Sources((*mine, source), tuple(dict.fromkeys((*notices, *done.notices))))
