"""Tables on standard output."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

from tophub_registry.cli import terminal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from rich.table import Table

_ENDLESS = 1 << 20


def show(columns: Sequence[str], rows: Iterable[Sequence[str]], *, expendable: Sequence[str] = ()) -> None:
    """Print a table, in full unless it goes to a terminal that is too narrow.

    Parameters
    ----------
    columns
        Their names; one that starts with `>` is aligned to the right.
    expendable
        The columns that are left out, one after the other, until the table fits. What is then still too wide is
        wrapped.
    """
    from rich.console import Console

    terminal.status("")
    cells = [[*map(terminal.line, row)] for row in rows]
    hidden: list[str] = []
    console = Console(highlight=False, markup=False)
    endless = console.options.update_width(_ENDLESS)
    while True:
        table = _table(columns, cells, hidden)
        width = console.measure(table, options=endless).maximum
        if not sys.stdout.isatty() or width <= console.width or len(hidden) == len(expendable):
            break
        hidden.append(expendable[len(hidden)])
    if sys.stdout.isatty():
        console.print(table)
    else:  # piped output is not wrapped: programs read it
        Console(width=max(width, 1), highlight=False, markup=False).print(table)
    if hidden:
        terminal.out(f"(hidden to fit into {console.width} columns: {', '.join(hidden)})\n")


def _table(columns: Sequence[str], cells: Sequence[Sequence[str]], hidden: Collection[str]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    shown = [number for number, column in enumerate(columns) if column.removeprefix(">") not in hidden]
    for column in (columns[number] for number in shown):
        right = column.startswith(">")
        justify: Literal["left", "right"] = "right" if right else "left"
        table.add_column(column.removeprefix(">"), justify=justify, no_wrap=right, overflow="fold")
    for row in cells:
        table.add_row(*(row[number] for number in shown))
    return table
