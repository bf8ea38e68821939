"""What a scheduled function writes, and the loops in which it does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import s_tir, tirx

_KINDS = {
    tirx.ForKind.SERIAL: "serial",
    tirx.ForKind.UNROLLED: "serial",
    tirx.ForKind.PARALLEL: "parallel",
    tirx.ForKind.VECTORIZED: "vector",
}

Loops = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Write:
    """A statement that writes into a buffer.

    Attributes
    ----------
    loops
        Kind and extent of those around it, the outermost first. The kind is `serial`, `parallel`, `vector`, or the
        GPU's thread that a loop is bound to; an extent that only the data tell is 1.
    """

    function: str
    buffer: str
    loops: Loops

    @property
    def times(self) -> int:
        """How often it is executed."""
        return math.prod(extent for _, extent in self.loops)

    def along(self, kind: str) -> int:
        """Return the product of the extents of the kinds that begin so; 1 without any.

        What several loops are bound to, one in the other, is the same threads.
        """
        extents: dict[str, int] = {}
        for name, extent in self.loops:
            if name.startswith(kind):
                extents[name] = max(extent, extents.get(name, 1))
        return math.prod(extents.values())

    def is_in(self, kind: str) -> bool:
        """Return whether a loop around it is of this kind."""
        return kind in dict(self.loops)


def writes(module: tvm.IRModule) -> Iterator[Write]:
    """Yield what the functions of a module write."""
    for name, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc):
            for buffer, loops in _writes(function.body, ()):
                yield Write(name.name_hint, buffer, loops)


def _writes(statement: Any, loops: Loops) -> Iterator[tuple[str, Loops]]:
    around = loops
    match statement:
        case tirx.For():
            bound = statement.thread_binding
            kind = _KINDS[tirx.ForKind(statement.kind)] if bound is None else bound.thread_tag
            around = (*loops, (kind, _number(statement.extent)))
        case tirx.AttrStmt(attr_key="thread_extent"):
            around = (*loops, (statement.node.thread_tag, _number(statement.value)))
        case tirx.BufferStore():
            yield statement.buffer.name, loops
    for part in _parts(statement):
        yield from _writes(part, around)


def _parts(statement: Any) -> list[Any]:
    """Return the statements in a statement."""
    match statement:
        case tirx.SeqStmt():
            return list(statement.seq)
        case tirx.IfThenElse():
            parts = [statement.then_case, statement.else_case]
        case s_tir.SBlockRealize():
            parts = [statement.block.init, statement.block.body]
        case _:
            parts = [getattr(statement, "body", None)]
    return [part for part in parts if part is not None]


def _number(extent: Any) -> int:
    return int(extent) if isinstance(extent, tirx.IntImm) else 1
