"""Replacing a file only as long as it is what was seen, without relying on locks.

On some network file systems a lock is granted to everybody, on others to nobody. What all file systems do is to make a
new file for one process only. So whoever replaces a file first makes another one, the claim, looks at the file once
more, replaces it and deletes the claim, which takes milliseconds.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from tophub_registry.errors import EnvironmentFailure, UsageError
from tophub_registry.files import atomic_write, clear_leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 10.0
"""Seconds to wait for another process's claim."""

_PAUSE = 0.01


def file_lock(path: Path, *, timeout: float) -> FileLock:
    """Return the lock that a file stands for; to acquire it is an OSError where the file system has no locks.

    Newer versions of filelock would take the file's existence for the lock there, and wait for a killed process.
    """
    if hasattr(FileLock, "fallback_to_soft"):
        return FileLock(path, timeout=timeout, fallback_to_soft=False)
    return FileLock(path, timeout=timeout)


@contextmanager
def exclusively(path: Path) -> Iterator[bool]:
    """Let one process at a time replace a file; yield whether this one may.

    False if another process has not finished in `PATIENCE` seconds, or if the folder can't be written to. The claim of
    a killed process is deleted, at once if it ran on this machine, otherwise as other leftovers are.
    """
    claim = path.with_name(f".{path.name[:100]}.{0:016x}.part")  # a temporary file's name
    mine = _claimed(claim)
    try:
        yield mine
    finally:
        if mine:
            with suppress(OSError):
                claim.unlink()


def _claimed(claim: Path) -> bool:
    end = time.monotonic() + PATIENCE
    while (mine := _make(claim)) is None and time.monotonic() < end:
        _break(claim)
        time.sleep(_PAUSE)
    return bool(mine)


def _make(claim: Path) -> bool | None:
    """Make a claim; None if another process has it, False if none can be made."""
    try:
        with atomic_write(claim, durable=False) as stream:
            stream.write(f"{_machine()} {os.getpid()}".encode())
    except UsageError:
        return None
    except EnvironmentFailure:
        return False
    return True


def _break(claim: Path) -> None:
    """Delete the claim of a process of this machine that has ended, or an old one."""
    clear_leftovers(claim.parent)
    with suppress(OSError, ValueError):
        descriptor = os.open(claim, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            machine, _, process = os.read(descriptor, 200).decode().rpartition(" ")
            if machine == _machine() and not Path(f"/proc/{int(process)}").exists():
                # Another process may break it too, and a third one make its own meanwhile.
                with suppress(OSError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                if os.path.samestat(os.fstat(descriptor), claim.lstat()):
                    claim.unlink()
        finally:
            os.close(descriptor)


def _machine() -> str:
    """Return what tells this machine's processes from all others: its last start, and its space of process numbers."""
    start = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{start} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115  # no path
