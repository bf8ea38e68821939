"""Sequences of different lengths in one tensor, whose first or second axis is time and the other the batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tvm import relax

from tophub_registry.frontends.mxnet.site import Expression, Site, constant
from tophub_registry.frontends.mxnet.translator import Translator

_op: Any = relax.op


def _masked(site: Site) -> Expression:
    """Replace what comes after the end of each sequence."""
    if not _has_lengths(site):
        return site.tensor(0)
    shape, axis = site.shape_of(0), site.attributes.number("axis", 0)
    times = (
        np.arange(shape[axis], dtype="float32").reshape(-1, 1) if axis == 0 else np.arange(shape[axis], dtype="float32")
    )
    lengths = site.emit(_op.expand_dims(site.tensor(1), axis), "lengths")
    inside = site.emit(_op.less(constant(times), lengths), "inside")
    inside = site.emit(_op.reshape(inside, (*shape[:2], *(1,) * (len(shape) - 2))), "inside")
    return _op.where(inside, site.tensor(0), constant(float(site.attributes.text.get("value", "0"))))


def _last(site: Site) -> Expression:
    """Return each sequence's last element."""
    shape, axis = site.shape_of(0), site.attributes.number("axis", 0)
    if not _has_lengths(site):
        last = _op.strided_slice(site.tensor(0), [axis], [shape[axis] - 1], [shape[axis]])
        return _op.reshape(site.emit(last, "last"), site.shape)
    batch = shape[1 - axis]
    steps, numbers = (batch, 1) if axis == 0 else (1, shape[axis])
    time = site.emit(_op.astype(_op.subtract(site.tensor(1), constant(1)), "int32"), "time")
    offsets = constant(np.arange(batch) * numbers, "int32")
    places = site.emit(_op.add(_op.multiply(time, constant(steps, "int32")), offsets), "places")
    flat = site.emit(_op.reshape(site.tensor(0), (shape[0] * shape[1], *shape[2:])), "flat")
    return _op.take(flat, places, axis=0, mode="clip")


def _reversed(site: Site) -> Expression:
    if not _has_lengths(site):
        return _op.flip(site.tensor(0), 0)
    lengths = site.emit(_op.astype(site.tensor(1), "int32"), "lengths")
    return _op.reverse_sequence(site.tensor(0), lengths, seq_axis=0, batch_axis=1)


def _has_lengths(site: Site) -> bool:
    return site.attributes.flag("use_sequence_length", default=False)


TRANSLATORS: Mapping[str, Translator] = {
    "SequenceLast": _last,
    "SequenceMask": _masked,
    "SequenceReverse": _reversed,
}
