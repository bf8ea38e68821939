"""Operators that take elements at computed places, and those that compute such places: sorting and the best elements.

Indices are numbers of any type in MXNet, float32 by default. Where MXNet rejects indices out of range, the nearest
valid one is taken instead, as by its mode `clip`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from tvm import relax

from tophub_registry.frontends.mxnet.site import Expression, Site, constant
from tophub_registry.frontends.mxnet.translator import Translator

_op: Any = relax.op

_INDEX = "int32"


def _take(site: Site) -> Expression:
    axis = site.attributes.number("axis", 0)
    mode = "wrap" if site.attributes.word("mode", "clip") == "wrap" else "clip"
    return _op.take(site.tensor(0), _whole(site, 1), axis=axis % len(site.shape_of(0)), mode=mode)


def _embedding(site: Site) -> Expression:
    return _op.take(site.tensor(1), _whole(site, 0), axis=0, mode="clip")


def _gather_nd(site: Site) -> Expression:
    """Take elements or slices at the places in the columns of `[axes, ...]`; negative indices count from the end."""
    shape, (axes, *places) = site.shape_of(0), site.shape_of(1)
    indices = _whole(site, 1)
    flat: Expression | None = None
    for axis in range(axes):
        row = site.emit(_op.reshape(_op.strided_slice(indices, [0], [axis], [axis + 1]), (prod(places),)), "row")
        size = _integers(shape[axis])
        row = site.emit(_op.where(_op.less(row, _integers(0)), _op.add(row, size), row), "place")
        flat = row if flat is None else site.emit(_op.add(_op.multiply(flat, size), row), "places")
    rest = shape[axes:]
    data = site.emit(_op.reshape(site.tensor(0), (prod(shape[:axes]), *rest)), "slices")
    taken = site.emit(_op.take(data, flat, axis=0, mode="clip"), "taken")
    return _op.reshape(taken, (*places, *rest))


def _pick(site: Site) -> Expression:
    """Take one element along an axis; the index has one axis less, or one element there."""
    shape = site.shape_of(0)
    if site.attributes.word("axis", "-1" if "axis" not in site.attributes.text else "all") == "all":
        site.refuse("over all axes")
    return _picked(site, site.attributes.number("axis", -1) % len(shape), site.attributes.word("mode", "clip"))


def _batch_take(site: Site) -> Expression:
    return _picked(site, 1, "clip")


def _picked(site: Site, axis: int, mode: str) -> Expression:
    """Take one element of each row along an axis, by its place in the flat tensor."""
    shape = site.shape_of(0)
    before, size, after = prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])
    index = site.emit(_op.reshape(_whole(site, 1), (before, after)), "index")
    if mode == "wrap":
        index = site.emit(_op.floor_mod(index, _integers(size)), "wrapped")
    else:
        index = site.emit(_op.maximum(_op.minimum(index, _integers(size - 1)), _integers(0)), "clipped")
    offsets = np.arange(before)[:, None] * size * after + np.arange(after)
    places = site.emit(_op.add(_op.multiply(index, _integers(after)), _integers(offsets)), "places")
    flat = site.emit(_op.reshape(site.tensor(0), (prod(shape),)), "flat")
    taken = site.emit(_op.take(flat, _op.reshape(places, (before * after,)), axis=0, mode="clip"), "taken")
    return _op.reshape(taken, site.shape)


def _one_hot(site: Site) -> Expression:
    on, off = (
        float(site.attributes.text.get(name, default)) for name, default in (("on_value", "1"), ("off_value", "0"))
    )
    column = site.emit(_op.expand_dims(_whole(site, 0), len(site.shape) - 1), "column")
    hot = site.emit(_op.equal(column, _integers(np.arange(site.shape[-1]))), "hot")
    return _op.where(hot, constant(on, site.type), constant(off, site.type))


def _whole(site: Site, index: int) -> Expression:
    """Return an input as indices, rounded towards zero."""
    value = site.values[index]
    if isinstance(value, np.ndarray):
        return _integers(value)
    return value if value.ty.dtype == _INDEX else site.emit(_op.astype(value, _INDEX), "indices")


def _integers(value: Any) -> Expression:
    return constant(np.asarray(value), _INDEX)


def _best_place(function: Callable[..., Expression]) -> Translator:
    def translate(site: Site) -> Expression:
        data, axis = _along(site, None)
        places = function(data, axis=axis, keepdims=True)
        return _op.reshape(_op.astype(site.emit(places, "places"), site.type), site.shape)

    return translate


def _best_channel(site: Site) -> Expression:
    """Return the places of the maxima along the last axis, whatever their number."""
    return _op.astype(site.emit(_op.argmax(site.tensor(0), axis=-1), "places"), site.type)


def _sort(site: Site) -> Expression:
    data, axis = _along(site)
    descending = not site.attributes.flag("is_ascend", default=True)
    return _op.sort(data, axis=axis, descending=descending)


def _argsort(site: Site) -> Expression:
    data, axis = _along(site)
    descending = not site.attributes.flag("is_ascend", default=True)
    order = _op.argsort(data, axis=axis, descending=descending, dtype=_INDEX)
    return _op.astype(site.emit(order, "order"), site.type)


def _topk(site: Site) -> Expression | Sequence[Expression]:
    """Return the best elements, their places, or a mask; MXNet doesn't define which of equal elements is better."""
    data, axis = _along(site)
    count = site.attributes.number("k", 1)
    size = int(data.ty.shape[axis])
    kind = site.attributes.word("ret_typ", "indices")
    largest = not site.attributes.flag("is_ascend", default=False)
    both = _op.topk(data, count if count >= 1 else size, axis=axis, ret_type="both", largest=largest, dtype=_INDEX)
    values, places = (
        site.emit(relax.TupleGetItem(site.emit(both, "best"), index), what)
        for index, what in ((0, "values"), (1, "places"))
    )
    if kind == "mask":
        return _mask(site, places, axis, size)
    numbered = _op.astype(places, site.node.types.get(1 if kind == "both" else 0, _INDEX))
    return {"value": values, "indices": numbered, "both": [values, numbered]}[kind]


def _mask(site: Site, places: Expression, axis: int, size: int) -> Expression:
    """Return ones at some places along an axis."""
    columns = site.emit(_op.expand_dims(places, axis), "columns")
    rank = len(columns.ty.shape)
    numbers = _integers(np.arange(size).reshape(tuple(size if each == axis else 1 for each in range(rank))))
    hits = site.emit(_op.astype(_op.equal(columns, numbers), site.type), "hits")
    return _op.reshape(_op.max(hits, axis=axis + 1), site.shape)


def _along(site: Site, default: int | None = -1) -> tuple[Expression, int]:
    """Return the data and the axis to sort along; without an axis, MXNet sorts the flat tensor."""
    text = site.attributes.text.get("axis", str(default))
    shape = site.shape_of(0)
    if text == "None":
        return site.emit(_op.reshape(site.tensor(0), (prod(shape),)), "flat"), 0
    return site.tensor(0), int(text) % len(shape)


TRANSLATORS: Mapping[str, Translator] = {
    "Embedding": _embedding,
    "argmax": _best_place(_op.argmax),
    "argmax_channel": _best_channel,
    "argmin": _best_place(_op.argmin),
    "argsort": _argsort,
    "batch_take": _batch_take,
    "gather_nd": _gather_nd,
    "one_hot": _one_hot,
    "pick": _pick,
    "sort": _sort,
    "take": _take,
    "topk": _topk,
}

OF_ANY_TYPE = frozenset(TRANSLATORS)
