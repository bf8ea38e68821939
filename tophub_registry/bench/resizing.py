"""Resizing as a product with one matrix for each axis, for what a framework's own resizing can't compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tophub_registry.bench.network import Array, Operation
from tophub_registry.errors import UsageError
from tophub_registry.frontends.resizing import Resizing


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
    resizing = Resizing(
        operation.word("coordinate_transformation_mode"),
        operation.word("method"),
        operation.word("rounding_method"),
        operation.real("cubic_alpha"),
        bool(operation.number("cubic_exclude")),
    )
    taps = resizing.taps(size, new_size, region)
    matrix = np.zeros((new_size, size), "float32")
    for places, weights in zip(*taps, strict=True):
        np.add.at(matrix, (np.arange(new_size), places), weights)
    return matrix
