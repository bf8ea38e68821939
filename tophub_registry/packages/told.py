"""Notices that commands tell once: they would come up at every compilation, and change only when the packages here do.

`tophub fetch` and `tophub list` tell them always. What was told is remembered in the root, in `.told`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from tophub_registry.errors import TophubError
from tophub_registry.files import atomic_write, make_folders

if TYPE_CHECKING:
    from tophub_registry.packages.index import Notice
    from tophub_registry.packages.root import Root

_ONCE = frozenset({"newer-here"})

_REMEMBERED = 100
"""How many notices are remembered, the last ones."""


def not_yet_told(notices: Iterable[Notice], root: Root) -> Iterator[Notice]:
    """Yield notices without those that are told once and were; remember the others.

    A root that can't be written to remembers nothing.
    """
    path = root.path / ".told"
    for notice in notices:
        if notice.rule not in _ONCE:
            yield notice
            continue
        line = notice.message.replace("\n", " ")
        before: list[str] = []
        with suppress(OSError, ValueError):
            before = path.read_text(encoding="utf-8").splitlines()
        if line in before:
            continue
        yield notice._replace(remedy=f"{notice.remedy}; `tophub list` says it again")
        with suppress(TophubError):
            make_folders(path.parent)
            with atomic_write(path, overwrite=True) as stream:
                stream.write("".join(f"{each}\n" for each in [*before, line][-_REMEMBERED:]).encode())
