"""Reading a folder of packages, a registry or the root: its index, a version's file, the newest version.

A file is identified by its bytes, not by its name: `llvm_v0.10.log` may be this registry's v0.10 or another's.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.packages.digest import Digest
from tophub_registry.packages.index import INDEX_FILE, Attached, Index, Published
from tophub_registry.packages.version import FileName, Version
from tophub_registry.records.log import parse_row, read_lines
from tophub_registry.records.unconvertible import NoConversionError


class Listed(Protocol):
    """A version as an index or a lock lists it: what identifies its file."""

    @property
    def file(self) -> str:
        """Its name."""

    @property
    def sha256(self) -> str:
        """Its hash."""

    @property
    def digest(self) -> Digest:
        """Its size and hash."""

    @property
    def model(self) -> Attached | None:
        """Its cost model."""


def read_index(folder: Path) -> Index | None:
    """Read the index of a registry's folder, None if there is none.

    Raises
    ------
    InputError
        The file is not a valid index.
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
        The file is not a valid index.
    UsageError
        There is no index.
    EnvironmentFailure
        It can't be read.
    """
    index = read_index(folder)
    if index is None:
        raise UsageError("not a registry: it has no index.json", file=folder, remedy="check --registry")
    return index


def published_file(folder: Path, published: Listed) -> Path | None:
    """Return the file in a folder that has a version's published bytes, None if there is none."""
    places = (folder / published.file, beside(folder, published))
    return next((path for path in places if Digest.of(path) == published.digest), None)


def beside(folder: Path, published: Listed) -> Path:
    """Return where a folder keeps a version if another registry's file has its name."""
    return folder / ".others" / published.sha256[:16] / published.file


def is_log(path: Path) -> bool:
    """Return whether every line of a file is a record or a comment; a damaged or empty file is not a log."""
    lines = 0
    try:
        for line in read_lines(path):
            with suppress(NoConversionError):
                parse_row(line, file=path)
            lines += 1
    except InputError:
        return False
    return lines > 0


def version_here(folder: Path, index: Index | None, package: str, version: Version) -> Path | None:
    """Return a version's file in a folder, None if there is none that is good.

    A file with the published bytes comes first. Otherwise any log of that name is good: an AutoTVM client may have
    fetched it, or it is another registry's.
    """
    published = None if index is None else index.versions(package).get(version)
    if published is not None and (path := published_file(folder, published)) is not None:
        return path
    path = folder / str(FileName(package, version))
    return path if is_log(path) else None


class Here(NamedTuple):
    """A version in a folder, and its file."""

    version: Version
    path: Path


def newest_here(
    folder: Path, index: Index | None, package: str, *, listed: bool = False, before: Version | None = None
) -> Here | None:
    """Return a package's newest good version in a folder, None if there is none. Nothing else decides what is newest.

    Yanked versions and damaged files are not good.

    Parameters
    ----------
    listed
        Whether only files that the index lists count, and not all that `version_here` returns.
    before
        Count only versions before this one.
    """
    known = {} if index is None else index.versions(package)
    names = (FileName.parse(path.name) for path in folder.glob(f"{package}_v*.log"))
    found = {name.version for name in names if name is not None and name.package == package}
    for version in sorted({*known, *found}, reverse=True):
        if before is not None and version >= before:
            continue
        path = version_here(folder, index, package, version)
        if path is not None and _is_good(path, known.get(version), listed=listed):
            return Here(version, path)
    return None


def _is_good(path: Path, published: Published | None, *, listed: bool) -> bool:
    if published is None or Digest.of(path) != published.digest:
        return not listed
    return published.yanked is None


def newest_log(folder: Path, index: Index, package: str) -> Path | None:
    """Return the file of a package's newest version in a registry's folder, None if the index has none.

    Raises
    ------
    InputError
        The file is not what was published.
    """
    newest = index.newest(package)
    if newest is None:
        return None
    here = newest_here(folder, index, package, listed=True)
    if here is None or here.version != newest:
        file = folder / index.versions(package)[newest].file
        raise InputError("not the published file that the index lists", file=file, remedy="restore the published file")
    return here.path
