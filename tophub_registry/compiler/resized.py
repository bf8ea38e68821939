"""Resizing on a processor: first along the rows, then across them, with places and weights that are known.

TVM computes each element by itself, with its coordinates and those of all elements that it is made of. Here a first
kernel makes the rows longer, for the few rows that there are, and a second adds up whole rows, which vectorizes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from tvm import relax, te

from tophub_registry.errors import UsageError
from tophub_registry.frontends.resizing import Resizing, Taps
from tophub_registry.tasks.reading import shape_of

_OPAQUE = 8
"""The pattern of a kernel that is not computed where it is read."""


def is_resizing(call: Any) -> bool:
    """Return whether an expression is the resizing of an image that can be computed this way."""
    if not isinstance(call, relax.Call) or getattr(call.op, "name", "") != "relax.image.resize2d":
        return False
    image = call.args[0]
    if not isinstance(image, relax.Var) or call.attrs.layout != "NCHW":
        return False
    if {str(image.ty.dtype), str(call.ty.dtype)} != {"float32"} or float(call.attrs.extrapolation_value):
        return False
    try:
        _taps(call)
    except UsageError:  # TVM may know it
        return False
    return True


def resized(builder: relax.BlockBuilder, call: relax.Call, image: Any) -> Any:
    """Return the new variable for a resized image.

    Parameters
    ----------
    call
        The operator.
    image
        What it resizes, in the plain layout or with its channels in blocks.
    """
    down, along = _taps(call)
    longer = _emitted(builder, along, image, axis=3, name="resized_rows", pattern=_OPAQUE)
    return _emitted(builder, down, longer, axis=2, name="resized")


def _taps(call: relax.Call) -> tuple[Taps, Taps]:
    """Return what rows and columns are made of."""
    a = call.attrs
    resizing = Resizing(
        str(a.coordinate_transformation_mode),
        str(a.method),
        str(a.rounding_method),
        float(a.cubic_alpha),
        bool(a.cubic_exclude),
    )
    top, left, bottom, right = (float(bound) for bound in a.roi)
    (height, width), (new_height, new_width) = shape_of(call.args[0])[2:], shape_of(call)[2:]
    return resizing.taps(height, new_height, (top, bottom)), resizing.taps(width, new_width, (left, right))


def _emitted(
    builder: relax.BlockBuilder, taps: Taps, data: Any, *, axis: int, name: str, pattern: int | None = None
) -> Any:
    """Emit the resizing of one axis."""
    arguments = [data, relax.const(np.ascontiguousarray(taps.places)), relax.const(np.ascontiguousarray(taps.weights))]
    shape = [*shape_of(data)]
    shape[axis] = taps.places.shape[1]
    tensors = [te.placeholder(shape_of(each), str(each.ty.dtype), name="data") for each in arguments]
    computed = te.compute(shape, partial(_element, *tensors, axis), name=name)
    function = te.create_prim_func([*tensors, computed], index_dtype_override="int64").without_attr("global_symbol")
    if pattern is not None:
        function = function.with_attr("op_pattern", pattern)
    made = builder.add_func(function, name)
    return builder.emit(relax.call_tir(made, relax.Tuple(arguments), out_ty=relax.TensorType(shape, "float32")))


def _element(data: te.Tensor, places: te.Tensor, weights: te.Tensor, axis: int, *at: Any) -> Any:
    """Return an element of a resized axis."""
    new = at[axis]
    terms = []
    for tap in range(int(places.shape[0])):
        old = (*at[:axis], places[tap, new], *at[axis + 1 :])
        terms.append(data[old] * weights[tap, new])
    return sum(terms[1:], terms[0])
