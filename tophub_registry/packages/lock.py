"""A lock: the packages that a project uses, each with its version, size and SHA-256, in a file of the project's own.

The same packages give the same bytes, one value a line, so that a change is easy to review. The bytes are what counts:
any location that has them will do, and the location's name only says where to look first. Which command obeys a lock is
told it by `--locked`, or by `$TOPHUB_LOCK` for a whole shell.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.files import atomic_write
from tophub_registry.packages.digest import Digest
from tophub_registry.packages.index import MAX_PACKAGE, Attached, Notice, PackageName, Text, VersionText, resolve
from tophub_registry.packages.version import FileName, Reference, Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tophub_registry.packages.index import Index

LOCK_FILE = "tophub.lock"
"""The name of a project's lock, in its folder."""

VARIABLE = "TOPHUB_LOCK"
"""The environment variable that names the lock in effect; empty for none."""

_COMMENT = "Written by `tophub lock`. `tophub fetch --locked` fetches exactly these files."

_MAX_LOCK = 1 << 24  # bytes


class LockedVersion(BaseModel):
    """The version of a package that a project uses.

    Attributes
    ----------
    version
        Which one.
    file
        Its name at every location: `{package}_{version}.log`.
    bytes, sha256
        The file's size and hash (lower-case hexadecimal).
    pinned
        Whether the user has chosen this version, so that `tophub lock` keeps it.
    model
        The cost model that was published with it; None if there is none.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    version: VersionText
    file: str
    bytes: Annotated[int, Field(ge=1, le=MAX_PACKAGE)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    pinned: bool = False
    model: Attached | None = None

    @property
    def number(self) -> Version:
        """The version, to compare with others."""
        return Version.parse(self.version)

    @property
    def digest(self) -> Digest:
        """The file's size and hash."""
        return Digest(self.bytes, self.sha256)


class Lock(BaseModel):
    """The content of `tophub.lock`.

    Attributes
    ----------
    schema_version
        1.
    comment
        For whoever opens the file.
    location
        The name of the location that the packages were looked up at, without any password.
    packages
        The version of each package.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    schema_version: Literal[1] = 1
    comment: Text | None = None
    location: Text
    packages: dict[PackageName, LockedVersion] = {}

    @model_validator(mode="after")
    def _names_agree(self) -> Lock:
        for package, locked in self.packages.items():
            name = FileName(package, locked.number)
            if locked.file != str(name):
                raise ValueError(f"the file of {package} {locked.version} is named {locked.file[:80]!r}")
            if locked.model is not None and locked.model.file != name.model:
                raise ValueError(f"the model of {package} {locked.version} is named {locked.model.file[:80]!r}")
        return self

    @staticmethod
    def parse(data: bytes, *, file: str | Path | None = None) -> Lock:
        """Read a lock.

        Raises
        ------
        InputError
            The bytes are not a lock; the message names `file`.
        """
        try:
            return Lock.model_validate_json(data)
        except ValidationError as error:
            finding = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, finding["loc"]))[:200]
        if place == "schema_version":
            what = f"lock schema version {finding['input']!a:.20} is not supported"
            raise InputError(what, file=file, remedy="upgrade tophub-registry")
        message = finding["msg"].removeprefix("Value error, ")
        raise InputError(
            f"not a lock: {place}: {message}" if place else f"not a lock: {message}",
            file=file,
            remedy="take it from version control again, or delete it and run `tophub lock`",
        )

    def to_bytes(self) -> bytes:
        """Return the lock as it is written, always the same bytes for the same packages."""
        packages = {package: _fields(self.packages[package]) for package in sorted(self.packages)}
        fields = {"schema_version": 1, "comment": _COMMENT, "location": self.location, "packages": packages}
        return (json.dumps(fields, indent=1) + "\n").encode()

    def write(self, path: Path) -> None:
        """Write the lock, in the place of an older one."""
        with atomic_write(path, overwrite=True) as stream:
            stream.write(self.to_bytes())

    def only(self, references: Sequence[Reference]) -> Lock:
        """Return the lock of some of its packages, in this order; of all if none is named.

        Raises
        ------
        UsageError
            The lock has no such package, or another version of it.
        """
        for package, version in references:
            locked = self.packages.get(package)
            if locked is None:
                known = ", ".join(sorted(self.packages)) or "none"
                remedy = f"its packages: {known}; `tophub lock` changes it"
                raise UsageError(f"the lock has no package {package!r}", remedy=remedy)
            if version is not None and version != locked.number:
                remedy = f"`tophub lock {package}@{version}` changes it"
                raise UsageError(f"the lock has {package} {locked.version}, not {version}", remedy=remedy)
        names = [reference.package for reference in references] or self.packages
        return self.model_copy(update={"packages": {name: self.packages[name] for name in names}})


def _fields(locked: LockedVersion) -> dict[str, object]:
    left_out = {name for name in ("pinned", "model") if not getattr(locked, name)}
    return locked.model_dump(exclude=left_out)


def read_lock(path: Path) -> Lock | None:
    """Read a lock; None if there is no such file.

    Raises
    ------
    InputError
        It is not a lock.
    EnvironmentFailure
        It can't be read.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_LOCK + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentFailure(f"can't be read: {error.strerror or error}", file=path) from error
    if len(data) > _MAX_LOCK:
        raise InputError(f"not a lock: longer than {_MAX_LOCK} bytes", file=path)
    return Lock.parse(data, file=path)


