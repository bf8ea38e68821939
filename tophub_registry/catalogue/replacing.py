"""Replacing a folder of files as a whole: a crash at any moment leaves the old folder or the complete new one.

The new folder is written beside the old one under a temporary name, synced, and exchanged with it in one step. Only a
folder that this module wrote is ever replaced: its manifest lists its files, and a file that it does not list is
somebody's own.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tophub_registry.errors import EnvironmentFailure, UsageError
from tophub_registry.files import check_folder_place, sync_folder

MANIFEST = "catalogue.json"

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # Linux's fcntl.h and fs.h

_CANT_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})

_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{16}\.part")

_ABANDONED = 3600.0
"""Seconds after which another process's temporary folder counts as abandoned."""


class NewFolder:
    """A folder that is being written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.mkdir()

    def write(self, name: str, data: bytes) -> None:
        """Write a file, given by its path in the folder."""
        path = self._path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())

    def sync(self) -> None:
        """Make the files' names durable."""
        for folder in self._path.rglob("*"):
            if folder.is_dir():
                sync_folder(folder)
        sync_folder(self._path)


def check_replaceable(folder: Path) -> None:
    """Check that a folder is missing, empty, or one of ours without anybody else's files.

    Raises
    ------
    UsageError
        It is not, and the error names a file that would be lost; or the folder around it is missing.
    EnvironmentFailure
        It can't be read.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError("not a folder", file=folder, remedy="-o names the site's folder")
    check_folder_place(folder)
    try:
        here = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}
    except OSError as error:
        raise EnvironmentFailure(f"can't be read: {error.strerror or error}", file=folder) from error
    others = sorted(here - _listed(folder))
    if others:
        count = f" and {len(others) - 1} more" if others[1:] else ""
        raise UsageError(
            f"the folder has files that are not the catalogue's: {others[0]}{count}",
            file=folder,
            remedy="give -o a folder of its own",
        )


@contextmanager
def replacing(folder: Path) -> Iterator[NewFolder]:
    """Write a folder that takes another's place when the block ends without an error.

    Raises
    ------
    EnvironmentFailure
        A file can't be written, or the file system can't exchange two folders; the old one is unchanged.
    """
    folder = folder.absolute()
    temporary = folder.with_name(f".{folder.name[:100]}.{secrets.token_hex(8)}.part")
    try:
        _clear_leftovers(folder.parent)
        new = NewFolder(temporary)
        yield new
        new.sync()
        check_replaceable(folder)
        _become(temporary, folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise EnvironmentFailure(f"can't be written: {error.strerror or error}", file=folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # the old folder, if the two were exchanged


def _listed(folder: Path) -> set[str]:
    """Return the files that a folder's manifest lists, and the manifest."""
    try:
        files: Any = json.loads((folder / MANIFEST).read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()
    return {MANIFEST, *(file for file in files if isinstance(file, str))} if isinstance(files, list) else set()


def _become(temporary: Path, folder: Path) -> None:
    if not folder.exists():
        temporary.rename(folder)
        return
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is not None:
        if rename(_AT_FDCWD, os.fsencode(temporary), _AT_FDCWD, os.fsencode(folder), _RENAME_EXCHANGE) == 0:
            return
        if (number := ctypes.get_errno()) not in _CANT_EXCHANGE:
            raise OSError(number, os.strerror(number))
    if not any(folder.iterdir()):
        folder.rmdir()
        temporary.rename(folder)
        return
    raise EnvironmentFailure(
        "this file system can't exchange two folders in one step",
        file=folder,
        remedy="delete the old folder first, or write the site elsewhere and move it",
    )


def _clear_leftovers(parent: Path) -> None:
    """Delete folders that killed processes left behind."""
    with suppress(OSError):
        for path in parent.iterdir():
            if _LEFTOVER.fullmatch(path.name) and path.is_dir():
                with suppress(OSError):
                    if time.time() - path.stat().st_mtime > _ABANDONED:
                        shutil.rmtree(path, ignore_errors=True)
