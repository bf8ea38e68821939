"""A detector's post-processing: box decoding and non-maximum suppression."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from tvm import relax

from tophub_registry.frontends.mxnet.class_boxes import CLASS_BOX_NMS
from tophub_registry.frontends.mxnet.site import Array, Expression, Site, constant
from tophub_registry.frontends.mxnet.translator import Translator
from tophub_registry.tasks.layers import Shape

_op: Any = relax.op


def _box_decode(site: Site) -> Expression:
    """Decode boxes `[batch, number, 4]` from offsets, relative to the anchors, and the anchors `[1, number, 4]`."""
    attributes = site.attributes
    deviations = np.array([float(attributes.text.get(f"std{i}", "1")) for i in range(4)], "float32")
    clip = float(attributes.text.get("clip", "-1"))
    center, size = _center_and_size(site, corners=attributes.word("format", "center") == "corner")
    offsets = site.emit(_op.multiply(site.tensor(0), constant(deviations.reshape(1, 1, 4))), "offsets")
    shift, growth = _first_two(site, offsets, "shift"), _last_two(site, offsets, "growth")
    if clip > 0:
        growth = site.emit(_op.minimum(growth, constant(clip)), "clipped")
    middle = site.emit(_op.add(_op.multiply(shift, size), center), "middle")
    half = site.emit(_op.multiply(_op.exp(growth), _op.multiply(size, constant(0.5))), "half")
    return _op.concat([_op.subtract(middle, half), _op.add(middle, half)], axis=2)


def _center_and_size(site: Site, *, corners: bool) -> tuple[Expression, Expression]:
    """Return the anchors' centers and sizes, `[1, number, 2]`, from these or from corners."""
    anchors = site.tensor(1)
    first, last = _first_two(site, anchors, "first"), _last_two(site, anchors, "last")
    if not corners:
        return first, last
    size = site.emit(_op.subtract(last, first), "size")
    return site.emit(_op.add(first, _op.multiply(size, constant(0.5))), "center"), size


def _first_two(site: Site, boxes: Expression, what: str) -> Expression:
    return site.emit(_op.strided_slice(boxes, [2], [0], [2]), what)


def _last_two(site: Site, boxes: Expression, what: str) -> Expression:
    return site.emit(_op.strided_slice(boxes, [2], [2], [4]), what)


def _box_nms(site: Site) -> Expression:
    """Suppress boxes `[batch, number, width]`, each a row with a class, a score and four coordinates.

    The result is sorted by score, without boxes that a better one overlaps, and filled up with rows of -1.
    """
    _check_suppression(site)
    shape = site.shape_of(0)
    batch, count, width = prod(shape[:-2]), *shape[-2:]
    boxes = _reshaped(site, site.tensor(0), (batch, count, width))
    best = site.attributes.number("topk", -1)
    if 0 < best < count:
        id_index, score_index = site.attributes.number("id_index", -1), site.attributes.number("score_index", 1)
        ids = None if id_index < 0 else _column(site, boxes, id_index, "ids")
        order = _best(site, _column(site, boxes, score_index, "scores"), ids, best)
        boxes = rows_at(site, boxes, order, "best")
    return _reshaped(site, _filled(site, _suppressed(site, boxes), count), shape)


def _class_box_nms(site: Site) -> Expression:
    """Suppress boxes `[batch, number, 4]` that are shared by all classes: ids and scores `[batch, number, classes]`.

    Rows are ordered by class before sorting. Boxes are copied only for the best rows.
    """
    _check_suppression(site)
    batch, count, classes = site.shape_of(1)
    ids, scores, boxes = site.tensors()
    by_class = [
        _reshaped(site, site.emit(_op.permute_dims(tensor, [0, 2, 1]), what), (batch, classes * count))
        for tensor, what in ((scores, "class_scores"), (ids, "class_ids"))
    ]
    best = site.attributes.number("topk", -1)
    order = _best(site, by_class[0], by_class[1], best)
    box = site.emit(_op.floor_mod(order, _integers(count)), "box")
    of_class = site.emit(_op.floor_divide(order, _integers(count)), "class")
    place = site.emit(_op.add(_op.multiply(box, _integers(classes)), of_class), "place")
    parts = [
        rows_at(site, _reshaped(site, tensor, (batch, count * classes, 1)), place, what)
        for tensor, what in ((ids, "best_ids"), (scores, "best_scores"))
    ]
    candidates = site.emit(_op.concat([*parts, rows_at(site, boxes, box, "best_boxes")], axis=2), "best")
    return _filled(site, _suppressed(site, candidates), classes * count)


