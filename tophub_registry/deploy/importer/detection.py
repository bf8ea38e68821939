"""What a detector does with its network's output: boxes from anchors, and non-maximum suppression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tvm import relax

from tophub_registry.deploy.importer.site import Expression, Site, constant
from tophub_registry.deploy.importer.translator import Translator

_op: Any = relax.op


def _box_decode(site: Site) -> Expression:
    """Boxes `[batch, number, 4]` from offsets, measured in anchors, and the anchors `[1, number, 4]`."""
    attributes = site.attributes
    anchors = site.array(1)
    deviations = np.array([float(attributes.text.get(f"std{i}", "1")) for i in range(4)], "float32")
    clip = float(attributes.text.get("clip", "-1"))
    if attributes.word("format", "center") == "corner":
        size = anchors[..., 2:] - anchors[..., :2]
        center = anchors[..., :2] + size / 2
    else:
        center, size = anchors[..., :2], anchors[..., 2:]
    offsets = site.emit(_op.multiply(site.tensor(0), constant(deviations.reshape(1, 1, 4))), "offsets")
    shift = site.emit(_op.strided_slice(offsets, [2], [0], [2]), "shift")
    growth = site.emit(_op.strided_slice(offsets, [2], [2], [4]), "growth")
    if clip > 0:
        growth = site.emit(_op.minimum(growth, constant(clip)), "clipped")
    middle = site.emit(_op.add(_op.multiply(shift, constant(size)), constant(center)), "middle")
    half = site.emit(_op.multiply(_op.exp(growth), constant(size / 2)), "half")
    return _op.concat([_op.subtract(middle, half), _op.add(middle, half)], axis=2)


def _box_nms(site: Site) -> Expression:
    """Boxes in the order of their scores, those that a better one covers left out; rows of -1 fill the end."""
    attributes = site.attributes
    number = attributes.number
    for name in ("in_format", "out_format"):
        if attributes.word(name, "corner") != "corner":
            site.refuse(f"with {name} {attributes.text[name]}")
    if number("background_id", -1) != -1:
        site.refuse("with a background_id")
    id_index, score_index = number("id_index", -1), number("score_index", 1)
    shape = site.shape_of(0)
    boxes = site.tensor(0)
    if len(shape) != 3:  # noqa: PLR2004
        boxes = site.emit(_op.reshape(boxes, (-1, *shape[-2:])), "batched")
    found = site.emit(
        _op.vision.get_valid_counts(
            boxes,
            score_threshold=float(attributes.text.get("valid_thresh", "0")),
            id_index=id_index,
            score_index=score_index,
        ),
        "valid",
    )
    kept = _op.vision.non_max_suppression(
        found[1],
        found[0],
        found[2],
        max_output_size=-1,
        iou_threshold=float(attributes.text.get("overlap_thresh", "0.5")),
        force_suppress=attributes.flag("force_suppress", default=False),
        top_k=number("topk", -1),
        coord_start=number("coord_start", 2),
        score_index=score_index,
        id_index=id_index,
        return_indices=False,
        invalid_to_bottom=True,
    )
    return kept if len(shape) == 3 else _op.reshape(site.emit(kept, "kept"), shape)  # noqa: PLR2004


TRANSLATORS: Mapping[str, Translator] = {
    "_contrib_box_decode": _box_decode,
    "_contrib_box_nms": _box_nms,
}
