"""How far a model's outputs are from MXNet's, on random weights.

With random weights many of a detector's scores are almost the same, and so are overlaps of its boxes: another order of
additions exchanges detections with the same score, or decides otherwise whether one box covers another. So detections
whose scores are equal but for rounding are compared in MXNet's order. Where others differ, MXNet is the measure: it
runs up to `RUNS` times more, with inputs and weights that differ by a millionth, and a model agrees if no more of its
detections differ from MXNet's than MXNet's own do in one of these runs. So it is with the numbers of any other model
that are further apart than `CLOSE`; their largest difference must not be twice MXNet's own, either. A millionth is less
than what rounding amounts to: a sum of n products comes out as if its factors were off by some √n units in the last
place, so by 3e-6 for a convolution of 3x3 pixels and 256 channels.

MXNet's own outputs must be defined for that, so regions that its ROIAlign ignores are zero: see
`tophub_registry.frontends.mxnet.ignored_regions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from tophub_registry.bench.agreement import TOLERANCE, with_ties_in_order

_ROWS = 2
"""Outputs of rows have the axes batch and row, at least."""

Array = np.ndarray[Any, Any]

CLOSE = 1e-4
"""The difference of outputs that agree, relative to the largest number of an output."""

DISTURBANCE = 1e-6
"""The relative change of inputs and weights that makes MXNet's own outputs the measure."""

RUNS = 12
"""How often MXNet runs so, at most: one of these runs seldom tips the balance."""


@dataclass(frozen=True)
class Agreement:
    """How far outputs are from the expected ones.

    Attributes
    ----------
    difference
        The largest difference of an output's numbers, relative to the largest number of the same output; infinite if
        the shapes are others, or a number is infinite or undefined on one side only.
    flat
        How many of the outputs consist of one number, so that they say little.
    detections
        The number of rows of a detector's outputs; 0 for other models.
    moved
        How many of them had another place among those with the same score.
    others
        How many of the expected detections are not found at all; of other models, how many numbers are not close.
    own_difference, own_others
        The same of MXNet's own outputs for almost the same inputs; None if that was not tried.
    """

    difference: float
    flat: int = 0
    detections: int = 0
    moved: int = 0
    others: int = 0
    own_difference: float | None = None
    own_others: int | None = None

    @property
    def close(self) -> bool:
        """Whether there is nothing to explain."""
        return self.difference <= CLOSE

    @property
    def agrees(self) -> bool:
        """Whether they are as close to MXNet's outputs as those are to themselves."""
        if self.close or self.own_difference is None or self.own_others is None:
            return self.close
        if self.others > self.own_others:
            return False
        return self.detections > 0 or self.difference <= 2 * self.own_difference

    def beside(self, own: Sequence[Agreement]) -> Agreement:
        """Return this with how far MXNet's outputs are from themselves."""
        return replace(
            self,
            own_difference=max(each.difference for each in own),
            own_others=max(each.others for each in own),
        )

    def __str__(self) -> str:
        if self.detections and not self.close:
            said = f"{self.others} of {self.detections} detections"
            return said + ("" if self.own_others is None else f", MXNet's own {self.own_others}")
        own = "" if self.own_difference is None else f", MXNet's own by {self.own_difference:.0e}"
        return f"by {self.difference:.0e} of the largest{own}"

    def as_json(self) -> dict[str, object]:
        """Return the fields for a row."""
        fields = {key: _number(value) for key, value in asdict(self).items()}
        return {**fields, "agrees": self.agrees}


def compare(found: Sequence[Array], expected: Sequence[Array]) -> Agreement:
    """Return how far outputs are from the expected ones, tied detections in the expected order."""
    flat = sum(array.size > 0 and bool((array == array.flat[0]).all()) for array in expected)
    if [array.shape for array in found] != [array.shape for array in expected]:
        return Agreement(float("inf"), flat)
    moved = 0
    if detects := _are_detections(expected):
        found, moved = with_ties_in_order(found, expected)
    apart = [_apart(*pair) for pair in zip(found, expected, strict=True)]
    largest = max((float(each.max(initial=0.0)) for each in apart), default=0.0)
    if not detects:
        return Agreement(largest, flat, others=sum(int((each > CLOSE).sum()) for each in apart))
    others = 0 if largest <= CLOSE else _missing(found, expected)
    return Agreement(largest, flat, expected[0].shape[0] * expected[0].shape[1], moved, others)


def disturbed(arrays: Sequence[Array], seed: int) -> list[Array]:
    """Return arrays whose numbers differ by a millionth."""
    noise = np.random.default_rng(seed)
    return [
        (array * (1 + DISTURBANCE * noise.choice([-1, 1], array.shape))).astype(array.dtype)
        if array.dtype.kind == "f"
        else array
        for array in arrays
    ]


def _apart(found: Array, expected: Array) -> Array:
    """Return the difference of each number, relative to the largest of them."""
    finite = np.isfinite(expected)
    size = float(np.abs(expected, where=finite, out=np.zeros(expected.shape)).max(initial=0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.abs(found.astype("float64") - expected) / size
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    return np.where(same, 0.0, np.where(np.isfinite(apart), apart, np.inf))


def _are_detections(outputs: Sequence[Array]) -> bool:
    """Return whether outputs are detections: of as many rows each, ids, scores and boxes, perhaps masks."""
    if any(array.ndim < _ROWS for array in outputs) or len({array.shape[:2] for array in outputs}) != 1:
        return False
    widths = [_width(array) for array in outputs]
    return widths.count(1) >= 2 and widths.count(4) == 1  # noqa: PLR2004  # an id and a score; a box


def _missing(found: Sequence[Array], expected: Sequence[Array]) -> int:
    """Return how many of the expected detections are not among those found, each of which counts once."""
    floors = np.concatenate(
        [np.full(_width(array), np.abs(array).max(initial=0.0) * 1e-2 or 1e-30) for array in expected]
    )
    return sum(_unmatched(*pair, floors) for pair in zip(_rows(found), _rows(expected), strict=True))


def _unmatched(ours: Array, theirs: Array, floors: Array) -> int:
    """Return how many rows have no like; most are in their place, and the others are looked for by one column."""
    apart = (np.abs(ours - theirs) > TOLERANCE * np.maximum(np.abs(theirs), floors)).any(axis=1)
    ours, theirs = ours[apart], theirs[apart]
    if not len(theirs):
        return 0
    key = int(np.argmax([len(np.unique(column)) for column in theirs.T]))
    ours = ours[np.argsort(ours[:, key])]
    free, missing = np.ones(len(ours), bool), 0
    for row in theirs:
        near = TOLERANCE * np.maximum(np.abs(row), floors)
        first = int(np.searchsorted(ours[:, key], row[key] - near[key], "left"))
        last = int(np.searchsorted(ours[:, key], row[key] + near[key], "right"))
        alike = free[first:last] & (np.abs(ours[first:last] - row) <= near).all(axis=1)
        if alike.any():
            free[first + alike.argmax()] = False
        else:
            missing += 1
    return missing


def _rows(arrays: Sequence[Array]) -> Array:
    rows: Array = np.concatenate([array.reshape(*array.shape[:2], _width(array)) for array in arrays], axis=2)
    return rows.astype("float64")


def _width(array: Array) -> int:
    return int(np.prod(array.shape[2:], dtype=int))


def _number(value: float | None) -> float | str | None:
    """Return a number as JSON has it, which has none that is infinite."""
    return str(value) if value is not None and not np.isfinite(value) else value
