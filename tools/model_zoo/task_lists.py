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
where AutoTVM's front end can't take it. Made by `tools/compare_tasks.py`, of the models that were tried so far, one of
each family.
"""


def difference(ours: Sequence[Any], theirs: Sequence[Any]) -> Row:
    """Return how many tasks both lists have, and the tasks that only one has."""
    mine, others = ({json.dumps(task): task for task in tasks} for tasks in (ours, theirs))
    return {
        "both": len(mine.keys() & others.keys()),
        "ours": [task for key, task in mine.items() if key not in others],
        "theirs": [task for key, task in others.items() if key not in mine],
    }


def differs(row: Row) -> bool:
    """Return whether both task lists are known, and differ."""
    return "why" not in row and bool(row["ours"] or row["theirs"])


def page(rows: Sequence[Row]) -> str:
    """Return a page with the number of tasks of each model, and the reason why some could not be compared."""
    known = {(row["model"], row["kind"]): row for row in rows}
    lines = [
        "| model | " + " | ".join(KINDS) + " |",
        "| --- |" + " --- |" * len(KINDS),
        *(
            f"| `{model}` | " + " | ".join(_said(known.get((model, kind))) for kind in KINDS) + " |"
            for model in dict.fromkeys(row["model"] for row in rows)
        ),
    ]
    return f"{_HEAD}\n" + "\n".join(lines) + "\n"


def _said(row: Row | None) -> str:
    if row is None:
        return ""
    if "why" in row:
        return f"{row.get('whose', AUTOTVM)}: {row['why']}".replace("|", "/").replace("_", r"\_")
    if differs(row):
        return f"{row['both']}, only ours {len(row['ours'])}, only AutoTVM's {len(row['theirs'])}"
    return f"{row['both']}, the same"
