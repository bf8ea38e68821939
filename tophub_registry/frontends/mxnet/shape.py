"""Operators that only move elements.

MXNet has inferred each output's shape, so the special codes in its reshapes need not be interpreted here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tvm import relax

from tophub_registry.frontends.mxnet.cropping import crop_of
from tophub_registry.frontends.mxnet.site import Expression, Site
from tophub_registry.frontends.mxnet.translator import Translator

_op: Any = relax.op


def _reshape(site: Site) -> Expression:
    return _op.reshape(site.tensor(0), site.shape)


def _transpose(site: Site) -> Expression:
    rank = len(site.shape)
    return _op.permute_dims(site.tensor(0), list(site.attributes.numbers("axes") or range(rank)[::-1]))


def _swap_axes(site: Site) -> Expression:
    axes = [*range(len(site.shape))]
    one, other = (site.attributes.number(name, 0) for name in ("dim1", "dim2"))
    axes[one], axes[other] = axes[other], axes[one]
    return _op.permute_dims(site.tensor(0), axes)


def _concatenation(site: Site) -> Expression:
    return _op.concat(site.tensors(), axis=site.attributes.number("dim", 1) % len(site.shape))


def _stack(site: Site) -> Expression:
    return _op.stack(site.tensors(), axis=site.attributes.number("axis", 0) % len(site.shape))


def _split(site: Site) -> Sequence[Expression]:
    """Split into equal parts, including unused ones."""
    shape, count = site.shape_of(0), site.attributes.number("num_outputs", 1)
    axis = site.attributes.number("axis", 1) % len(shape)
    width = shape[axis] // count
    parts = [_cut(site, axis, index * width, (index + 1) * width) for index in range(count)]
    if len(site.shape) == len(shape):
        return parts
    return [_op.reshape(site.emit(part, "part"), site.shape) for part in parts]


def _slice(site: Site) -> Expression:
    begins, ends, steps = (_bounds(site.attributes.text.get(name, "")) for name in ("begin", "end", "step"))
    slices = [
        slice(begin, end, steps[axis] if axis < len(steps) else None)
        for axis, (begin, end) in enumerate(zip(begins, ends, strict=True))
    ]
    return _sliced(site, dict(enumerate(slices)))


def _slice_axis(site: Site) -> Expression:
    axis = site.attributes.number("axis", 0) % len(site.shape)
    (begin,), (end,) = (_bounds(site.attributes.text.get(name, "None")) for name in ("begin", "end"))
    return _sliced(site, {axis: slice(begin, end)})


def _slice_like(site: Site) -> Expression:
    return _sliced(site, {axis: slice(0, size) for axis, size in enumerate(site.shape)})


def _bounds(text: str) -> list[int | None]:
    """Read numbers and Nones."""
    return [None if word == "None" else int(word) for word in re.findall(r"-?\d+|None", text)]


def _sliced(site: Site, slices: Mapping[int, slice]) -> Expression:
    """Slice along some axes, with Python slices."""
    shape = site.shape_of(0)
    bounds = {axis: part.indices(shape[axis]) for axis, part in slices.items()}
    if any(step < 0 for _, _, step in bounds.values()):
        site.refuse("backwards")
    cut = {axis: bound for axis, bound in bounds.items() if bound != (0, shape[axis], 1)}
    if not cut:
        return site.tensor(0)
    begins, ends, steps = zip(*cut.values(), strict=True)
    return _op.strided_slice(site.tensor(0), list(cut), list(begins), list(ends), list(steps))


def _cut(site: Site, axis: int, begin: int, end: int) -> Expression:
    return _op.strided_slice(site.tensor(0), [axis], [begin], [end])


def _tile(site: Site) -> Expression:
    return _op.tile(site.tensor(0), site.attributes.numbers("reps"))


def _repeat(site: Site) -> Expression:
    axis = site.attributes.text.get("axis", "None")
    return _op.repeat(site.tensor(0), site.attributes.number("repeats", 1), axis=None if axis == "None" else int(axis))


def _broadcast(site: Site) -> Expression:
    return _op.broadcast_to(site.tensor(0), site.shape)


def _reverse(site: Site) -> Expression:
    result = site.tensor(0)
    for axis in site.attributes.numbers("axis"):
        result = _op.flip(result, axis)
    return result


def _pad(site: Site) -> Expression:
    mode = site.attributes.word("mode", "constant")
    if mode not in {"constant", "reflect", "edge"}:
        site.refuse(f"in the mode {mode}")
    value = float(site.attributes.text.get("constant_value", "0"))
    kind = "replicate" if mode == "edge" else mode
    return _op.nn.pad(site.tensor(0), list(site.attributes.numbers("pad_width")), pad_mode=kind, pad_value=value)


def _crop(site: Site) -> Expression:
    return _sliced(site, dict(enumerate(crop_of(site.node, site.shape))))


def _split_at(site: Site) -> Sequence[Expression]:
    """Split at indices, or into equal parts."""
    shape = site.shape_of(0)
    axis = site.attributes.number("axis", 1) % len(shape)
    sections = site.attributes.number("sections", 0)
    width = shape[axis] // sections if sections else 0
    begins = [index * width for index in range(sections)] if sections else [*site.attributes.numbers("indices")]
    ends = [*begins[1:], shape[axis]]
    parts = [_cut(site, axis, begin, end) for begin, end in zip(begins, ends, strict=True)]
    if not site.attributes.flag("squeeze_axis", default=False):
        return parts
    rest = shape[:axis] + shape[axis + 1 :]
    return [_op.reshape(site.emit(part, "part"), rest) for part in parts]


def _depth_to_space(site: Site) -> Expression:
    """Move channels into blocks of pixels: the block's place is the slower part of a channel's number."""
    (batch, channels, height, width), size = site.shape_of(0), site.attributes.number("block_size", 1)
    blocks = (batch, size, size, channels // size**2, height, width)
    apart = site.emit(_op.reshape(site.tensor(0), blocks), "blocks")
    return _op.reshape(site.emit(_op.permute_dims(apart, [0, 3, 4, 1, 5, 2]), "moved"), site.shape)


def _space_to_depth(site: Site) -> Expression:
    (batch, channels, height, width), size = site.shape_of(0), site.attributes.number("block_size", 1)
    blocks = (batch, channels, height // size, size, width // size, size)
    apart = site.emit(_op.reshape(site.tensor(0), blocks), "blocks")
    return _op.reshape(site.emit(_op.permute_dims(apart, [0, 3, 5, 1, 2, 4]), "moved"), site.shape)


TRANSLATORS: Mapping[str, Translator] = {
    "Concat": _concatenation,
    "Crop": _crop,
    "Pad": _pad,
    "SliceChannel": _split,
    "SwapAxis": _swap_axes,
    "_split_v2": _split_at,
    "depth_to_space": _depth_to_space,
    "repeat": _repeat,
    "reverse": _reverse,
    "slice": _slice,
    "slice_axis": _slice_axis,
    "slice_like": _slice_like,
    "space_to_depth": _space_to_depth,
    "stack": _stack,
    "tile": _tile,
    "transpose": _transpose,
    **dict.fromkeys(("Flatten", "Reshape", "expand_dims", "squeeze", "reshape_like"), _reshape),
    **dict.fromkeys(("broadcast_axis", "broadcast_like", "broadcast_to"), _broadcast),
}

OF_ANY_TYPE = frozenset({*TRANSLATORS} - {"Pad"})
