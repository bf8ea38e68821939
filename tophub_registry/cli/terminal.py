"""What people see: all that a command prints goes through here, and nothing in it can steer a terminal.

Logs, indexes and models are anybody's text. Characters that are not printable, escape sequences' first one among them,
become the replacement character; line breaks and tabs stay.
"""

from __future__ import annotations

import os
import sys

_KEPT = "\n\t"
_REPLACEMENT = "\ufffd"


def out(text: str) -> None:
    """Write to standard output."""
    sys.stdout.write(clean(text))


def err(text: str) -> None:
    """Write to standard error."""
    sys.stderr.write(clean(text))


def status(text: str) -> None:
    """Show what is being done on a line that the next one replaces, where people watch; nothing clears it."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\x1b[2K\r{clean(text)}\r" if text else "\x1b[2K\r")
        sys.stderr.flush()


def last_words(text: str) -> None:
    """Write to standard error from a signal's handler, whatever was being written; a status line is cleared."""
    os.write(2, (("\x1b[2K\r" if os.isatty(2) else "") + clean(text)).encode())


def line(text: object) -> str:
    """Return what is to be one line, or a part of one, without line breaks and whatever else a terminal obeys."""
    return clean(str(text), kept="")


def clean(text: str, *, kept: str = _KEPT) -> str:
    """Return a text without characters that a terminal obeys, but for line breaks and tabs."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in kept else _REPLACEMENT for each in text)
