"""Inlines elementwise blocks: computes them where they are read, or where what they read is written."""

from __future__ import annotations

from typing import Any

from tvm import s_tir

from tophub_registry.compiler.blocks import is_padding, reduces

_DEAR = ("exp", "tanh", "sigmoid", "log", "pow", "erf")
"""Functions too expensive to be computed again for a second reader."""


def inline(sch: Any, block: Any) -> bool:
    """Inline an elementwise block; return whether that was done.

    Padding is not inlined, as its conditions would end up in a window's loop, nor are expensive blocks that are read
    twice.
    """
    if is_padding(sch, block) or (len(sch.get_consumers(block)) > 1 and _is_dear(sch, block)):
        return False
    try:
        sch.compute_inline(block)
    except s_tir.ScheduleError:
        return False
    return True


def _is_dear(sch: Any, block: Any) -> bool:
    return any(f"T.{name}(" in sch.get(block).script() for name in _DEAR)


def inline_backward(sch: Any, block: Any) -> bool:
    """Compute an elementwise block where its producer writes its output; return whether that was done."""
    try:
        sch.reverse_compute_inline(block)
    except s_tir.ScheduleError:  # the producer accumulates in its output
        return False
    return True


def follow_threads(sch: Any, output: Any, block: Any) -> bool:
    """Compute an elementwise block as soon as a GPU's threads have added up its input; return whether that was done.

    One of the threads does so. They add up if the last loop of `output`, a sum, is theirs.
    """
    if not reduces(sch, output) or (lane := sch.get(sch.get_loops(output)[-1])).thread_binding is None:
        return False
    *outer, _ = sch.get_loops(output)
    sch.set_scope(output, 0, "local")
    sch.reverse_compute_at(block, outer[-1], preserve_unit_loops=True)
    rest = sch.fuse(*sch.get_loops(block)[len(outer) :])
    _, thread = sch.split(rest, [None, int(lane.extent)])
    sch.bind(thread, str(lane.thread_binding.thread_tag))
    return True
