"""Terminal output: everything that a command prints passes through here, and can't control the terminal.

Logs, indexes and models are untrusted text. Non-printable characters, including the escape character, become the
replacement character; line breaks and tabs are kept.
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
    """Show a status line on a terminal until anything else is written; an empty text clears it."""
    global _status_shown  # noqa: PLW0603  # there is one terminal
    if (text or _status_shown) and sys.stderr.isatty():
        sys.stderr.write(f"\x1b[2K\r{clean(text)}\r" if text else "\x1b[2K\r")
        sys.stderr.flush()
        _status_shown = bool(text)


def last_words(text: str) -> None:
    """Write to standard error from a signal handler, even in the middle of a write; clear any status line."""
    os.write(2, (("\x1b[2K\r" if os.isatty(2) else "") + clean(text)).encode())


def line(text: object) -> str:
    """Return a text for a single line, without line breaks and control characters."""
    return clean(str(text), kept="")


def clean(text: str, *, kept: str = _KEPT) -> str:
    """Return a text without control characters other than line breaks and tabs."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in kept else _REPLACEMENT for each in text)
