"""Tables on standard output."""

from __future__ import annotations

import sys
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
