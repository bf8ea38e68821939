"""The new value of an old variable: a known array, or something that is still to be emitted.

Values are emitted late, so that later operators can change them: a batch norm is folded into the preceding layer's
weight, and layout changes that cancel out are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

Array = NDArray[Any]
Shape = tuple[int, ...]

MATRIX_RANK = 2


@dataclass(frozen=True)
class Known:
    """An array that does not depend on the model's inputs.

    Attributes
    ----------
    name
        The parameter that it is or was computed from; empty for other constants.
    """

    array: Array
    name: str = ""


@dataclass(frozen=True)
class Terms:
    """`factor x + summand`, each one number per index of an axis or a single number, in float64.

    Attributes
    ----------
    axis
        None for single numbers.
    """

    factor: Array
    summand: Array
    axis: int | None

    def then(self, other: Terms) -> Terms | None:
        """Return these terms followed by others; None if those are along another axis."""
        if None not in (self.axis, other.axis) and self.axis != other.axis:
            return None
        return Terms(
            self.factor * other.factor,
            self.summand * other.factor + other.summand,
            other.axis if self.axis is None else self.axis,
        )


NOTHING = Terms(np.ones(()), np.zeros(()), None)
"""`x` itself."""


@dataclass(frozen=True)
class Permuted:
    """Permuted axes: axis `axes[i]` of the base is axis `i` of the value."""

    axes: Shape

    def of(self, shape: Shape) -> Shape:
        """Return the shape of the value."""
        return tuple(shape[axis] for axis in self.axes)


@dataclass(frozen=True)
class Reshaped:
    """The same elements in another shape."""

    shape: Shape

    def of(self, _: Shape) -> Shape:
        """Return the shape of the value."""
        return self.shape


View = Permuted | Reshaped


@dataclass(frozen=True)
class PendingLayer:
    """A convolution or a product with a known weight, not emitted yet.

    Attributes
    ----------
    kind
        The name of its Relax operator.
    data
        An emitted expression.
    weight
        Convolutions `[out, in / groups, ...]`, transposed ones `[in, out / groups, ...]`, products `[in, out]`.
    attributes
        The operator's attributes, as keyword arguments of its constructor.
    channels
        The axis of the output's channels.
    """

    kind: str
    data: Any
    weight: Array
    attributes: dict[str, Any]
    shape: Shape
    dtype: str
    name: str
    channels: int = 1

    def scaled(self, factor: Array) -> Array:
        """Return the weight with each output channel multiplied by a factor."""
        weight = self.weight.astype("float64")
        factor = np.broadcast_to(factor, (self.shape[self.channels],))
        if self.kind == "relax.matmul":
            weight = weight * factor
        elif "transpose" in self.kind:
            groups = int(self.attributes["groups"])
            # The weight is [in, out / groups, ...], with the groups in sequence in both.
            parts = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
            outs = factor.reshape(groups, 1, weight.shape[1], *(1,) * (weight.ndim - 2))
            weight = (parts * outs).reshape(weight.shape)
        else:
            weight = weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))
        return weight.astype(self.dtype)


@dataclass(frozen=True)
class Pending:
    """A value to be emitted: a view of a base with terms applied.

    Attributes
    ----------
    base
        A layer, or a variable of the new function.
    shape
        The base's.
    name
        The variable's name.
    """

    base: Any
    shape: Shape
    dtype: str
    name: str
    terms: Terms = NOTHING
    view: View | None = None

    @property
    def viewed(self) -> Shape:
        """The shape of the value."""
        return self.shape if self.view is None else self.view.of(self.shape)

    def settled(self, variable: Any) -> Pending:
        """Return the same value after its base and terms were emitted as a variable."""
        return replace(self, base=variable, terms=NOTHING)

    def permuted(self, axes: Shape) -> Pending | None:
        """Return the value with permuted axes; None if it is already reshaped, unless only axes of length 1 move."""
        if isinstance(self.view, Reshaped):
            long = [axis for axis in axes if self.viewed[axis] != 1]
            return self.reshaped(tuple(self.viewed[axis] for axis in axes)) if long == sorted(long) else None
        whole = axes if self.view is None else tuple(self.view.axes[axis] for axis in axes)
        return replace(self, view=None if whole == tuple(range(len(whole))) else Permuted(whole))

    def reshaped(self, shape: Shape) -> Pending | None:
        """Return the value in another shape; None if its axes are permuted."""
        if isinstance(self.view, Permuted):
            return None
        return replace(self, view=None if shape == self.shape else Reshaped(shape))

    def inner_axis(self, axis: int) -> int | None:
        """Return the base's axis for an axis of the value; None if the reshape left none."""
        if self.view is None:
            return axis
        if isinstance(self.view, Permuted):
            return self.view.axes[axis]
        # Only a last axis of unchanged size is certain to be the same: the others may be merged or split.
        alike = self.viewed[-1] == self.shape[-1] and axis == len(self.viewed) - 1
        return len(self.shape) - 1 if alike else None

    def then(self, terms: Terms) -> Pending | None:
        """Return the value with terms applied; None if they are not along an axis of the base."""
        if terms.axis is not None:
            axis = self.inner_axis(terms.axis)
            if axis is None or (isinstance(self.base, PendingLayer) and axis != self.base.channels):
                return None
            terms = replace(terms, axis=axis)
        whole = self.terms.then(terms)
        return None if whole is None else replace(self, terms=whole)

    def broadcast(self, array: Array) -> Array | None:
        """Convert an array that broadcasts over the value to one that broadcasts over the base."""
        if self.view is None or array.size == 1:
            return array.reshape(()) if array.size == 1 else array
        if isinstance(self.view, Reshaped):
            return None
        whole = array.reshape((1,) * (len(self.viewed) - array.ndim) + array.shape)
        return whole.transpose(np.argsort(self.view.axes))


Value = Known | Pending | list[Any]
"""A list is a tuple of values; None marks unknown ones."""


def viewed(value: Known | Pending) -> Shape:
    """Return the shape of a value."""
    return value.array.shape if isinstance(value, Known) else value.viewed


def terms_along(array: Array, shape: Shape) -> tuple[Array, int | None] | None:
    """Return the numbers of an array that broadcasts over a shape along one axis, and that axis.

    The axis is None for a single number. The result is None if the array varies along several axes or changes the
    shape.
    """
    if array.ndim > len(shape):
        return None
    whole = (1,) * (len(shape) - array.ndim) + array.shape
    long = [axis for axis, size in enumerate(whole) if size != 1]
    if any(whole[axis] != shape[axis] for axis in long) or len(long) > 1:
        return None
    return (array.reshape(-1), long[0]) if long else (array.reshape(()), None)


def rows(shape: Sequence[int]) -> Shape:
    """Return the shape of a value as a matrix: all axes but the last merged, and the last."""
    return prod(shape[:-1]), shape[-1]


def constant(array: Array, dtype: str) -> Any:
    """Return an array as a Relax constant."""
    return relax.const(np.ascontiguousarray(array, dtype).reshape(array.shape), dtype)
