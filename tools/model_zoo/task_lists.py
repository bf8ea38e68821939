"""How our task lists differ from AutoTVM's, why, and the page that says so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

KINDS = ("llvm", "cuda")

AUTOTVM, GLUONCV = "autotvm", "gluoncv"
"""Who can't take a model."""

Row = dict[str, Any]

_HEAD = """\
# Task lists beside AutoTVM's

The number of tasks that `tophub extract` and AutoTVM (TVM 0.16) both find in a model, by kind of target, and the reason
where AutoTVM's front end can't take it. Made by `tools/compare_tasks.py`, of one model of each family.

Some convolutions differ in who pads: where a layer in front of a convolution does nothing but add zeros around the
data, ours adds them itself, whereas AutoTVM's takes larger data, which another kernel has written.
"""


def difference(ours: Sequence[Any], theirs: Sequence[Any]) -> Row:
    """Return how many tasks both lists have, and the tasks that only one has."""
    mine, others = ({json.dumps(task): task for task in tasks} for tasks in (ours, theirs))
    return {
        "both": len(mine.keys() & others.keys()),
        "ours": [task for key, task in mine.items() if key not in others],
        "theirs": [task for key, task in others.items() if key not in mine],
    }


def but_for_padding(row: Row) -> tuple[int, Row]:
    """Return how many convolutions of both lists differ only in who pads, and the row without them."""
    ours, theirs = ([json.dumps(padded(task)) for task in row[whose]] for whose in ("ours", "theirs"))
    alike = set(ours) & set(theirs)
    left = {
        whose: [task for key, task in zip(keys, row[whose], strict=True) if key not in alike]
        for whose, keys in (("ours", ours), ("theirs", theirs))
    }
    return len(alike), {**row, **left}


def padded(task: Any) -> Any:
    """Return a convolution as one of data that are padded already, and other tasks as they are."""
    name, args = task
    if "conv2d" not in name or "transpose" in name or "deformable" in name:
        return task
    (_, (*outer, height, width), dtype), kernel, strides, (top, left, bottom, right), *others = args
    shape = [*outer, height + top + bottom, width + left + right]
    return [name, [["TENSOR", shape, dtype], kernel, strides, [0, 0, 0, 0], *others]]


def differs(row: Row) -> bool:
    """Return whether both task lists are known, and differ in more than who pads."""
    if "why" in row:
        return False
    _, left = but_for_padding(row)
    return bool(left["ours"] or left["theirs"])


def page(rows: Sequence[Row]) -> str:
    """Return a page with the number of tasks of each model, and the reason why some could not be compared."""
    known = {(row["model"], row["kind"]): row for row in rows}
    lines = [
        "| model | " + " | ".join(KINDS) + " |",
        "| --- |" + " --- |" * len(KINDS),
        *(
            f"| `{model}` | " + " | ".join(_said(known.get((model, kind))) for kind in KINDS) + " |"
            for model in sorted({row["model"] for row in rows})
        ),
    ]
    return f"{_HEAD}\n" + "\n".join(lines) + "\n"


def _said(row: Row | None) -> str:
    if row is None:
        return ""
    if "why" in row:
        return f"{row.get('whose', AUTOTVM)}: {row['why']}".replace("|", "/").replace("_", r"\_")
    alike, left = but_for_padding(row)
    also = f", {alike} but for who pads" if alike else ""
    if differs(row):
        return f"{row['both']}{also}, only ours {len(left['ours'])}, only AutoTVM's {len(left['theirs'])}"
    return f"{row['both']}, the same{also}"
