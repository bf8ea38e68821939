"""The root: where packages are kept on this machine, `~/.tvm/tophub`.

Log files have the names that AutoTVM clients look for. Beside them, `.indexes` has the last index of each
location, so that a location can't go back unnoticed, packages can be listed offline, and a file's bytes tell
which registry published it.

Two registries may give the same number to different files. The file that is fetched first gets the name and
keeps it. The other is kept in `.others`, under its hash, and is what this project reads when it is asked for that
registry's version. AutoTVM clients, which go by the name, keep reading the first; to give them the other, delete
the first and fetch again. Only a damaged file, which can't be read as a log, is ever replaced.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from filelock import Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.files import atomic_write, clear_leftovers
from tophub_registry.packages.digest import Digest
from tophub_registry.packages.exclusive import exclusively, file_lock
from tophub_registry.packages.folder import Listed, read_index
from tophub_registry.packages.index import Index, Notice, Published, check_successor
from tophub_registry.packages.location import BUILTIN, Location, builtin
from tophub_registry.packages.trust.policy import Trust
from tophub_registry.packages.trust.state import METADATA
from tophub_registry.packages.version import FileName

if TYPE_CHECKING:
    from collections.abc import Iterator

TURN = 120.0
"""Seconds to wait for another process that works on the same file, before going on without the lock."""


@dataclass(frozen=True)
class Root:
    """The folder where packages are kept; it need not exist.

    Attributes
    ----------
    path
        The folder.
    trust
        Whose signatures are demanded of what is fetched into it.
    """

    path: Path
    trust: Trust = field(default_factory=Trust)

    @staticmethod
    def at(path: str | Path | None = None, *, trust: Trust | None = None) -> Root:
        """Return the root at `path`, by default the one that AutoTVM clients use."""
        folder = Path(os.path.expanduser("~/.tvm/tophub" if path is None else path)).absolute()  # noqa: PTH111  # Path's own fails on "~nobody"
        return Root(folder, Trust.of() if trust is None else trust)

    def own(self, backend: str) -> Path:
        """Return the user's own log for a backend: what was measured on this machine while models were compiled."""
        return self.path / "own" / f"{backend}.log"

    def own_logs(self, backend: str) -> list[Path]:
        """Return the user's own log for a backend if there is one, as `find_sources` takes it."""
        return [path for path in (self.own(backend),) if path.is_file()]

    def file(self, published: Listed) -> Path:
        """Return where a published version is kept, unless another registry's file has that name."""
        return self.path / published.file

    def files(self) -> tuple[Path, ...]:
        """Return the files in it by name, without hidden ones."""
        try:
            found = sorted(self.path.iterdir())
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise EnvironmentFailure(f"can't be read: {error.strerror or error}", file=self.path) from error
        return tuple(path for path in found if path.is_file() and path.name[0] != ".")

    def origin(self, path: Path) -> Origin | None:
        """Return the registry that published a package's file, None if no registry that was seen from here did."""
        name, digest = FileName.parse(path.name), Digest.of(path)
        if name is None or digest is None:
            return None
        for location, index in self.registries():
            published = index.versions(name.package).get(name.version)
            if published is not None and published.digest == digest:
                return Origin(location, published)
        return None

    def registries(self) -> Iterator[tuple[str, Index]]:
        """Yield the name and the index of each registry that was seen from here.

        The one with most changes comes first: of copies of one registry, that is the latest, whatever the clock says.
        """
        memories = [memory for path in self.path.glob(".indexes/*.json") if (memory := _recall(path)) is not None]
        for memory in sorted(memories, key=lambda memory: (-memory.index.serial, memory.location)):
            yield memory.location, memory.index
        with suppress(InputError, EnvironmentFailure):
            if (index := read_index(builtin().path)) is not None:
                yield BUILTIN, index

    @staticmethod
    def recall(path: Path) -> tuple[str, Index] | None:
        """Return the location's name and the index that a file in `.indexes` has; None if it can't be read."""
        memory = _recall(path)
        return None if memory is None else (memory.location, memory.index)

    def remembered(self, location: Location) -> Index | None:
        """Return the last index that a location served, None if there is none."""
        memory = _recall(self._memory(location))
        return None if memory is None else memory.index

    def follow(self, location: Location, offered: Index) -> tuple[Notice, ...]:
        """Check a location's index against the last one that it served, and remember it; return notices.

        Raises
        ------
        EnvironmentFailure
            The location went back; the last index stays remembered.
        """
        seen = self.remembered(location)
        notices: tuple[Notice, ...] = ()
        if seen is not None:
            remedy = f"use another location; or, if this registry was created anew, delete {self._memory(location)}"
            notices = check_successor(seen, offered, place=location.address("index.json"), remedy=remedy)
        self._remember(location, seen, offered)
        return notices

    def remember(self, location: Location, index: Index) -> None:
        """Remember the last index that a location served."""
        self._remember(location, self.remembered(location), index)

    def _remember(self, location: Location, seen: Index | None, index: Index) -> None:
        path = self._memory(location)
        if seen == index:
            with suppress(OSError):  # a read-only root can still be listed
                os.utime(path)  # when it was last served
            return
        memory = _Memory(location=location.name, index=index)
        with (
            suppress(EnvironmentFailure, UsageError),  # a read-only root, or another process remembers a later one
            taking_turns(path),
            atomic_write(path, overwrite=True, guard=lambda: self._unless_later(location, seen, index)) as stream,
        ):
            stream.write(memory.model_dump_json().encode())

    @contextmanager
    def _unless_later(self, location: Location, seen: Index | None, index: Index) -> Iterator[bool]:
        """Let an index be remembered unless another process remembers a later one; no lock is relied on."""
        with exclusively(self._memory(location)) as alone:
            there = self.remembered(location)
            yield alone and (there is None or there == seen or there.serial <= index.serial)

    def seen(self, location: Location) -> datetime | None:
        """Return when a location last served its index; None if it never did."""
        try:
            return datetime.fromtimestamp(self._memory(location).stat().st_mtime, timezone.utc)
        except OSError:
            return None

    def clear_leftovers(self) -> None:
        """Delete what killed processes have left in the root."""
        parts = ("", METADATA, f"{METADATA}/root_history")
        trust = [kept / part for kept in self.path.glob(".trust/*") for part in parts]
        for folder in (self.path, self.path / ".indexes", *self.path.glob(".others/*"), *trust):
            clear_leftovers(folder)

    def _memory(self, location: Location) -> Path:
        return self.path / ".indexes" / f"{hashlib.sha256(location.name.encode()).hexdigest()[:16]}.json"


class Origin(NamedTuple):
    """Which registry published a file: its location's name, and the entry in its index."""

    location: str
    published: Published


class _Memory(BaseModel):
    """The last index that a location served."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    location: str
    index: Index


def _recall(path: Path) -> _Memory | None:
    try:
        return _Memory.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):  # or another release of this project wrote it
        return None


@contextmanager
def taking_turns(path: Path) -> Iterator[None]:
    """Let one process at a time work on a file, where locks work.

    The lock saves work and traffic; nothing depends on it, since files are written as a whole, and replaced under
    `exclusively`. So if it can't be had in `TURN` seconds, or at all, the work goes on without it.
    """
    lock = file_lock(path.with_name(f".{path.name}.lock"), timeout=TURN)
    with suppress(OSError, NotImplementedError, Timeout):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
