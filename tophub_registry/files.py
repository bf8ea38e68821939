"""Writing files so that a crash at any moment leaves the old file or the complete new one.

Everything is written to a temporary name in the destination's own folder, synced, and then renamed. The
temporary names end in `.part`, and a process that writes such a file holds a lock on it: what a killed process
leaves behind is never read, and the next write into the same folder deletes it.
"""

from __future__ import annotations

import atexit
import ctypes
import errno
import fcntl
import functools
import io
import json
import os
import re
import secrets
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tophub_registry.errors import EnvironmentFailure, InputError, UsageError

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""The errors of file systems without hard links."""

_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{16}\.part")

_YOUNG = 60.0
"""Age in seconds by which the writer of a temporary file has certainly locked it."""

_STALE = 3600.0
"""Seconds without a write after which a temporary file counts as abandoned, if files can't be locked."""

_AT_FDCWD, _RENAME_NOREPLACE = -100, 1  # Linux's fcntl.h and fs.h


@contextmanager
def atomic_write(path: str | Path, *, overwrite: bool = False) -> Iterator[IO[bytes]]:
    """Open a temporary file that becomes `path` when the block ends without an error.

    Errors that the block raises itself pass through unchanged; only errors of this file are reported for it.

    Parameters
    ----------
    path
        The destination, in a folder that is there; see `make_folders`.
    overwrite
        Whether an existing file is replaced. Otherwise it is an error, even if the file appears while the block
        runs: when several processes create the same file, exactly one wins.

    Raises
    ------
    UsageError
        `path` exists and `overwrite` is false, or see `check_place`; nothing was changed.
    EnvironmentFailure
        The disk is full, the folder can't be written to, …; nothing was changed.
    """
    path = Path(path)
    check_place(path)
    if not overwrite and path.exists():
        raise _exists(path)
    with _errors_of(path):
        clear_leftovers(path.parent)
        temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.part")
        # The mode is the process's own, by its umask, which is not to be touched: other threads make files too.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    discard = functools.partial(temporary.unlink, missing_ok=True)
    atexit.register(discard)  # for who exits without leaving this block
    try:
        stream = io.BufferedWriter(_Raw(descriptor, path))
        try:
            yield stream
            stream.flush()
            with _errors_of(path):
                os.fsync(descriptor)
                if overwrite:
                    temporary.replace(path)
                else:
                    _become(temporary, path)
                sync_folder(path.parent)
        finally:
            with suppress(EnvironmentFailure, OSError):  # a failed write was reported already
                stream.close()
    finally:
        with suppress(OSError):
            discard()
        atexit.unregister(discard)


def check_place(path: Path) -> None:
    """Check that a file can have this path; it may exist. Commands do so before long work whose result goes there.

    Raises
    ------
    UsageError
        It is a folder, or its folder is missing: a new one would hide a typing error.
    EnvironmentFailure
        The name is too long, or its folder can't be read.
    """
    with _errors_of(path):
        if path.is_dir():
            raise UsageError("this is a folder", file=path, remedy="name a file")
    _check_around(path)


def make_folder(folder: Path) -> None:
    """Make a folder that a user has named, unless it is there.

    Raises
    ------
    UsageError
        The folder around it is missing, or it is a file.
    EnvironmentFailure
        It can't be made.
    """
    check_folder_place(folder)
    with _errors_of(folder):
        folder.mkdir(exist_ok=True)


def check_folder_place(folder: Path) -> None:
    """Check that a folder can have this path, as `make_folder` does; it may exist."""
    with _errors_of(folder):
        if folder.exists() and not folder.is_dir():
            raise UsageError("this is a file", file=folder, remedy="name a folder")
    _check_around(folder)


def make_folders(folder: Path) -> None:
    """Make a folder of the program's own, and those around it, unless they are there.

    Raises
    ------
    EnvironmentFailure
        It can't be made.
    """
    with _errors_of(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _check_around(path: Path) -> None:
    """Raise UsageError if there is no folder around a path."""
    folder = path.parent
    with _errors_of(path):
        if folder.is_dir():
            return
        if folder.exists():
            raise UsageError("not a folder", file=folder, remedy="choose another path")
    raise UsageError("no such folder", file=folder, remedy=f"`mkdir -p {shlex.quote(str(folder))}` makes it")


def clear_leftovers(folder: Path) -> None:
    """Delete temporary files in a folder whose writers were killed.

    Files that are locked or less than a minute old are kept, and on a file system without locks those that were
    written to in the last hour.
    """
    with suppress(OSError):
        for entry in os.scandir(folder):
            if _LEFTOVER.fullmatch(entry.name):
                with suppress(OSError):  # gone already, or another user's
                    _clear(entry.path)


def _clear(path: str) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        age = time.time() - os.fstat(descriptor).st_mtime
        if age < _YOUNG:
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError:
            if age < _STALE:
                return
        os.unlink(path)  # noqa: PTH108  # a name out of scandir
    finally:
        os.close(descriptor)


class _Raw(io.FileIO):
    """A raw file whose errors name the destination."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "wb")
        self._path = path

    def write(self, data: Any, /) -> int:
        with _errors_of(self._path):
            return super().write(data)


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise EnvironmentFailure(f"can't be written: {error.strerror or error}", file=path) from error


def _become(temporary: Path, path: Path) -> None:
    """Give a file its final name, unless another file has it."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if isinstance(error, FileExistsError) or error.errno not in _NO_LINKS:
            raise
        _rename_to_new(temporary, path)


def _rename_to_new(temporary: Path, path: Path) -> None:
    """Do the same on a file system without hard links, such as FAT and many network shares."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is not None:
        if rename(_AT_FDCWD, os.fsencode(temporary), _AT_FDCWD, os.fsencode(path), _RENAME_NOREPLACE) == 0:
            return
        if ctypes.get_errno() == errno.EEXIST:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    if path.exists():  # the last resort: another process may create it between this check and the rename
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    temporary.rename(path)


def _exists(path: Path) -> UsageError:
    return UsageError("the file is already there and is never overwritten", file=path, remedy="choose another name")


def sync_folder(folder: Path) -> None:
    """Make the rename itself durable: without this a power cut can undo the directory entry."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> object:
    """Return the content of a JSON file.

    Raises
    ------
    InputError
        There is no such file, it can't be read, or it is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError("no such file", file=path) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"not a JSON file: {error}", file=path) from error
