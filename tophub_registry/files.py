"""Writing files so that a crash at any moment leaves the old file or the complete new one.

Everything is written to a temporary name in the destination's own folder, synced, and then renamed. The
temporary names end in `.part`, so that what a killed process left behind is recognised and never read.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from tophub_registry.errors import EnvironmentFailure, UsageError


@contextmanager
def atomic_write(path: str | Path, *, overwrite: bool = False) -> Iterator[IO[bytes]]:
    """Open a temporary file that becomes `path` when the block ends without an error.

    Parameters
    ----------
    path
        The destination; its folder is made if it is missing.
    overwrite
        Whether an existing file is replaced. Otherwise it is an error, also when the file appears while
        the block runs: of several processes that create the same file, exactly one wins.

    Raises
    ------
    UsageError
        `path` exists and `overwrite` is false; nothing was changed.
    EnvironmentFailure
        The disk is full, the folder can't be written to, …; nothing was changed.
    """
    path = Path(path)
    if not overwrite and path.exists():
        raise _exists(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fchmod(stream.fileno(), 0o666 & ~_umask())
            os.fsync(stream.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            os.link(temporary, path)
        _sync_folder(path.parent)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _exists(path: Path) -> UsageError:
    return UsageError("the file is already there and is never overwritten", file=path, remedy="choose another name")


def _unwritable(path: Path, error: OSError) -> EnvironmentFailure:
    return EnvironmentFailure(f"can't be written: {error.strerror or error}", file=path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the renaming itself durable: without it a power cut can undo the directory entry."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
