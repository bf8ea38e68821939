"""A registry's folder as it is read: its index, and the newest file of a package in it."""

from __future__ import annotations

from pathlib import Path

from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.packages.digest import Digest
from tophub_registry.packages.index import INDEX_FILE, Index
from tophub_registry.packages.version import FileName, Version


def read_index(folder: Path) -> Index | None:
    """Read the index of a registry's folder, None where there is none.

    Raises
    ------
    InputError
        The file is no index.
    EnvironmentFailure
        It can't be read.
    """
    path = folder / INDEX_FILE
    try:
        return Index.parse(path.read_bytes(), file=path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentFailure(f"can't be read: {error.strerror or error}", file=path) from error


def known_index(folder: Path) -> Index:
    """Read the index of a folder that must be a registry.

    Raises
    ------
    InputError
        The file is no index.
    UsageError
        There is none.
    EnvironmentFailure
        It can't be read.
    """
    index = read_index(folder)
    if index is None:
        raise UsageError("no registry there: it has no index.json", file=folder, remedy="check --registry")
    return index


def newest_log(folder: Path, index: Index, package: str) -> Path | None:
    """Return the file of a package's newest version that is not yanked, None where there is none.

    Raises
    ------
    InputError
        The file is not what was published.
    """
    newest = index.newest(package)
    if newest is None:
        return None
    published = index.versions(package)[newest]
    path = folder / published.file
    if Digest.of(path) != (published.bytes, published.sha256):
        raise InputError("not what the index says was published", file=path, remedy="restore the published file")
    return path


def newest_here(folder: Path, index: Index | None, package: str, *, strangers: bool = True) -> Path | None:
    """Return a package's newest good file in a folder, None without one.

    A version that the index knows is good when it is not yanked and its bytes are the published ones.

    Parameters
    ----------
    strangers
        Whether files that the index does not know count: an AutoTVM client may have fetched them.
    """
    known = {} if index is None else index.versions(package)

    def good(version: Version, path: Path) -> bool:
        published = known.get(version)
        if published is None:
            return strangers
        return published.yanked is None and Digest.of(path) == (published.bytes, published.sha256)

    named = [(name.version, path) for path in folder.glob(f"{package}_v*.log") if (name := FileName.parse(path.name))]
    exact = [(version, path) for version, path in named if path.name == str(FileName(package, version))]
    newest_first = sorted(exact, reverse=True)
    return next((path for version, path in newest_first if good(version, path)), None)
