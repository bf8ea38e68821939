"""Tables on standard output, and the spellings of what stands in them."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from tophub_registry.cli import terminal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_PIPED_WIDTH = 1000


def show(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; columns whose name starts with `>` are aligned to the right."""
    from rich.console import Console
    from rich.table import Table

    # Piped output is not wrapped: programs read it.
    width = None if sys.stdout.isatty() else _PIPED_WIDTH
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.removeprefix(">"), justify="right" if right else "left", no_wrap=right)
    for row in rows:
        table.add_row(*map(terminal.line, row))
    Console(width=width, highlight=False, markup=False, soft_wrap=True).print(table)


def seconds(cost: float) -> str:
    """Spell a cost in a unit that fits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if cost >= size:
            return f"{cost / size:.3g} {unit}"
    return f"{cost / 1e-6:.3g} µs"


def day(timestamp: float | None) -> str:
    """Spell a time as its day; a dash where there is none."""
    if timestamp is None:
        return "-"
    try:
        return datetime.fromtimestamp(timestamp, timezone.utc).date().isoformat()
    except (OverflowError, OSError, ValueError):
        return "no date"


def days(oldest: float | None, newest: float | None) -> str:
    """Spell a span of time as its days."""
    first, last = day(oldest), day(newest)
    return first if first == last else f"{first} to {last}"


def number(value: float | None) -> str:
    """Spell a number with three digits; a dash where there is none."""
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004


def percent(share: float | None) -> str:
    """Spell a share in per cent; a dash where there is none."""
    return "-" if share is None else f"{share:.1%}"
