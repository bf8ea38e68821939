"""Size and hash of a file, by which an index identifies it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from tophub_registry.errors import EnvironmentFailure

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 20


class Digest(NamedTuple):
    """A file's size in bytes, and its SHA-256 in lower-case hexadecimal."""

    bytes: int
    sha256: str

    @staticmethod
    def of(path: str | Path) -> Digest | None:
        """Return a file's digest, None if there is no such file.

        Raises
        ------
        EnvironmentFailure
            The file can't be read.
        """
        try:
            with Path(path).open("rb") as stream:
                meter = Meter()
                for _ in meter.passing(stream):
                    pass
                return meter.digest
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EnvironmentFailure(f"can't be read: {error.strerror or error}", file=path) from error


class Meter:
    """Counts and hashes bytes as they pass through."""

    def __init__(self) -> None:
        self.bytes = 0
        self._hash = hashlib.sha256()

    def add(self, chunk: bytes) -> None:
        """Add more bytes."""
        self.bytes += len(chunk)
        self._hash.update(chunk)

    def passing(self, stream: IO[bytes]) -> Iterator[bytes]:
        """Yield a stream's chunks to its end, adding each."""
        while chunk := stream.read(_CHUNK):
            self.add(chunk)
            yield chunk

    @property
    def digest(self) -> Digest:
        """The digest of all bytes so far."""
        return Digest(self.bytes, self._hash.hexdigest())
