"""The root: where packages are kept on this machine, `~/.tvm/tophub`.

The log files lie there by the names under which AutoTVM clients look for them. Beside them, in `.indexes`,
is what each location answered last, so that a location can't go back unnoticed, packages can be listed
without a network, and everybody can tell from a file's bytes which registry published it.

Two registries may number different files alike. The one that is fetched first gets the name and keeps it; the
other one's file is kept in `.others`, by its hash, and is what everybody in this project reads who asks for that
registry's. Clients of AutoTVM, which go by the name, go on reading the first. To give them the second, delete the
first and fetch again. Only a damaged file, one that is no log, is ever replaced.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from tophub_registry.errors import EnvironmentFailure, InputError
from tophub_registry.files import atomic_write
from tophub_registry.packages.digest import Digest
from tophub_registry.packages.folder import read_index
from tophub_registry.packages.index import Index, Published, check_successor
from tophub_registry.packages.location import BUILTIN, Location, builtin
from tophub_registry.packages.version import FileName

if TYPE_CHECKING:
    from collections.abc import Iterator

TURN = 120.0
"""Seconds to wait while another process works on the same file, before working beside it."""


@dataclass(frozen=True)
class Root:
    """The folder where packages are kept; it need not exist.

    Attributes
    ----------
    path
        The folder.
    """

    path: Path

    @staticmethod
    def at(path: str | Path | None = None) -> Root:
        """Return the root at `path`, by default the one that AutoTVM clients use."""
        return Root(Path(os.path.expanduser("~/.tvm/tophub" if path is None else path)).absolute())  # noqa: PTH111  # Path's own fails on "~nobody"

    def file(self, published: Published) -> Path:
        """Return where a published version is kept, unless another registry's file has that name."""
        return self.path / published.file

    def files(self) -> tuple[Path, ...]:
        """Return the files that lie there, by name, without hidden ones."""
        try:
            found = sorted(self.path.iterdir())
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise EnvironmentFailure(f"can't be read: {error.strerror or error}", file=self.path) from error
        return tuple(path for path in found if path.is_file() and path.name[0] != ".")

    def origin(self, path: Path) -> Origin | None:
        """Return the registry that published a package's file; None where none that was seen from here did."""
        name, digest = FileName.parse(path.name), Digest.of(path)
        if name is None or digest is None:
            return None
        for location, index in self._registries():
            published = index.versions(name.package).get(name.version)
            if published is not None and published.digest == digest:
                return Origin(location, published)
        return None

    def _registries(self) -> Iterator[tuple[str, Index]]:
        """Yield every registry that was seen from here and its index, the one seen last first."""
        memories = [path for path in self.path.glob(".indexes/*.json") if path.is_file()]
        for path in sorted(memories, key=lambda path: path.stat().st_mtime, reverse=True):
            if (memory := _recall(path)) is not None:
                yield memory.location, memory.index
        with suppress(InputError, EnvironmentFailure):
            if (index := read_index(builtin().path)) is not None:
                yield BUILTIN, index

    def remembered(self, location: Location) -> Index | None:
        """Return the index that a location answered with last; None where none is known."""
        memory = _recall(self._memory(location))
        return None if memory is None else memory.index

    def follow(self, location: Location, offered: Index) -> None:
        """Check what a location answers against what it answered before, and remember it.

        Raises
        ------
        EnvironmentFailure
            The location went back; what it answered before stays remembered.
        """
        path = self._memory(location)
        with taking_turns(path):
            seen = self.remembered(location)
            if seen is not None:
                remedy = f"fetch from elsewhere; or, if that registry was begun anew, delete {path}"
                check_successor(seen, offered, place=location.address("index.json"), remedy=remedy)
            if seen != offered:
                with suppress(EnvironmentFailure):  # a root that can't be written to can still be listed
                    _remember(path, _Memory(location=location.name, index=offered))

    def _memory(self, location: Location) -> Path:
        return self.path / ".indexes" / f"{hashlib.sha256(location.name.encode()).hexdigest()[:16]}.json"


class Origin(NamedTuple):
    """Which registry published a file: its location's name, and the entry in its index."""

    location: str
    published: Published


class _Memory(BaseModel):
    """What a location answered last."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    location: str
    index: Index


def _recall(path: Path) -> _Memory | None:
    try:
        return _Memory.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):  # also one that another release of this project wrote
        return None


def _remember(path: Path, memory: _Memory) -> None:
    with atomic_write(path, overwrite=True) as stream:
        stream.write(memory.model_dump_json().encode())


@contextmanager
def taking_turns(path: Path) -> Iterator[bool]:
    """Let one process after the other work on a file, where the file system can lock; yield whether it does.

    Turns save work and traffic; nothing is lost without them, since files are written as a whole. So where
    no lock can be had in `TURN` seconds, or at all, the work goes on beside the others'.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    with suppress(OSError, NotImplementedError, Timeout):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=TURN)
    try:
        yield lock.is_locked
    finally:
        lock.release()
