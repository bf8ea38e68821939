"""Writing files so that a crash at any moment leaves the old file or the complete new one.

Everything is written to a temporary name in the destination's own folder, synced, and then renamed. The
temporary names end in `.part`, so that what a killed process left behind is recognised and never read.
"""

from __future__ import annotations

import atexit
import ctypes
import errno
import functools
import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tophub_registry.errors import EnvironmentFailure, UsageError

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""What file systems without hard links answer."""

_AT_FDCWD, _RENAME_NOREPLACE = -100, 1  # Linux's fcntl.h and fs.h


@contextmanager
def atomic_write(path: str | Path, *, overwrite: bool = False) -> Iterator[IO[bytes]]:
    """Open a temporary file that becomes `path` when the block ends without an error.

    An error that the block raises itself leaves as it is: only what goes wrong with this file is told of it.

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
    with _told_of(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.part")
        # The mode is the process's own, by its umask, which is not to be touched: other threads make files too.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    discard = functools.partial(temporary.unlink, missing_ok=True)
    atexit.register(discard)  # for who exits without leaving this block
    try:
        stream = io.BufferedWriter(_Raw(descriptor, path))
        try:
            yield stream
            stream.flush()
            with _told_of(path):
                os.fsync(descriptor)
        finally:
            with suppress(EnvironmentFailure, OSError):  # what can't be written is told already
                stream.close()
        with _told_of(path):
            if overwrite:
                temporary.replace(path)
            else:
                _become(temporary, path)
            _sync_folder(path.parent)
    finally:
        with suppress(OSError):
            discard()
        atexit.unregister(discard)


class _Raw(io.FileIO):
    """A file that says of which destination an error is."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "wb")
        self._path = path

    def write(self, data: Any, /) -> int:
        with _told_of(self._path):
            return super().write(data)


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise EnvironmentFailure(f"can't be written: {error.strerror or error}", file=path) from error


def _become(temporary: Path, path: Path) -> None:
    """Give a file its name unless there is one of that name."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if isinstance(error, FileExistsError) or error.errno not in _NO_LINKS:
            raise
        _rename_to_new(temporary, path)


def _rename_to_new(temporary: Path, path: Path) -> None:
    """Do the same where the file system knows no hard links, as FAT and many network shares."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is not None:
        if rename(_AT_FDCWD, os.fsencode(temporary), _AT_FDCWD, os.fsencode(path), _RENAME_NOREPLACE) == 0:
            return
        if ctypes.get_errno() == errno.EEXIST:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    if path.exists():  # the last resort, with a moment between looking and renaming
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    temporary.rename(path)


def _exists(path: Path) -> UsageError:
    return UsageError("the file is already there and is never overwritten", file=path, remedy="choose another name")


def _sync_folder(folder: Path) -> None:
    """Make the renaming itself durable: without it a power cut can undo the directory entry."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