def known_lock(path: Path) -> Lock:
    """Read a lock that must be there.

    Raises
    ------
    InputError
        There is no such file, or it is not a lock.
    EnvironmentFailure
        It can't be read.
    """
    if (lock := read_lock(path)) is None:
        raise InputError("no such lock", file=path, remedy="`tophub lock` writes one")
    return lock


def lock_in_effect(environment: Mapping[str, str] = os.environ) -> Lock | None:
    """Return the lock that `$TOPHUB_LOCK` names, which every look-up obeys; None if it names none.

    Raises
    ------
    InputError, EnvironmentFailure
        See `known_lock`.
    """
    name = environment.get(VARIABLE)
    return known_lock(Path(name)) if name else None


class LockChange(NamedTuple):
    """What has become of a package in a lock; None where it is not in the lock."""

    package: str
    before: LockedVersion | None
    after: LockedVersion | None

    @property
    def kind(self) -> Literal["added", "removed", "updated", "other bytes", "unchanged"]:
        """What has changed; `other bytes` stand under the same version."""
        if self.before is None:
            return "added"
        if self.after is None:
            return "removed"
        if self.before.version != self.after.version:
            return "updated"
        same = self.before.digest == self.after.digest and self.before.model == self.after.model
        return "unchanged" if same else "other bytes"


def changes(before: Lock | None, after: Lock) -> tuple[LockChange, ...]:
    """Compare two locks, package by package."""
    old = {} if before is None else before.packages
    return tuple(
        LockChange(package, old.get(package), after.packages.get(package))
        for package in sorted({*old, *after.packages})
    )


def make_lock(
    index: Index, location: str, references: Sequence[Reference], before: Lock | None
) -> tuple[Lock, list[Notice]]:
    """Lock packages at what an index has now.

    Parameters
    ----------
    index, location
        The location's index, and its name.
    references
        The packages, each at its newest version or a pinned one. If empty, those of `before`, where pinned versions
        stay; without it, all packages at their newest versions.
    before
        The project's lock so far.

    Raises
    ------
    UsageError
        The registry has no such package or version.
    """
    wanted = list(references or _again(before))
    packages: dict[str, LockedVersion] = {}
    notices: list[Notice] = []
    if not wanted:
        wanted = [Reference(package, None) for package in sorted(index.packages) if index.newest(package)]
        yanked = sorted(index.packages.keys() - {reference.package for reference in wanted})
        notices += [Notice("yanked", f"every version of {package} is yanked: it is not locked") for package in yanked]
    for reference in wanted:
        found = resolve(index, reference)
        published = found.published
        packages[found.package] = LockedVersion(
            version=str(found.version),
            file=published.file,
            bytes=published.bytes,
            sha256=published.sha256,
            pinned=reference.version is not None,
            model=published.model,
        )
        notices += found.notices
    return Lock(location=location, packages=packages), notices


def _again(before: Lock | None) -> Iterable[Reference]:
    old = {} if before is None else before.packages
    return [Reference(package, locked.number if locked.pinned else None) for package, locked in sorted(old.items())]
