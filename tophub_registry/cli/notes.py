"""Notes to people on standard error, besides the outcome."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

from tophub_registry.cli import terminal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tophub_registry.packages.index import Notice
    from tophub_registry.records.task import TaskFile
    from tophub_registry.records.unconvertible import UnconvertibleRow

_SHOWN = 5


def notices(found: Iterable[Notice]) -> None:
    """Print notices."""
    for notice in found:
        terminal.err(f"tophub: note: {terminal.line(notice)}\n")


def random_weights() -> None:
    """Note that a model's weights are random: its times are right, but its outputs mean nothing."""
    terminal.err("tophub: note: the weights are random, as no --params was given\n")


def refused(tasks: TaskFile) -> None:
    """Note that `compile` will refuse a model, if it will, and why."""
    from tophub_registry.frontends.model import why_refused

    if tasks.untranslated:
        terminal.err(
            f"tophub: note: `tophub compile` can't compile {terminal.line(tasks.model)}: "
            f"{terminal.line(why_refused(tasks.untranslated))}; its tasks are of use to AutoTVM only\n"
        )


def no_records() -> None:
    """Note that logs have no records, where nothing else would be printed."""
    terminal.err("tophub: note: no records\n")


def progress(what: str) -> None:
    """Show on a terminal what is being done; an empty text clears it."""
    terminal.status(f"{what} …" if what else "")


def then(*words: object) -> None:
    """Name, on a terminal, the command that usually comes next; words in capitals are the user's to fill in."""
    if sys.stderr.isatty():
        terminal.err(f"tophub: next: {terminal.line(shlex.join(map(str, words)))}\n")


def lines_of(numbers: Sequence[int]) -> str:
    """Name lines, the first few if there are many: `line 3`, or `lines 2, 3, 5, 7, 11 and 40 more`."""
    more = f" and {len(numbers) - _SHOWN} more" if numbers[_SHOWN:] else ""
    return f"line{'s' if numbers[1:] else ''} {', '.join(map(str, numbers[:_SHOWN]))}{more}"


def left_out(rows: Iterable[UnconvertibleRow]) -> None:
    """Report rows that were left out: one note for each reason, with the first lines it applies to."""
    reasons: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        reasons.setdefault((row.file, row.reason), []).append(row.line)
    for (file, reason), lines in reasons.items():
        terminal.err(f"tophub: note: left out of {file}: {reason} ({lines_of(lines)})\n")