def _overlaps(site: Site) -> Expression:
    """Return the intersection of each of the first boxes with each of the others, divided by their union."""
    ends = []
    for index, other in ((0, 1), (1, 0)):
        shape = site.shape_of(index)
        lead, other_lead = shape[:-1], site.shape_of(other)[:-1]
        row = (*lead, *(1,) * len(other_lead), 4) if index == 0 else (*(1,) * len(other_lead), *lead, 4)
        boxes = site.emit(_op.reshape(site.tensor(index), row), "boxes")
        axis = len(row) - 1
        first, last = (site.emit(_op.strided_slice(boxes, [axis], [at], [at + 2]), "part") for at in (0, 2))
        if site.attributes.word("format", "corner") == "center":
            half = site.emit(_op.multiply(last, constant(0.5)), "half")
            first, last = site.emit(_op.subtract(first, half)), site.emit(_op.add(first, half))
        ends.append((first, last))
    (first, last), (other_first, other_last) = ends
    low, high = _op.maximum(first, other_first), _op.minimum(last, other_last)
    shared = _area(site, site.emit(_op.subtract(high, low), "shared"))
    areas = [_area(site, site.emit(_op.subtract(high, low), "size")) for low, high in ends]
    union = site.emit(_op.subtract(_op.add(*areas), shared), "union")
    none = site.emit(_op.less_equal(shared, constant(0)), "none")
    return _op.reshape(_op.where(none, constant(0), _op.divide(shared, union)), site.shape)


def _area(site: Site, size: Expression) -> Expression:
    """Return the areas of boxes from their widths and heights; 0 if one is negative."""
    return site.emit(_op.prod(_op.maximum(size, constant(0)), axis=[-1]), "area")


def _check_suppression(site: Site) -> None:
    for name in ("in_format", "out_format"):
        if site.attributes.word(name, "corner") != "corner":
            site.refuse(f"with {name} {site.attributes.text[name]}")
    if site.attributes.number("background_id", -1) != -1:
        site.refuse("with a background_id")


def _best(site: Site, scores: Expression, ids: Expression | None, count: int) -> Expression:
    """Return the indices `[batch, count]` of the best valid scores `[batch, number]`."""
    valid = site.emit(_op.greater(scores, constant(_threshold(site))), "valid")
    if ids is not None:
        valid = site.emit(_op.logical_and(valid, _op.greater_equal(ids, constant(0))), "valid")
    ranked = site.emit(_op.where(valid, scores, constant(-np.inf)), "ranked")
    return site.emit(_op.topk(ranked, count, axis=1, ret_type="indices", largest=True, dtype="int32"), "order")


def _suppressed(site: Site, boxes: Expression) -> Expression:
    """Return valid boxes in order, without those that a better one overlaps."""
    number = site.attributes.number
    id_index, score_index = number("id_index", -1), number("score_index", 1)
    found = site.emit(
        _op.vision.get_valid_counts(
            boxes, score_threshold=_threshold(site), id_index=id_index, score_index=score_index
        ),
        "valid",
    )
    kept = _op.vision.non_max_suppression(
        found[1],
        found[0],
        found[2],
        max_output_size=-1,
        iou_threshold=float(site.attributes.text.get("overlap_thresh", "0.5")),
        force_suppress=site.attributes.flag("force_suppress", default=False),
        top_k=number("topk", -1),
        coord_start=number("coord_start", 2),
        score_index=score_index,
        id_index=id_index,
        return_indices=False,
        invalid_to_bottom=True,
    )
    return site.emit(kept, "kept")


def _threshold(site: Site) -> float:
    return float(site.attributes.text.get("valid_thresh", "0"))


def _filled(site: Site, rows: Expression, count: int) -> Expression:
    """Pad `[batch, number, width]` with rows of -1 to `count` rows."""
    missing = count - int(rows.ty.shape[1])
    if missing == 0:
        return rows
    return site.emit(_op.nn.pad(rows, [0, 0, 0, missing, 0, 0], pad_mode="constant", pad_value=-1), "filled")


def _column(site: Site, rows: Expression, index: int, what: str) -> Expression:
    """Return one column of `[batch, number, width]` as `[batch, number]`."""
    column = site.emit(_op.strided_slice(rows, [2], [index], [index + 1]), what)
    return _reshaped(site, column, tuple(map(int, rows.ty.shape))[:2])


def rows_at(site: Site, rows: Expression, places: Expression, what: str) -> Expression:
    """Take rows of `[batch, number, width]` at the indices `[batch, count]`."""
    batch, number, width = map(int, rows.ty.shape)
    count = int(places.ty.shape[1])
    if batch > 1:
        places = site.emit(_op.add(places, _integers(np.arange(batch)[:, None] * number)), f"{what}_places")
    flat = _reshaped(site, rows, (batch * number, width))
    taken = site.emit(_op.take(flat, _reshaped(site, places, (batch * count,)), axis=0, mode="clip"), what)
    return _reshaped(site, taken, (batch, count, width))


def _reshaped(site: Site, tensor: Expression, shape: Shape) -> Expression:
    return tensor if tuple(map(int, tensor.ty.shape)) == shape else site.emit(_op.reshape(tensor, shape), "reshaped")


def _integers(value: int | Array) -> Expression:
    return relax.const(np.asarray(value, "int32"))


TRANSLATORS: Mapping[str, Translator] = {
    "_contrib_box_decode": _box_decode,
    "_contrib_box_iou": _overlaps,
    "_contrib_box_nms": _box_nms,
    CLASS_BOX_NMS: _class_box_nms,
}
