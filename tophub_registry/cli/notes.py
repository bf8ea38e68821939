"""What people are told besides the outcome, on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tophub_registry.packages.index import Notice
    from tophub_registry.records.unconvertible import LeftOut

_SHOWN = 5


def notices(found: Iterable[Notice]) -> None:
    """Tell what should be known although the work was done."""
    for notice in found:
        sys.stderr.write(f"tophub: note: {notice}\n")


def progress(what: str) -> None:
    """Say what is being done where people watch; nothing clears the line."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\x1b[2K\r{what} …\r" if what else "\x1b[2K\r")
        sys.stderr.flush()


def left_out(rows: Iterable[LeftOut]) -> None:
    """Tell what could not be converted: one line for each reason, with the first lines that it holds for."""
    reasons: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        reasons.setdefault((row.file, row.reason), []).append(row.line)
    for (file, reason), lines in reasons.items():
        shown = ", ".join(map(str, lines[:_SHOWN])) + (f" and {len(lines) - _SHOWN} more" if lines[_SHOWN:] else "")
        sys.stderr.write(f"tophub: note: left out of {file}: {reason} (line {shown})\n")
