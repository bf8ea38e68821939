"""Ctrl-C: a KeyboardInterrupt, or where that would have to pass through TVM, the end of the process at once.

An exception that is raised while TVM calls back into Python arrives as an error of TVM's own, with its trace, or not at
all. Nothing needs to be undone there but temporary files, and those are removed when a process ends.
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
"""The exit code of what Ctrl-C has ended."""

SAID = "tophub: interrupted\n"


@contextmanager
def of_program() -> Iterator[None]:
    """Let Ctrl-C end the program at once while the block runs, and ignore it afterwards, when all is done."""
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
    """Let Ctrl-C end the process at once while the block runs; temporary files are removed, nothing else is done."""
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
    """Say that Ctrl-C was pressed, and exit."""
    terminal.err(SAID)
    sys.exit(CODE)


def _is_ours() -> bool:
    """Whether Ctrl-C is ours to handle: not where it is ignored, as in the background, or handled by who calls us."""
    return threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) in (
        signal.default_int_handler,
        _leave,
    )


def _leave(*_: object) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    terminal.last_words(SAID)
    atexit._run_exitfuncs()  # noqa: SLF001  # temporary files; an orderly exit would have to unwind through TVM
    os._exit(CODE)
