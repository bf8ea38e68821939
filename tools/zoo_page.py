"""The page `docs/zoo.md`, from the rows that `tools/zoo.py` writes."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]


def said(row: Row) -> str:
    """Return what became of a model, in a few words."""
    if row.get("why"):
        return f"{row['whose']}: {row['why']}"
    return agreement(row) if "agrees" in row else "compiles"


def agreement(row: Row) -> str:
    """Return how far a model's outputs are from MXNet's, in a few words."""
    if row.get("others"):
        words = f"all but {row['others']} of {row['detections']} detections"
        return words + ("" if row["own_others"] is None else f", MXNet with itself all but {row['own_others']}")
    words = f"{float(row['difference']):.0e}"
    if row.get("own_difference") is not None:
        words += f", MXNet with itself {float(row['own_difference']):.0e}"
    return words
