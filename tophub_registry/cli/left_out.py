"""What could not be converted, told to people: one line for each reason."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tophub_registry.records.unconvertible import LeftOut

_SHOWN = 5


def tell(rows: Iterable[LeftOut]) -> None:
    """Write the reasons to standard error, each with the first lines that it holds for."""
    reasons: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        reasons.setdefault((row.file, row.reason), []).append(row.line)
    for (file, reason), lines in reasons.items():
        shown = ", ".join(map(str, lines[:_SHOWN])) + (f" and {len(lines) - _SHOWN} more" if lines[_SHOWN:] else "")
        sys.stderr.write(f"tophub: note: left out of {file}: {reason} (line {shown})\n")
