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

    Each of the blocks of threads adds up one number, and one of its threads then computes what follows.
    """
    *outer, lane = loops = sch.get_loops(output)
    bindings = [sch.get(loop).thread_binding for loop in loops]
    tags = ["" if binding is None else str(binding.thread_tag) for binding in bindings]
    in_blocks = all(tag.startswith("blockIdx") for tag in tags[:-1])
    if not (outer and in_blocks and tags[-1] and reduces(sch, output)):
        return False
    sch.set_scope(output, 0, "local")
    sch.reverse_compute_at(block, outer[-1], preserve_unit_loops=True)
    rest = sch.fuse(*sch.get_loops(block)[len(outer) :])
    _, thread = sch.split(rest, [None, sch.get(lane).extent])
    sch.bind(thread, tags[-1])
    return True
