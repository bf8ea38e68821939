"""Region proposals: anchors moved by a network's offsets, the best of which don't overlap much."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tvm import relax

from tophub_registry.frontends.mxnet.detection import rows_at
from tophub_registry.frontends.mxnet.site import Array, Expression, Site, constant
from tophub_registry.frontends.mxnet.translator import Translator

_op: Any = relax.op

_DROPPED = -1.0
"""The score of boxes that are too small, or where an image was padded."""


def _proposals(site: Site) -> Sequence[Expression]:
    """Return rows `[batch x number, 5]` of an image's number and corners, and their scores.

    If too few are left, they are repeated.
    """
    number = site.attributes.number
    batch, _, height, width = site.shape_of(0)
    anchors = _anchors(site, height, width)
    count = len(anchors)
    before = min(number("rpn_pre_nms_top_n", 6000), count)
    before = before if before > 0 else count
    wanted = number("rpn_post_nms_top_n", 300)
    corners, scores = _boxes(site, anchors), _scores(site, (height, width))
    corners, scores = _without_small(site, corners, scores)
    order = site.emit(_op.argsort(scores, axis=1, descending=True, dtype="int32"), "order")
    order = site.emit(_op.strided_slice(order, [1], [0], [before]), "best")
    rows = site.emit(_op.concat([_op.reshape(scores, (batch, count, 1)), corners], axis=2), "rows")
    ranked = rows_at(site, rows, order, "ranked")
    chosen = rows_at(site, ranked, _kept(site, ranked, min(wanted, before), wanted), "chosen")
    images = constant(np.broadcast_to(np.arange(batch).reshape(-1, 1, 1), (batch, wanted, 1)))
    regions = _op.concat([images, site.emit(_op.strided_slice(chosen, [2], [1], [5]), "corners")], axis=2)
    best = site.emit(_op.strided_slice(chosen, [2], [0], [1]), "scores")
    return [_op.reshape(site.emit(regions, "regions"), (batch * wanted, 5)), _op.reshape(best, (batch * wanted, 1))]


def _anchors(site: Site, height: int, width: int) -> Array:
    """Return the corners of all anchors, those of a place one after the other, row by row."""
    stride = site.attributes.number("feature_stride", 16)
    places = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 1, 2) * stride
    first = []
    for ratio in _reals(site, "ratios", (0.5, 1, 2)):
        side = math.floor(math.sqrt(math.floor(np.float32(stride * stride) / np.float32(ratio))) + 0.5)
        tall = math.floor(np.float32(side) * np.float32(ratio) + 0.5)
        for scale in _reals(site, "scales", (4, 8, 16, 32)):
            half = (np.array([side, tall]) * scale - 1) / 2
            middle = (stride - 1) / 2
            first.append([*(middle - half), *(middle + half)])
    found: Array = (np.array(first) + np.tile(places, 2)).reshape(-1, 4).astype("float32")
    return found


def _reals(site: Site, name: str, default: tuple[float, ...]) -> tuple[float, ...]:
    text = site.attributes.text.get(name, "")
    return tuple(float(word) for word in text.strip("()[] ").split(",") if word.strip()) or default


def _boxes(site: Site, anchors: Array) -> Expression:
    """Return corners `[batch, number, 4]`, within the image."""
    batch = site.shape_of(1)[0]
    apart = site.emit(_op.permute_dims(site.tensor(1), [0, 2, 3, 1]), "apart")
    offsets = site.emit(_op.reshape(apart, (batch, len(anchors), 4)), "offsets")
    first, last = (site.emit(_op.strided_slice(offsets, [2], [at], [at + 2]), "part") for at in (0, 2))
    if site.attributes.flag("iou_loss", default=False):
        low, high = (_op.add(part, constant(anchors[None, :, at : at + 2])) for part, at in ((first, 0), (last, 2)))
    else:
        size = anchors[None, :, 2:] - anchors[None, :, :2] + 1
        middle = site.emit(
            _op.add(_op.multiply(first, constant(size)), constant(anchors[None, :, :2] + (size - 1) / 2)), "middle"
        )
        new = site.emit(_op.multiply(_op.exp(last), constant(size)), "size")
        half = site.emit(_op.multiply(_op.subtract(new, constant(1)), constant(0.5)), "half")
        low, high = _op.subtract(middle, half), _op.add(middle, half)
    # The image's height and width; x comes before y.
    limits = site.emit(_op.take(site.tensor(2), relax.const(np.array([1, 0])), axis=1, mode="clip"), "limits")
    limits = site.emit(_op.reshape(_op.subtract(limits, constant(1)), (batch, 1, 2)), "limits")
    ends = [_op.maximum(_op.minimum(site.emit(end), limits), constant(0)) for end in (low, high)]
    return site.emit(_op.concat([site.emit(end) for end in ends], axis=2), "boxes")


def _scores(site: Site, size: tuple[int, int]) -> Expression:
    """Return the foreground's scores `[batch, number]`; boxes of places outside of the image have none."""
    batch, channels, height, width = site.shape_of(0)
    each = channels // 2
    front = site.emit(_op.strided_slice(site.tensor(0), [1], [each], [channels]), "front")
    scores = site.emit(_op.permute_dims(front, [0, 2, 3, 1]), "scores")
    stride = constant(site.attributes.number("feature_stride", 16))
    inside = None
    for axis, length in enumerate(size):
        real = site.emit(_op.strided_slice(site.tensor(2), [1], [axis], [axis + 1]), "length")
        real = site.emit(_op.reshape(_op.trunc(_op.divide(real, stride)), (batch, 1, 1, 1)), "real")
        shape = [1, length, 1, 1] if axis == 0 else [1, 1, length, 1]
        there = site.emit(_op.less(constant(np.arange(length).reshape(shape)), real), "there")
        inside = there if inside is None else site.emit(_op.logical_and(inside, there), "inside")
    found = site.emit(_op.where(inside, scores, constant(_DROPPED)), "found")
    return site.emit(_op.reshape(found, (batch, each * height * width)), "scores")


