"""Resizing as a product with one matrix for each axis, for what a framework's own resizing can't compute.

The coordinates, roundings and weights are those of TVM's `topi.image.resize`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tophub_registry.bench.network import Array, Operation
from tophub_registry.errors import UsageError

_CLOSE = 1e-5
"""Tolerance of rounding down or up, as TVM has it."""


def check_layout(operation: Operation) -> None:
    """Raise UsageError if images are not NCHW."""
    if operation.word("layout") != "NCHW":
        raise UsageError(f"resizing images in {operation.word('layout')} has no translation to other frameworks")


def matrices(operation: Operation, height: int, width: int) -> tuple[Array, Array]:
    """Return the matrices of both axes, `[new size, size]`, for an image of this height and width.

    A row is zero where the coordinate is outside of the region that `tf_crop_and_resize` takes from the image.

    Raises
    ------
    UsageError
        There is no such coordinate transformation, rounding or method.
    """
    top, left, bottom, right = operation.reals("roi")
    new_height, new_width = operation.shape[2:]
    return (
        _matrix(operation, height, new_height, (top, bottom)),
        _matrix(operation, width, new_width, (left, right)),
    )


def same_rounding(operation: Operation, height: int, width: int, known: Sequence[str]) -> str | None:
    """Return the first of these roundings that takes the same elements of an image; None if none does."""
    wanted = matrices(operation, height, width)
    for name in known:
        other = replace(operation, attributes={**operation.attributes, "rounding_method": name})
        if all(map(np.array_equal, wanted, matrices(other, height, width))):
            return name
    return None


def _matrix(operation: Operation, size: int, new_size: int, region: tuple[float, float]) -> Array:
    places = _coordinates(operation.word("coordinate_transformation_mode"), size, new_size, region)
    matrix = np.zeros((new_size, size))
    rows = np.arange(new_size)
    for offset, weights in _taps(operation, places, size):
        np.add.at(matrix, (rows, np.clip(offset, 0, size - 1)), weights)
    if operation.word("coordinate_transformation_mode") == "tf_crop_and_resize":
        matrix[(places < 0) | (places > size - 1)] = 0
    return matrix.astype("float32")


def _coordinates(mode: str, size: int, new_size: int, region: tuple[float, float]) -> Array:
    """Return the places in the old axis of the elements of the new one."""
    new = np.arange(new_size)
    scale = size / new_size
    centers = (new + 0.5) * scale
    aligned = (size - 1) / max(new_size - 1, 1)
    first, last = (bound * (size - 1) for bound in region)
    transformations: dict[str, Array] = {
        "half_pixel": centers - 0.5,
        "pytorch_half_pixel": centers - 0.5 if new_size > 1 else np.zeros(1),
        "align_corners": new * aligned,
        "asymmetric": new * scale,
        "tf_half_pixel_for_nn": centers,
        "tf_crop_and_resize": np.linspace(first, last, new_size) if new_size > 1 else np.array([(first + last) / 2]),
    }
    if mode not in transformations:
        raise UsageError(f"resizing with {mode} has no translation to other frameworks")
    return transformations[mode]


def _taps(operation: Operation, places: Array, size: int) -> list[tuple[Array, Array]]:
    """Return the elements that each new one is made of, and their weights."""
    method = operation.word("method")
    if method == "nearest_neighbor":
        aligned = operation.word("coordinate_transformation_mode") == "align_corners"
        rounding = operation.word("rounding_method") or ("round" if aligned else "floor")
        return [(_rounded(rounding, places).astype(int), np.ones(len(places)))]
    first = np.floor(places).astype(int)
    part = places - first
    if method == "linear":
        return [(first, 1 - part), (first + 1, part)]
    if method != "cubic":
        raise UsageError(f"resizing by the method {method} has no translation to other frameworks")
    alpha = operation.real("cubic_alpha")
    weights = np.stack(
        [
            alpha * (part**3 - 2 * part**2 + part),
            (alpha + 2) * part**3 - (3 + alpha) * part**2 + 1,
            -(alpha + 2) * part**3 + (3 + 2 * alpha) * part**2 - alpha * part,
            -alpha * part**3 + alpha * part**2,
        ]
    )
    offsets = first + np.arange(-1, 3)[:, None]
    if operation.number("cubic_exclude"):
        weights = np.where((offsets < 0) | (offsets > size - 1), 0, weights)
        weights = weights / weights.sum(0)
    return [*zip(offsets, weights, strict=True)]


def _rounded(method: str, places: Array) -> Array:
    roundings: dict[str, Array] = {
        "round": np.rint(places),
        "round_prefer_floor": np.ceil(places - 0.5),
        "round_prefer_ceil": np.floor(places + 0.5),
        "floor": np.floor(places + _CLOSE),
        "ceil": np.ceil(places - _CLOSE),
    }
    if method not in roundings:
        raise UsageError(f"rounding by {method} has no translation to other frameworks")
    return roundings[method]
