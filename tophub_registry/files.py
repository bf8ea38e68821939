"""Writing files so that a crash at any moment leaves the old file or the complete new one.

Everything is written to a temporary name in the destination's own folder, synced, and then renamed. The
temporary names end in `.part`, and a process that writes such a file holds a lock on it: what a killed process
leaves behind is never read, and the next write into the same folder deletes it. An interrupted download may be set
aside under a name that ends in `.partial`, to be resumed; that too is deleted if nobody comes back for it.
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
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any

from tophub_registry.errors import EnvironmentFailure, InputError, UsageError

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""The errors of file systems without hard links."""

_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{16}\.part(?P<aside>ial)?")

_YOUNG = 60.0
"""Age in seconds by which the writer of a temporary file has certainly locked it."""

_STALE = 3600.0
"""Seconds without a write after which a temporary file counts as abandoned, if files can't be locked."""

_KEPT_ASIDE = 7 * 86400.0
"""Seconds for which an interrupted download is kept."""

_WORTH_KEEPING = 1 << 20
"""Bytes below which an interrupted download is not kept: they are quickly fetched again."""

_AT_FDCWD, _RENAME_NOREPLACE = -100, 1  # Linux's fcntl.h and fs.h


Guard = Callable[[], AbstractContextManager[bool]]
"""Entered around the moment in which a file is replaced; yields whether that is still allowed."""


@contextmanager
def atomic_write(
    path: str | Path,
    *,
    overwrite: bool = False,
    guard: Guard | None = None,
    aside: Path | None = None,
    durable: bool = True,
) -> Iterator[IO[bytes]]:
    """Open a temporary file that becomes `path` when the block ends without an error.

    Errors that the block raises itself pass through unchanged; only errors of this file are reported for it.

    Parameters
    ----------
    path
        The destination, in a folder that is there; see `make_folders`.
    overwrite
        Whether an existing file is replaced. Otherwise it is an error, even if the file appears while the block
        runs: when several processes create the same file, exactly one wins.
    guard
        With `overwrite`: entered when the file is about to be replaced. If it yields false, the file is not replaced,
        which is the same error.
    aside
        Where the content is set aside if the block is interrupted, unless it is short; named by `set_aside_name`.
        What was set aside there is in the stream at first. A block that does not want to keep it empties the stream.
    durable
        Whether the file must survive a power cut.

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
        new = 0 if aside is not None and _take_up(aside, temporary) else os.O_EXCL
        # The mode is the process's own, by its umask, which is not to be touched: other threads make files too.
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | new | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        raw = _Raw(descriptor, path)
    give_up = functools.partial(_give_up, temporary, raw, aside)
    atexit.register(give_up)  # for who exits without leaving this block
    try:
        stream = io.BufferedRandom(raw)
        try:
            try:
                yield stream
                stream.flush()
            except BaseException:
                give_up()
                raise
            with _errors_of(path):
                if durable:
                    os.fsync(descriptor)
                if not overwrite:
                    _become(temporary, path)
                else:
                    with nullcontext(enter_result=True) if guard is None else guard() as allowed:
                        if not allowed:
                            raise _exists(path)
                        temporary.replace(path)
                if aside is not None:
                    aside.unlink(missing_ok=True)
                if durable:
                    sync_folder(path.parent)
        finally:
            with suppress(EnvironmentFailure, OSError):  # a failed write was reported already
                stream.close()
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        atexit.unregister(give_up)


def set_aside_name(path: Path, sha256: str) -> Path:
    """Return where an interrupted download is set aside; the name has the hash of the file that it is a part of."""
    return path.with_name(f".{path.name[:100]}.{sha256[:16]}.partial")


def _take_up(aside: Path, temporary: Path) -> bool:
    """Go on with what was set aside, if anything was; of several processes, one gets it."""
    try:
        os.utime(aside)  # so that nobody takes it for a leftover
        aside.rename(temporary)
    except OSError:
        return False
    return True


def _give_up(temporary: Path, raw: _Raw, aside: Path | None) -> None:
    """Delete an unfinished file, or set it aside."""
    with suppress(OSError):
        if aside is not None and not raw.failed and temporary.stat().st_size >= _WORTH_KEEPING:
            temporary.replace(aside)
        temporary.unlink(missing_ok=True)


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
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error


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
    """Delete temporary files in a folder whose writers were killed, and interrupted downloads that are a week old.

    Files that are locked or less than a minute old are kept, and on a file system without locks those that were
    written to in the last hour.
    """
    with suppress(OSError):
        for entry in os.scandir(folder):
            if found := _LEFTOVER.fullmatch(entry.name):
                with suppress(OSError):  # gone already, or another user's
                    if not found["aside"]:
                        _clear(entry.path)
                    elif abs(time.time() - entry.stat(follow_symlinks=False).st_mtime) > _KEPT_ASIDE:
                        os.unlink(entry.path)  # noqa: PTH108  # a name out of scandir


def _clear(path: str) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        age = time.time() - os.fstat(descriptor).st_mtime
        if 0 <= age < _YOUNG:  # below 0 if the clock was set back: the age is not known
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
    """A raw file whose errors name the destination.

    Attributes
    ----------
    failed
        Whether a write failed, as on a full disk.
    """

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "r+b")
        self._path = path
        self.failed = False

    def write(self, data: Any, /) -> int:
        try:
            with _errors_of(self._path):
                return super().write(data)
        except BaseException:
            self.failed = True
            raise


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
