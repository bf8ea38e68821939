"""Rules for operators that only move data: those that permute or reshape it become views of the value before them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from tvm import relax

from tophub_registry.frontends.normal_form.rewriter import Rewriter, Rule
from tophub_registry.frontends.normal_form.values import Known, Pending, Permuted, Value

_RESHAPING = frozenset(f"relax.{name}" for name in ("expand_dims", "flatten", "reshape", "squeeze"))


def permute(rewriter: Rewriter, call: relax.Call, name: str) -> Value | None:
    """Record a new order of the axes."""
    value = rewriter.argument(call.args[0])
    if not isinstance(value, Pending):
        return None
    rank = len(value.viewed)
    axes = tuple(range(rank))[::-1] if call.attrs.axes is None else tuple(map(int, call.attrs.axes))
    result = value.permuted(axes) or rewriter.apart(value).permuted(axes)
    return None if result is None else replace(result, name=name)


def reshape(rewriter: Rewriter, call: relax.Call, name: str) -> Value | None:
    """Record a new shape."""
    value = rewriter.argument(call.args[0])
    if not isinstance(value, Pending):
        return None
    shape = tuple(map(int, call.ty.shape))
    result = value.reshaped(shape) or rewriter.apart(value).reshaped(shape)
    return None if result is None else replace(result, name=name)


def take(rewriter: Rewriter, call: relax.Call, name: str) -> Value | None:
    """Make known indices non-negative; TVM would read negative ones before the start of the array."""
    value, places = (rewriter.argument(argument) for argument in call.args)
    if not isinstance(value, Pending) or not isinstance(places, Known) or call.attrs.axis is None:
        return None
    size = value.viewed[int(call.attrs.axis)]
    if not ((-size <= places.array) & (places.array < size)).all():
        return None
    known = relax.const(np.where(places.array < 0, places.array + size, places.array), str(places.array.dtype))
    taken = relax.op.take(rewriter.plain(value), known, int(call.attrs.axis), "clip")
    return Pending(rewriter.emit(taken, name), tuple(map(int, call.ty.shape)), value.dtype, name)


def concatenate(rewriter: Rewriter, call: relax.Call, name: str) -> Value | None:
    """Concatenate values before their axes are permuted, if the permutation is the same for all."""
    values = rewriter.argument(call.args[0])
    if not isinstance(values, list) or call.attrs.axis is None:
        return None
    views = {value.view if isinstance(value, Pending) else None for value in values}
    view = views.pop()
    if views or not isinstance(view, Permuted):
        return None
    axis = view.axes[int(call.attrs.axis) % len(view.axes)]
    joined = rewriter.emit(relax.op.concat([rewriter.settled(value).base for value in values], axis), name)
    return Pending(joined, tuple(map(int, joined.ty.shape)), values[0].dtype, name, view=view)


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_RESHAPING, reshape),
    "relax.concat": concatenate,
    "relax.permute_dims": permute,
    "relax.take": take,
}
