"""What resizing an image means: for each axis, which old elements a new one is made of, and their weights.

The coordinates, roundings and weights are those of TVM's `topi.image.resize`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tophub_registry.errors import UsageError

_CLOSE = 1e-5
"""Tolerance of rounding down or up, as TVM has it."""

_WHOLE = 0.0, 1.0


class Taps(NamedTuple):
    """What the elements of a new axis are made of, `[taps, new size]`.

    Attributes
    ----------
    places
        Indices of the old axis, within it.
    weights
        float32. All are zero for an element outside of the region that `tf_crop_and_resize` takes.
    """

    places: NDArray[np.int32]
    weights: NDArray[np.float32]


class Resizing(NamedTuple):
    """How to resize, in the words of Relax's `image.resize2d`.

    Attributes
    ----------
    mode
        How a new element's coordinate follows: `half_pixel`, `align_corners`, …
    method
        `nearest_neighbor`, `linear` or `cubic`.
    rounding
        To the nearest neighbor; may be empty.
    alpha, exclude
        Of cubic resizing: the coefficient, and whether elements outside of the image count nothing.
    """

    mode: str
    method: str
    rounding: str = ""
    alpha: float = -0.75
    exclude: bool = False

    def taps(self, size: int, new_size: int, region: tuple[float, float] = _WHOLE) -> Taps:
        """Return what an axis of `new_size` elements is made of.

        Parameters
        ----------
        region
            The part of the old axis that `tf_crop_and_resize` takes, between 0 and 1.

        Raises
        ------
        UsageError
            There is no such coordinate transformation, rounding or method.
        """
        coordinates = self._coordinates(size, new_size, region)
        places, weights = self._around(coordinates, size)
        if self.mode == "tf_crop_and_resize":
            weights = np.where((coordinates < 0) | (coordinates > size - 1), 0, weights)
        return Taps(np.clip(places, 0, size - 1).astype("int32"), weights.astype("float32"))

    def _coordinates(self, size: int, new_size: int, region: tuple[float, float]) -> NDArray[Any]:
        """Return the places in the old axis of the elements of the new one."""
        new = np.arange(new_size)
        scale = size / new_size
        centers = (new + 0.5) * scale
        aligned = (size - 1) / max(new_size - 1, 1)
        first, last = (bound * (size - 1) for bound in region)
        transformations: dict[str, NDArray[Any]] = {
            "half_pixel": centers - 0.5,
            "pytorch_half_pixel": centers - 0.5 if new_size > 1 else np.zeros(1),
            "align_corners": new * aligned,
            "asymmetric": new * scale,
            "tf_half_pixel_for_nn": centers,
            "tf_crop_and_resize": np.linspace(first, last, new_size)
            if new_size > 1
            else np.array([(first + last) / 2]),
        }
        if self.mode not in transformations:
            raise UsageError(f"there is no resizing with {self.mode}")
        return transformations[self.mode]

    def _around(self, coordinates: NDArray[Any], size: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the elements that each new one is made of, some beyond the ends, and their weights."""
        if self.method == "nearest_neighbor":
            rounding = self.rounding or ("round" if self.mode == "align_corners" else "floor")
            nearest = _rounded(rounding, coordinates).astype(int)
            return nearest[None], np.ones((1, len(nearest)))
        first = np.floor(coordinates).astype(int)
        part = coordinates - first
        if self.method == "linear":
            return np.stack([first, first + 1]), np.stack([1 - part, part])
        if self.method != "cubic":
            raise UsageError(f"there is no resizing by the method {self.method}")
        alpha = self.alpha
        weights = np.stack(
            [
                alpha * (part**3 - 2 * part**2 + part),
                (alpha + 2) * part**3 - (3 + alpha) * part**2 + 1,
                -(alpha + 2) * part**3 + (3 + 2 * alpha) * part**2 - alpha * part,
                -alpha * part**3 + alpha * part**2,
            ]
        )
        places = first + np.arange(-1, 3)[:, None]
        if self.exclude:
            weights = np.where((places < 0) | (places > size - 1), 0, weights)
            weights = weights / weights.sum(0)
        return places, weights


def _rounded(method: str, coordinates: NDArray[Any]) -> NDArray[Any]:
    roundings: dict[str, NDArray[Any]] = {
        "round": np.rint(coordinates),
        "round_prefer_floor": np.ceil(coordinates - 0.5),
        "round_prefer_ceil": np.floor(coordinates + 0.5),
        "floor": np.floor(coordinates + _CLOSE),
        "ceil": np.ceil(coordinates - _CLOSE),
    }
    if method not in roundings:
        raise UsageError(f"there is no rounding by {method}")
    return roundings[method]