def _without_small(site: Site, corners: Expression, scores: Expression) -> tuple[Expression, Expression]:
    """Enlarge boxes that are too small, and take their scores."""
    batch, count = map(int, scores.ty.shape)
    least = constant(site.attributes.number("rpn_min_size", 16))
    scale = site.emit(_op.strided_slice(site.tensor(2), [1], [2], [3]), "scale")
    least = site.emit(_op.reshape(_op.multiply(scale, least), (batch, 1, 1)), "least")
    low, high = (site.emit(_op.strided_slice(corners, [2], [at], [at + 2]), "corner") for at in (0, 2))
    size = site.emit(_op.add(_op.subtract(high, low), constant(1)), "size")
    smallest = site.emit(_op.min(size, axis=2, keepdims=True), "smallest")
    small = site.emit(_op.less(smallest, least), "small")
    more = site.emit(_op.where(small, _op.multiply(least, constant(0.5)), constant(0)), "more")
    grown = site.emit(_op.concat([_op.subtract(low, more), _op.add(high, more)], axis=2), "grown")
    kept = _op.where(_op.reshape(small, (batch, count)), constant(_DROPPED), scores)
    return grown, site.emit(kept, "kept_scores")


def _kept(site: Site, ranked: Expression, most: int, wanted: int) -> Expression:
    """Return the places `[batch, wanted]` of the boxes that no better one overlaps."""
    batch, count, _ = map(int, ranked.ty.shape)
    # Suppression sorts by score and drops negative ones; here each box has its rank. Corners are of whole pixels.
    ranks = np.broadcast_to(np.arange(count, 0, -1, dtype="float32").reshape(1, -1, 1), (batch, count, 1))
    ends = site.emit(_op.add(_op.strided_slice(ranked, [2], [1], [5]), constant(np.array([[[0, 0, 1, 1]]]))), "ends")
    rows = site.emit(_op.concat([constant(ranks), ends], axis=2), "by_rank")
    found = site.emit(_op.vision.get_valid_counts(rows, score_threshold=0, id_index=-1, score_index=0), "valid")
    threshold = np.nextafter(np.float32(site.attributes.text.get("threshold", "0.7")), np.float32(np.inf))
    kept = site.emit(
        _op.vision.non_max_suppression(
            found[1],
            found[0],
            found[2],
            max_output_size=-1,
            iou_threshold=float(threshold),
            force_suppress=True,
            top_k=-1,
            coord_start=1,
            score_index=0,
            id_index=-1,
            return_indices=False,
            invalid_to_bottom=True,
        ),
        "kept",
    )
    rank = site.emit(_op.reshape(_op.strided_slice(kept, [2], [0], [1]), (batch, count)), "rank")
    there = site.emit(_op.astype(_op.greater(rank, constant(0)), "int32"), "there")
    number = site.emit(_op.minimum(_op.sum(there, axis=1, keepdims=True), relax.const(most, "int32")), "number")
    turn = relax.const(np.broadcast_to(np.arange(wanted, dtype="int32"), (batch, wanted)))
    turns = site.emit(_op.floor_mod(turn, number), "turns")
    places = site.emit(_op.astype(_op.subtract(constant(count), rank), "int32"), "places")
    lines = site.emit(_op.reshape(places, (batch, count, 1)), "lines")
    return site.emit(_op.reshape(rows_at(site, lines, turns, "turn"), (batch, wanted)), "survivors")


TRANSLATORS: Mapping[str, Translator] = dict.fromkeys(("_contrib_MultiProposal", "_contrib_Proposal"), _proposals)
