"""Running something in a child process, whose system calls that write are counted, made to fail, or end it.

The child is traced with ptrace(2), so that nothing is left out: whatever makes the call, it stops before. Linux on
x86-64 only, in one thread.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import sys
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tophub_registry.errors import TophubError

if TYPE_CHECKING:
    from collections.abc import Callable

POSSIBLE = sys.platform == "linux" and platform.machine() == "x86_64"

_TRACEME, _POKEUSER, _SYSCALL, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 6, 24, 0x4200, 0x420E
_TRACESYSGOOD, _EXITKILL = 1, 1 << 20
_RAX, _ORIG_RAX = 10 * 8, 15 * 8

_CALLS = {
    1: "write",
    18: "pwrite64",
    20: "writev",
    2: "open",
    257: "openat",
    85: "creat",
    74: "fsync",
    75: "fdatasync",
    82: "rename",
    264: "renameat",
    316: "renameat2",
    86: "link",
    265: "linkat",
    87: "unlink",
    263: "unlinkat",
    83: "mkdir",
    258: "mkdirat",
    84: "rmdir",
    76: "truncate",
    77: "ftruncate",
    280: "utimensat",
    73: "flock",
}
_FLAGS = {"open": 1, "openat": 2}
"""Which argument has the flags."""

NEEDS_SPACE = frozenset(_CALLS.values()) - {"unlink", "unlinkat", "rmdir", "flock"}
"""Calls that fail on a full disk."""

CHANGES = frozenset(_CALLS.values()) - {"fsync", "fdatasync", "flock"}
"""Calls that fail in a folder that is read-only or somebody else's; those with an open file do not come so far."""


@dataclass(frozen=True)
class Run:
    """How a traced child ended.

    Attributes
    ----------
    calls
        The system calls that write, in order.
    code
        Its exit code: 0 when it is done, 3 and the like after an error of ours, 99 after any other; -9 if killed.
    """

    calls: tuple[str, ...]
    code: int


def traced(run: Callable[[], object], *, kill: int | None = None, fail: Callable[[int, str], int] | None = None) -> Run:
    """Run a function in a child process.

    Parameters
    ----------
    run
        The function; it must not start threads.
    kill
        Before which call the child is killed, counted from 0.
    fail
        Called with each call's number and name; returns the error that it fails with, 0 to let it be.
    """
    child = os.fork()
    if child == 0:
        os._exit(_child(run))
    os.waitpid(child, 0)
    _ptrace(_SETOPTIONS, child, 0, _TRACESYSGOOD | _EXITKILL)
    calls: list[str] = []
    forced, passed_on = 0, 0
    while True:
        _ptrace(_SYSCALL, child, 0, passed_on)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            return Run(tuple(calls), os.waitstatus_to_exitcode(status))
        passed_on = 0
        if os.WSTOPSIG(status) != signal.SIGTRAP | 0x80:
            passed_on = os.WSTOPSIG(status)
            continue
        entry, number, arguments = _syscall(child)
        if not entry:
            if forced:
                _ptrace(_POKEUSER, child, _RAX, -forced)
            forced = 0
        elif name := _writing(number, arguments):
            calls.append(name)
            if len(calls) - 1 == kill:
                os.kill(child, signal.SIGKILL)
                return Run(tuple(calls), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            if fail is not None and (forced := fail(len(calls) - 1, name)):
                _ptrace(_POKEUSER, child, _ORIG_RAX, -1)


def _child(run: Callable[[], object]) -> int:
    try:
        _ptrace(_TRACEME, 0, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        run()
    except TophubError as error:
        return error.exit_code
    except BaseException:  # noqa: BLE001  # nothing may return into the test
        traceback.print_exc()
        return 99
    return 0


def _writing(number: int, arguments: tuple[int, ...]) -> str | None:
    name = _CALLS.get(number)
    if name in _FLAGS and not arguments[_FLAGS[name]] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return None
    return None if name == "write" and arguments[0] in (1, 2) else name


def _syscall(child: int) -> tuple[bool, int, tuple[int, ...]]:
    """Return whether a system call begins, its number, and its arguments."""
    info = ctypes.create_string_buffer(88)
    _ptrace(_GET_SYSCALL_INFO, child, len(info), ctypes.addressof(info))
    number, *arguments = struct.unpack_from("<7Q", info.raw, 24)
    return info.raw[0] == 1, number, tuple(arguments)


def _ptrace(request: int, child: int, address: int, data: int) -> None:
    call = ctypes.CDLL(None, use_errno=True).ptrace
    call.restype = ctypes.c_long
    if call(*map(ctypes.c_long, (request, child, address, data))) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
