"""What people see: all that a command prints goes through here, and nothing in it can steer a terminal.

Logs, indexes and models are anybody's text. Characters that are not printable, escape sequences' first one among them,
become the replacement character; line breaks and tabs stay.
"""

from __future__ import annotations

import os
import sys

_KEPT = "\n\t"
_REPLACEMENT = "\ufffd"


_status_shown = False


def out(text: str) -> None:
    """Write to standard output."""
    status("")
    sys.stdout.write(clean(text))


def err(text: str) -> None:
    """Write to standard error."""
    status("")
    sys.stderr.write(clean(text))


def status(text: str) -> None:
    """Show on a terminal what is being done, until anything else is written; an empty text clears the line."""
    global _status_shown  # noqa: PLW0603  # there is one terminal
    if (text or _status_shown) and sys.stderr.isatty():
        sys.stderr.write(f"\x1b[2K\r{clean(text)}\r" if text else "\x1b[2K\r")
        sys.stderr.flush()
        _status_shown = bool(text)


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
