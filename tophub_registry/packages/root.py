"""The root: where packages are kept on this machine, `~/.tvm/tophub`.

The log files lie there by the names under which AutoTVM clients look for them. Beside them, in `.indexes`,
is what each location answered last, so that a location can't go back unnoticed and packages can be listed
without a network.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from tophub_registry.errors import EnvironmentFailure, InputError
from tophub_registry.files import atomic_write
from tophub_registry.packages.index import Index, check_successor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tophub_registry.packages.index import Published
    from tophub_registry.packages.location import Location

TURN = 120.0
"""Seconds to wait while another process works on the same file, before working beside it."""


@dataclass(frozen=True)
class Root:
    """The folder where packages are kept; it needs not be there yet.

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
        """Return where a published version is kept."""
        return self.path / published.file

    def strangers(self, index: Index | None) -> tuple[Path, ...]:
        """Return the files that lie there and that an index does not know, by name."""
        known = {} if index is None else index.packages
        names = {published.file for versions in known.values() for published in versions.values()}
        try:
            found = sorted(self.path.iterdir())
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise EnvironmentFailure(f"can't be read: {error.strerror or error}", file=self.path) from error
        return tuple(path for path in found if path.is_file() and path.name[0] != "." and path.name not in names)

    def remembered(self, location: Location) -> Index | None:
        """Return the index that a location answered with last; None where none is known."""
        path = self._memory(location)
        try:
            return Index.parse(path.read_bytes(), file=path)
        except (OSError, InputError):  # also one that a later release of this project wrote
            return None

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
                    _write_over(path, offered.to_bytes())

    def _memory(self, location: Location) -> Path:
        return self.path / ".indexes" / f"{hashlib.sha256(location.name.encode()).hexdigest()[:16]}.json"


def _write_over(path: Path, data: bytes) -> None:
    with atomic_write(path, overwrite=True) as stream:
        stream.write(data)


@contextmanager
def taking_turns(path: Path) -> Iterator[None]:
    """Let one process after the other work on a file, where the file system can lock.

    Turns save work and traffic; nothing is lost without them, since files are replaced as a whole. So where
    no lock can be had in `TURN` seconds, or at all, the work goes on beside the others'.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    with suppress(OSError, NotImplementedError, Timeout):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=TURN)
    try:
        yield
    finally:
        lock.release()
