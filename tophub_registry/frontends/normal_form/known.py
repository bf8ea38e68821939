"""Computes what depends only on weights with NumPy when a model is read.

TVM's FoldConstant compiles a function for each such call, which takes seconds for a whole model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tvm import relax

Array = np.ndarray[Any, Any]


def evaluate(call: relax.Call, arrays: Sequence[Array]) -> Array | None:
    """Return the value of a call with known tensors, given in argument order; None for an unknown operator.

    Raises
    ------
    ValueError
        The operator doesn't accept these arrays.
    """
    function = _OPERATORS.get(getattr(call.op, "name", ""))
    if function is None or not isinstance(call.ty, relax.TensorType):
        return None
    result = np.asarray(function(call, *arrays)).astype(str(call.ty.dtype), copy=False)
    # NumPy makes an array of one axis of a number.
    return np.ascontiguousarray(result).reshape(tuple(map(int, call.ty.shape)))


def _same_shape(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda _, *arrays: function(*arrays)


def _reshaped(_: relax.Call, array: Array) -> Array:
    return array  # `evaluate` reshapes it


def _permuted(call: relax.Call, array: Array) -> Array:
    return array.transpose(None if call.attrs.axes is None else [*map(int, call.attrs.axes)])


def _concatenated(call: relax.Call, *arrays: Array) -> Array:
    axis = call.attrs.axis
    return np.concatenate([array.reshape(-1) if axis is None else array for array in arrays], int(axis or 0))


def _broadcast(call: relax.Call, array: Array) -> Array:
    return np.broadcast_to(array, tuple(map(int, call.ty.shape)))


_OPERATORS: Mapping[str, Callable[..., Any]] = {
    "relax.abs": _same_shape(np.abs),
    "relax.add": _same_shape(np.add),
    "relax.astype": _same_shape(np.asarray),
    "relax.broadcast_to": _broadcast,
    "relax.concat": _concatenated,
    "relax.divide": _same_shape(np.true_divide),
    "relax.exp": _same_shape(np.exp),
    "relax.expand_dims": _reshaped,
    "relax.flatten": _reshaped,
    "relax.maximum": _same_shape(np.maximum),
    "relax.minimum": _same_shape(np.minimum),
    "relax.multiply": _same_shape(np.multiply),
    "relax.negative": _same_shape(np.negative),
    "relax.permute_dims": _permuted,
    "relax.power": _same_shape(np.power),
    "relax.reshape": _reshaped,
    "relax.rsqrt": _same_shape(lambda array: 1 / np.sqrt(array)),
    "relax.sqrt": _same_shape(np.sqrt),
    "relax.squeeze": _reshaped,
    "relax.subtract": _same_shape(np.subtract),
}
"""Operators that can be evaluated. Integer divisions and powers are left to TVM, which rounds in its own way."""


def may_evaluate(call: relax.Call) -> bool:
    """Return whether a call can be evaluated, by operator and types."""
    name = getattr(call.op, "name", "")
    integer_division = name in {"relax.divide", "relax.power"} and "float" not in str(getattr(call.ty, "dtype", ""))
    return name in _OPERATORS and not integer_division
