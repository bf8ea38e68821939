"""The overview: what a registry has, and what of it is on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tophub_registry.packages.digest import Digest
from tophub_registry.packages.fetch import ask_or_recall
from tophub_registry.packages.index import Notice, now

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from tophub_registry.packages.index import Index, Published
    from tophub_registry.packages.location import Location
    from tophub_registry.packages.root import Root
    from tophub_registry.packages.version import Version


@dataclass(frozen=True)
class VersionState:
    """One version, and what the root has of it: the file, one with other bytes, or none."""

    version: Version
    published: Published
    held: Literal["cached", "damaged", "missing"]


@dataclass(frozen=True)
class PackageState:
    """One package.

    Attributes
    ----------
    package
        Its name.
    newest
        The newest version that is not yanked, None where all are.
    versions
        All of them, the oldest first.
    state
        `cached`: the newest version is in the root; `damaged`: it is, with other bytes; `outdated`: only an
        older one is; `missing`: none is.
    """

    package: str
    newest: VersionState | None
    versions: tuple[VersionState, ...]
    state: Literal["cached", "damaged", "outdated", "missing"]


@dataclass(frozen=True)
class Overview:
    """A registry as seen from this machine.

    Attributes
    ----------
    location
        Its name, None where fetching is switched off.
    root
        The folder of this machine's copies.
    packages
        By name.
    strangers
        Files of the root that the registry does not know.
    notices
        What else the reader should know.
    """

    location: str | None
    root: Path
    packages: tuple[PackageState, ...]
    strangers: tuple[Path, ...]
    notices: tuple[Notice, ...]


def survey(location: Location | None, root: Root, *, time: datetime | None = None) -> Overview:
    """Look at a location and at the root.

    Where the location does not answer, what it answered last is taken, and a notice says so.

    Raises
    ------
    InputError
        The location's index is none.
    EnvironmentFailure
        The location does not answer and never has; it went back; the root can't be read.
    """
    if location is None:
        notice = Notice("switched-off", "the location is NONE: only the files of this machine are listed")
        return Overview(None, root.path, (), root.strangers(None), (notice,))
    index, notices = ask_or_recall(location, root, time or now())
    packages = tuple(_package(index, package, root) for package in sorted(index.packages))
    return Overview(location.name, root.path, packages, root.strangers(index), notices)


def _package(index: Index, package: str, root: Root) -> PackageState:
    versions = tuple(
        VersionState(version, published, _held(published, root))
        for version, published in index.versions(package).items()
    )
    number = index.newest(package)
    newest = next((state for state in versions if state.version == number), None)
    if newest is not None and newest.held != "missing":
        return PackageState(package, newest, versions, newest.held)
    older = any(state.held == "cached" for state in versions)
    return PackageState(package, newest, versions, "outdated" if older else "missing")


def _held(published: Published, root: Root) -> Literal["cached", "damaged", "missing"]:
    found = Digest.of(root.file(published))
    if found is None:
        return "missing"
    return "cached" if found == (published.bytes, published.sha256) else "damaged"
