"""The matrices of Winograd's convolution: `output = A^T ((G kernel G^T) * (B^T data B)) A` for each tile.

The Toom-Cook construction: a tile of `m` outputs of a kernel with `r` taps is a product of polynomials, determined by
its values at `m + r - 2` points and at infinity. The points are those with the smallest rounding errors found by
Barabasz, Anderson, Soodhalter and Gregg, "Error Analysis and Improving the Accuracy of Winograd Convolution for Deep
Neural Networks", https://arxiv.org/abs/1803.10986. Exact arithmetic, plain Python.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

Matrix = tuple[tuple[Fraction, ...], ...]

_HALF, _QUARTER = Fraction(1, 2), Fraction(1, 4)
_POINTS: dict[int, tuple[Fraction | int, ...]] = {
    3: (0, -1, 1),
    4: (0, -1, 1, _HALF),
    5: (0, -1, 1, _HALF, -2),
    6: (0, -1, 1, _HALF, -2, -_HALF),
    7: (0, -1, 1, _HALF, -_HALF, 2, -2),
    8: (0, -1, 1, _HALF, -_HALF, 2, -2, -_QUARTER),
    9: (0, -1, 1, _HALF, -_HALF, 2, -2, -_QUARTER, 4),
}
"""Number of points -> points."""


class Transforms(NamedTuple):
    """The three matrices.

    Attributes
    ----------
    output
        `A`, `[m + r - 1, m]`.
    data
        `B`, `[m + r - 1, m + r - 1]`.
    kernel
        `G`, `[m + r - 1, r]`.
    """

    output: Matrix
    data: Matrix
    kernel: Matrix


@lru_cache
def transforms(outputs: int, taps: int) -> Transforms:
    """Return the matrices for a tile of `outputs` outputs, two or four, and a kernel of 3 to 7 taps."""
    points = [Fraction(point) for point in _POINTS[outputs + taps - 2]]
    size = len(points) + 1
    infinity = size - 1
    # Lagrange interpolation: column i of B is the polynomial that vanishes at all other points, and the kernel's
    # value at point i is divided by that polynomial's value there.
    columns = [_with_roots([p for p in points if p is not point]) for point in points]
    columns.append(_with_roots(points))
    scales = [math.prod((point - p for p in points if p is not point), start=Fraction(1)) for point in points]

    def powers(count: int) -> list[list[Fraction]]:
        rows = [[point**power for power in range(count)] for point in points]
        return [*rows, [Fraction(int(power == count - 1)) for power in range(count)]]

    kernel = powers(taps)
    for row, scale in zip(kernel[:infinity], scales, strict=True):
        row[:] = [value / scale for value in row]
    data = [[column[row] if row < len(column) else Fraction(0) for column in columns] for row in range(size)]
    return Transforms(_frozen(powers(outputs)), _frozen(data), _frozen(kernel))


def saving(outputs: int, taps: int, axes: int = 2) -> float:
    """Return how many times fewer multiplications a tile needs than direct convolution: 4 for F(4x4, 3x3)."""
    return (outputs * taps / (outputs + taps - 1)) ** axes


def _with_roots(roots: list[Fraction]) -> list[Fraction]:
    """Return the coefficients of the monic polynomial with these roots, that of the lowest power first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        scaled = [-root * value for value in coefficients] + [Fraction(0)]
        coefficients = [a + b for a, b in zip(shifted, scaled, strict=True)]
    return coefficients


def _frozen(rows: list[list[Fraction]]) -> Matrix:
    return tuple(map(tuple, rows))
