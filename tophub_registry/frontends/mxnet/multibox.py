"""The post-processing of detectors that MXNet's own SSD is made of: boxes decoded, chosen and suppressed at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tvm import relax

from tophub_registry.frontends.mxnet.site import Array, Expression, Site, constant
from tophub_registry.frontends.mxnet.translator import Translator

_op: Any = relax.op

_VALID = -0.5
"""Between the score of a row without a box, -1, and those of boxes."""


def _multi_box_detection(site: Site) -> Expression:
    """Return rows `[batch, anchors, 6]` of class, score and corners.

    The boxes whose score is high enough come first, sorted; the class of those that a better box overlaps is -1.
    """
    attributes = site.attributes
    found = site.emit(
        _op.vision.get_valid_counts(_decoded(site), score_threshold=_VALID, id_index=0, score_index=1), "valid"
    )
    count, rows = (site.emit(relax.TupleGetItem(found, index), what) for index, what in ((0, "count"), (1, "rows")))
    overlap = float(attributes.text.get("nms_threshold", "0.5"))
    if not 0 < overlap <= 1:
        return rows
    ranked, best = _sorted(site, rows), attributes.number("nms_topk", -1)
    places = constant(np.broadcast_to(np.arange(site.shape[1]), site.shape[:2]), "int32")
    kept = site.emit(
        _op.vision.non_max_suppression(
            ranked,
            count,
            places,
            max_output_size=-1,
            iou_threshold=overlap,
            force_suppress=attributes.flag("force_suppress", default=False),
            top_k=best,
            coord_start=2,
            score_index=1,
            id_index=0,
            return_indices=False,
            invalid_to_bottom=False,
        ),
        "kept",
    )
    if 0 < best < site.shape[1]:  # MXNet leaves the others where they were
        ranked = site.emit(
            _op.concat([_part(site, ranked, 1, 0, best), _part(site, rows, 1, best, site.shape[1])], axis=1), "all"
        )
    return _op.concat([_part(site, kept, 2, 0, 1), _part(site, ranked, 2, 1, 6)], axis=2)


def _decoded(site: Site) -> Expression:
    """Return a row for each anchor: its best class without the background, its score and its box; or -1 in all."""
    batch, _, count = site.shape_of(0)
    scores = site.emit(_op.strided_slice(site.tensor(0), [1], [1], [site.shape_of(0)[1]]), "scores")
    best = site.emit(_op.max(scores, axis=1, keepdims=True), "best")
    classes = site.emit(_op.astype(_op.argmax(scores, axis=1, keepdims=True), "float32"), "class")
    columns = [site.emit(_op.reshape(each, (batch, count, 1)), "column") for each in (classes, best)]
    rows = site.emit(_op.concat([*columns, *_boxes(site, batch, count)], axis=2), "found")
    threshold = float(site.attributes.text.get("threshold", "0.01"))
    valid = site.emit(_op.greater_equal(columns[1], constant(threshold)), "enough")
    return site.emit(_op.where(valid, rows, constant(-1)), "boxes")


def _boxes(site: Site, batch: int, count: int) -> Sequence[Expression]:
    """Return the upper left and the lower right corners, from offsets relative to the anchors' centers and sizes."""
    offsets = site.emit(_op.reshape(site.tensor(1), (batch, count, 4)), "offsets")
    anchors = site.tensor(2)
    first, last = _part(site, anchors, 2, 0, 2), _part(site, anchors, 2, 2, 4)
    size = site.emit(_op.subtract(last, first), "size")
    center = site.emit(_op.multiply(_op.add(first, last), constant(0.5)), "center")
    shift = site.emit(_op.multiply(_part(site, offsets, 2, 0, 2), constant(_variances(site)[:2])), "shift")
    growth = site.emit(_op.exp(_op.multiply(_part(site, offsets, 2, 2, 4), constant(_variances(site)[2:]))), "growth")
    middle = site.emit(_op.add(_op.multiply(shift, size), center), "middle")
    half = site.emit(_op.multiply(_op.multiply(growth, size), constant(0.5)), "half")
    corners = [site.emit(_op.subtract(middle, half), "first"), site.emit(_op.add(middle, half), "last")]
    if site.attributes.flag("clip", default=True):
        return [site.emit(_op.clip(corner, 0, 1), "clipped") for corner in corners]
    return corners


def _variances(site: Site) -> Array:
    text = site.attributes.text.get("variances", "(0.1, 0.1, 0.2, 0.2)")
    return np.array([float(word) for word in text.strip("()[] ").split(",") if word.strip()], "float32")


def _sorted(site: Site, rows: Expression) -> Expression:
    """Return rows sorted by score; equal ones stay in order."""
    batch, count, width = map(int, rows.ty.shape)
    scores = site.emit(_op.reshape(_part(site, rows, 2, 1, 2), (batch, count)), "scores")
    order = site.emit(_op.argsort(scores, axis=1, descending=True, dtype="int32"), "order")
    places = site.emit(_op.add(order, constant(np.arange(batch)[:, None] * count, "int32")), "places")
    flat = site.emit(_op.reshape(rows, (batch * count, width)), "flat")
    taken = site.emit(_op.take(flat, _op.reshape(places, (batch * count,)), axis=0, mode="clip"), "sorted")
    return site.emit(_op.reshape(taken, (batch, count, width)), "ranked")


def _part(site: Site, tensor: Expression, axis: int, begin: int, end: int) -> Expression:
    return site.emit(_op.strided_slice(tensor, [axis], [begin], [end]), "part")


def _of_training(site: Site) -> Expression:
    return site.refuse("that only training needs")


def _custom(site: Site) -> Expression:
    return site.refuse(f"of the type {site.attributes.word('op_type', '')}, which is written in Python")


TRANSLATORS: Mapping[str, Translator] = {
    "_contrib_MultiBoxDetection": _multi_box_detection,
    **dict.fromkeys(
        (
            *("_contrib_MultiBoxTarget", "_contrib_bipartite_matching", "_contrib_box_encode"),
            *("CTCLoss", "softmax_cross_entropy"),
        ),
        _of_training,
    ),
    "Custom": _custom,
}
