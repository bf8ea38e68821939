"""Ctrl-C: raises KeyboardInterrupt, or ends the process at once where the exception would have to pass through TVM.

TVM turns an exception that is raised in a callback into an error of its own, with a stack trace, or swallows it. Only
temporary files need to be cleaned up there, and that is done when the process ends.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from tophub_registry.cli import terminal

CODE = 130
"""The exit code after Ctrl-C."""

SAID = "tophub: interrupted\n"


@contextmanager
def of_program() -> Iterator[None]:
    """Let Ctrl-C end the program at once while the block runs, and ignore it afterwards."""
    if not _is_ours():
        yield
        return
    signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def at_once() -> Iterator[None]:
    """Let Ctrl-C end the process at once while the block runs, after removing temporary files."""
    with _handled_by(_leave):
        yield


@contextmanager
def as_exception() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt while the block runs."""
    with _handled_by(signal.default_int_handler):
        yield


@contextmanager
def _handled_by(handler: Callable[..., Any]) -> Iterator[None]:
    if not _is_ours():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def told() -> NoReturn:
    """Report the interruption, and exit."""
    terminal.err(SAID)
    # Python remembers an interruption of `exec`, as in the making of a data class, and would end by the signal itself
    # although it was handled. The next `exec` makes it forget that.
    exec("")  # noqa: S102
    sys.exit(CODE)


def _is_ours() -> bool:
    """Whether Ctrl-C is ours to handle: not if it is ignored, as in the background, or our caller handles it."""
    return threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) in (
        signal.default_int_handler,
        _leave,
    )


def _leave(*_: object) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    terminal.last_words(SAID)
    atexit._run_exitfuncs()  # noqa: SLF001  # removes temporary files; a regular exit would have to unwind through TVM
    os._exit(CODE)
