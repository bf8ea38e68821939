"""A registry's signed metadata on disk: what is published in `metadata/`, and what waits for signatures in `.staged/`.

Published files never change, except `timestamp.json`, which says what the current ones are, and `root.json`, a copy of
the latest root for people. Staged metadata is invisible to clients: a registry with half of its signatures is still the
last complete one.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tophub_registry.errors import InputError, UsageError
from tophub_registry.files import atomic_write, make_folders
from tophub_registry.packages.folder import read_index
from tophub_registry.packages.index import INDEX_FILE, Index
from tophub_registry.packages.trust.state import METADATA

if TYPE_CHECKING:
    from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

STAGED = ".staged"
"""The folder of what waits for signatures."""

LIFETIMES = {
    "root": timedelta(days=365),
    "targets": timedelta(days=365),
    "snapshot": timedelta(days=30),
    "timestamp": timedelta(days=7),
}
"""How long metadata is valid from when it is made; delegated roles' as long as targets'."""


def is_signed(folder: Path) -> bool:
    """Return whether a registry is signed, or is about to be."""
    return any((folder / part / "root.json").exists() for part in (METADATA, STAGED))


def latest_index(folder: Path) -> Index | None:
    """Return a registry's index with all changes that wait for signatures, None if there is none.

    Raises
    ------
    InputError
        It is invalid.
    EnvironmentFailure
        It can't be read.
    """
    return read_index(folder / STAGED) or read_index(folder)


def expiry(role: str, time: datetime) -> datetime:
    """Return until when metadata that is made now is valid."""
    return (time + LIFETIMES.get(role, LIFETIMES["targets"])).replace(microsecond=0)


@dataclass(frozen=True)
class Store:
    """A registry's folder as its metadata sees it.

    Attributes
    ----------
    folder
        The registry's folder.
    """

    folder: Path

    def root(self, version: int | None = None) -> Metadata[Root] | None:
        """Return the published root, the latest or of a version; None if there is none."""
        if version is None:
            names = (path.name.partition(".")[0] for path in (self.folder / METADATA).glob("*.root.json"))
            version = max((int(name) for name in names if name.isdecimal()), default=0)
        return self._read(f"{METADATA}/{version}.root.json")

    @property
    def timestamp(self) -> Metadata[Timestamp] | None:
        """The published timestamp, None if there is none."""
        return self._read(f"{METADATA}/timestamp.json")

    @property
    def snapshot(self) -> Metadata[Snapshot] | None:
        """The snapshot that the timestamp names."""
        timestamp = self.timestamp
        version = 0 if timestamp is None else timestamp.signed.snapshot_meta.version
        return self._read(f"{METADATA}/{version}.snapshot.json")

    def targets(self, role: str = "targets") -> Metadata[Targets] | None:
        """Return a targets role's published metadata, None if there is none."""
        snapshot = self.snapshot
        entry = None if snapshot is None else snapshot.signed.meta.get(f"{role}.json")
        return None if entry is None else self._read(f"{METADATA}/{entry.version}.{role}.json")

    @property
    def delegated(self) -> list[str]:
        """The names of the delegated roles, as they will be."""
        targets = self.latest("targets")
        delegations = None if targets is None else targets.signed.delegations
        return [] if delegations is None else [*(delegations.roles or {})]

    def staged(self, role: str) -> Metadata[Any] | None:
        """Return a role's metadata that waits for signatures, None if there is none."""
        return self._read(f"{STAGED}/{role}.json")

    def all_staged(self) -> Iterator[tuple[str, Metadata[Any]]]:
        """Yield the roles whose metadata waits, the delegating ones first."""
        for role in ("root", "targets", *self.delegated):
            if (waiting := self.staged(role)) is not None:
                yield role, waiting

    def latest(self, role: str) -> Metadata[Any] | None:
        """Return a role's metadata that waits for signatures, else the published one."""
        return self.staged(role) or (self.root() if role == "root" else self.targets(role))

    def known_root(self) -> Metadata[Root]:
        """Return the latest root; UsageError if the registry is not signed."""
        found: Metadata[Root] | None = self.latest("root")
        if found is None:
            raise UsageError("the registry is not signed", file=self.folder, remedy="`tophub keys start` begins it")
        return found

    def stage(self, role: str, metadata: Metadata[Any]) -> None:
        """Let a role's metadata wait for signatures."""
        self.write(f"{STAGED}/{role}.json", metadata.to_bytes())

    def stage_index(self, index: Index) -> None:
        """Let an index wait for signatures."""
        self.write(f"{STAGED}/{INDEX_FILE}", index.to_bytes())

    def discard(self) -> bool:
        """Discard what waits for signatures; return whether there was anything."""
        there = (self.folder / STAGED).is_dir()
        with suppress(FileNotFoundError):
            (self.folder / STAGED / INDEX_FILE).unlink()  # what is left after a crash is metadata without changes
        shutil.rmtree(self.folder / STAGED, ignore_errors=True)
        return there

    def write(self, name: str, data: bytes) -> None:
        """Write a file of the registry as a whole."""
        make_folders((self.folder / name).parent)
        with atomic_write(self.folder / name, overwrite=True) as stream:
            stream.write(data)

    def _read(self, name: str) -> Metadata[Any] | None:
        path = self.folder / name
        return read_metadata(path) if path.exists() else None


def read_metadata(path: Path) -> Metadata[Any]:
    """Read a metadata file.

    Raises
    ------
    InputError
        It is missing, or not TUF metadata.
    """
    from tuf.api.exceptions import StorageError
    from tuf.api.metadata import Metadata
    from tuf.api.serialization import DeserializationError

    try:
        return Metadata.from_file(str(path))
    except (StorageError, DeserializationError) as error:
        raise InputError("not signed metadata", file=path, remedy="`tophub keys show` lists what there is") from error
