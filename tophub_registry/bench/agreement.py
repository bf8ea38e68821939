"""Whether a framework's outputs are those of the model's own framework.

Detections come sorted by score. If scores are equal but for rounding, as they often are with random weights, the order
of these detections is arbitrary, and they are compared in the reference's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tophub_registry.bench.prepared import Array

TOLERANCE = 1e-3
"""The largest difference of outputs that agree."""

ROUNDED = 0.1
"""The same if one of both was computed in TF32 or float16, which adds up over the layers."""

_FLOOR = 1e-2
_TIE = 1e-5
"""Scores that are closer, relative to the largest, are tied: frameworks round differently."""


def difference(ours: Sequence[Array], theirs: Sequence[Array]) -> float:
    """Return the largest difference of outputs from reference outputs.

    It is relative to the reference, or to a hundredth of the largest number of the same output where that is more.
    """
    if [array.shape for array in ours] != [array.shape for array in theirs]:
        return float("inf")
    largest = 0.0
    for array, reference in zip(ours, theirs, strict=True):
        found = np.abs(array.astype("float64") - reference) / np.maximum(np.abs(reference), _floor(reference))
        largest = max(largest, float(found.max(initial=0.0)) if np.isfinite(found).all() else float("inf"))
    return largest


def with_ties_in_order(ours: Sequence[Array], theirs: Sequence[Array]) -> tuple[list[Array], int]:
    """Return a detector's outputs with tied detections in the reference's order, and how many had another place.

    A detection is a row of all outputs together: of `[batch, number]` and `[batch, number, width]`. The reference is
    sorted by one of the columns, the score. Rows that differ from the reference may change places within a tie. If that
    is not enough, and for outputs of another form, all stay where they are.
    """
    leading = {array.shape[:2] for array in (*ours, *theirs)}
    if [array.shape for array in ours] != [array.shape for array in theirs] or len(leading) != 1 or ours[0].ndim < 2:  # noqa: PLR2004
        return [*ours], 0
    rows, expected = _rows(ours), _rows(theirs)
    floors = np.concatenate([np.full(math.prod(array.shape[2:]), _floor(array)) for array in theirs])
    sorted_columns = np.flatnonzero((np.diff(expected, axis=1) <= 0).all(axis=(0, 1)))
    if sorted_columns.size == 0:
        return [*ours], 0
    score = max(sorted_columns, key=lambda column: len(np.unique(expected[..., column])))
    order = np.stack([_order(*pair, floors, score) for pair in zip(rows, expected, strict=True)])
    moved = int((order != np.arange(order.shape[1])).sum())
    return [np.take_along_axis(array, order.reshape(*order.shape, *[1] * (array.ndim - 2)), 1) for array in ours], moved


def _order(rows: Array, expected: Array, floors: Array, score: int) -> Array:
    """Return which of our rows comes in which place."""
    sizes = np.maximum(np.abs(expected), floors)
    given = np.arange(len(rows))
    order = given.copy()
    displaced = np.flatnonzero((np.abs(rows - expected) / sizes > TOLERANCE).any(axis=1))
    tie = _TIE * np.abs(expected[:, score]).max(initial=0.0)
    left = displaced
    for place in displaced:
        tied = left[np.abs(expected[left, score] - expected[place, score]) <= tie]
        distances = (np.abs(rows[tied] - expected[place]) / sizes[place]).max(axis=1)
        if not distances.min(initial=np.inf) <= TOLERANCE:  # nor is it where a number is none
            return given
        order[place] = tied[distances.argmin()]
        left = left[left != order[place]]
    return order


def _rows(arrays: Sequence[Array]) -> Array:
    columns = [array.reshape(*array.shape[:2], math.prod(array.shape[2:])) for array in arrays]
    rows: Array = np.concatenate(columns, axis=2).astype("float64")
    return rows


def _floor(reference: Array) -> float:
    return max(float(np.abs(reference).max(initial=0.0)) * _FLOOR, float(np.finfo(np.float32).tiny))
