"""The overview: what a registry has, and how much of it is on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tophub_registry.packages.digest import Digest
from tophub_registry.packages.folder import is_log, newest_here, published_file
from tophub_registry.packages.follow import ask_or_recall, newer_here
from tophub_registry.packages.index import Notice, now
from tophub_registry.packages.version import FileName

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from tophub_registry.packages.index import Index, Published
    from tophub_registry.packages.location import Location
    from tophub_registry.packages.root import Root
    from tophub_registry.packages.version import Version


State = Literal["cached", "damaged", "missing"]


@dataclass(frozen=True)
class VersionState:
    """One version, and whether the root has its published file, a damaged one, or none."""

    version: Version
    published: Published
    state: State


@dataclass(frozen=True)
class PackageState:
    """One package.

    Attributes
    ----------
    package
        Its name.
    newest
        The newest version that is not yanked, None if all are.
    here
        The newest of these that is in the root, None if none is.
    versions
        All versions, oldest first.
    state
        `cached` if the newest version is in the root, `damaged` if its file there is damaged, `outdated` if
        the root has only an older version, `missing` if it has none.
    """

    package: str
    newest: VersionState | None
    here: Version | None
    versions: tuple[VersionState, ...]
    state: Literal["cached", "damaged", "outdated", "missing"]


@dataclass(frozen=True)
class Unlisted:
    """A file in the root that the registry's index does not list, and the registry that published it, if known."""

    path: Path
    registry: str | None


@dataclass(frozen=True)
class Overview:
    """A registry as seen from this machine.

    Attributes
    ----------
    location
        Its name, None if fetching is switched off.
    root
        The folder of this machine's copies.
    packages
        By name.
    unlisted
        Files in the root that the registry's index does not list.
    notices
        What else the user should know.
    """

    location: str | None
    root: Path
    packages: tuple[PackageState, ...]
    unlisted: tuple[Unlisted, ...]
    notices: tuple[Notice, ...]


def survey(location: Location | None, root: Root, *, time: datetime | None = None) -> Overview:
    """Look at a location and at the root.

    If the location does not respond, its last known index is used, and a notice says so.

    Raises
    ------
    InputError
        The location's index is invalid.
    EnvironmentFailure
        The location does not respond and no index of it is known; it went back; or the root can't be read.
    """
    if location is None:
        notice = Notice(
            "switched-off", "fetching is switched off (the location is NONE): only files on this machine are listed"
        )
        return Overview(None, root.path, (), tuple(_unlisted(None, root)), (notice,))
    index, notices = ask_or_recall(location, root, time or now())
    packages = tuple(_package(index, package, root) for package in sorted(index.packages))
    unlisted = tuple(_unlisted(index, root))
    others = {name.package for file in unlisted if (name := FileName.parse(file.path.name))}
    newer = newer_here(location, index, root, sorted(others))
    return Overview(location.name, root.path, packages, unlisted, (*notices, *newer))


def _package(index: Index, package: str, root: Root) -> PackageState:
    versions = tuple(
        VersionState(version, published, _state(published, root))
        for version, published in index.versions(package).items()
    )
    number = index.newest(package)
    newest = next((each for each in versions if each.version == number), None)
    kept = newest_here(root.path, index, package, listed=True)
    here = None if kept is None else kept.version
    if newest is not None and newest.state != "missing":
        return PackageState(package, newest, here, versions, newest.state)
    return PackageState(package, newest, here, versions, "missing" if here is None else "outdated")


def _state(published: Published, root: Root) -> State:
    if published_file(root.path, published) is not None:
        return "cached"
    path = root.file(published)
    return "damaged" if path.exists() and not is_log(path) else "missing"


def _unlisted(index: Index | None, root: Root) -> Iterator[Unlisted]:
    for path in root.files():
        name = FileName.parse(path.name)
        published = index.versions(name.package).get(name.version) if index and name else None
        if published is None or (published.digest != Digest.of(path) and is_log(path)):
            origin = root.origin(path)
            yield Unlisted(path, origin and origin.location)
