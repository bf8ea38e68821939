"""What detectors do with boxes, as ONNX nodes: places in order, pooled regions, suppression."""

from __future__ import annotations

import numpy as np

from tophub_registry.bench.network import Operation
from tophub_registry.bench.onnx_nodes import Nodes, code_of
from tophub_registry.errors import UsageError


def best_places(model: Nodes, operation: Operation) -> object:
    """Return where the largest or smallest numbers of an axis are."""
    count, largest = operation.number("k"), operation.number("largest")
    places = _places_of_best(model, operation.inputs[0], count, axis=operation.number("axis"), largest=largest)
    return model.add("Cast", [places], operation.output, to=code_of(operation.dtype))


def sorted_places(model: Nodes, operation: Operation) -> object:
    """Return where the numbers of an axis are, in order."""
    (values,), axis, largest = operation.inputs, operation.number("axis"), operation.number("descending")
    places = _places_of_best(model, values, model.shapes[values][axis], axis=axis, largest=largest)
    return model.add("Cast", [places], operation.output, to=code_of(operation.dtype))


def _places_of_best(model: Nodes, values: str, count: int, **attributes: int) -> str:
    """Return where the largest or smallest numbers of an axis are, the first of equal ones first."""
    from onnx import helper

    names = [f"TopK.{len(model.nodes)}.{part}" for part in ("values", "places")]
    model.nodes.append(helper.make_node("TopK", [values, model.constant([count], "int64")], names, **attributes))
    return names[1]


def pooled_regions(model: Nodes, operation: Operation) -> object:
    """Pool regions, which ONNX gets as corners and the numbers of their images.

    What Relax calls aligned lets regions be smaller than a pixel. ONNX then also moves them by half a pixel, which is
    undone.
    """
    from onnx import TensorProto

    if (operation.word("layout"), operation.word("mode")) != ("NCHW", "avg"):
        raise UsageError("only averages of regions, and in NCHW, are translated to ONNX yet")
    data, regions = operation.inputs
    corners, number = (
        model.add("Slice", [regions, *(model.constant([bound], "int64") for bound in (begin, end, 1))])
        for begin, end in ((1, 5), (0, 1))
    )
    images = model.add("Cast", [model.add("Reshape", [number, model.constant([-1], "int64")])], to=TensorProto.INT64)
    (height, width), scale = operation.numbers("pooled_size"), operation.real("spatial_scale")
    if operation.number("aligned"):
        corners = model.add("Add", [corners, model.constant(0.5 / scale, "float32")])
    return model.add(
        "RoiAlign",
        [data, corners, images],
        operation.output,
        mode="avg",
        output_height=height,
        output_width=width,
        sampling_ratio=max(operation.number("sample_ratio"), 0),
        spatial_scale=scale,
        coordinate_transformation_mode="half_pixel" if operation.number("aligned") else "output_half_pixel",
    )


def kept_boxes(model: Nodes, operation: Operation) -> object:
    """Suppress boxes of the same class.

    ONNX returns the numbers of image, class and box of those that are kept. They come first in the result, sorted by
    their scores, and rows of -1 take the places of the others.
    """
    (rows,), (batch, count, _) = operation.inputs, operation.shape
    first, ids, score = (operation.number(name) for name in ("coord_start", "id_index", "score_index"))
    scores = model.add("Transpose", [_columns(model, rows, score, score + 1)], perm=[0, 2, 1])
    possible = scores
    if ids >= 0:
        classes = model.add("Transpose", [_columns(model, rows, ids, ids + 1)], perm=[0, 2, 1])
        if operation.number("force_suppress"):
            counts = model.add("GreaterOrEqual", [classes, model.constant(0.0, "float32")])
        else:
            counts = model.add("Equal", [classes, _numbers_of_classes(model, classes)])
        possible = model.add("Where", [counts, scores, model.constant(-1.0, "float32")])
    settings = [
        model.constant([count], "int64"),
        model.constant([operation.real("iou_threshold")], "float32"),
        model.constant([operation.real("score_threshold")], "float32"),
    ]
    boxes = _columns(model, rows, first, first + 4)
    selected = model.add("NonMaxSuppression", [boxes, possible, *settings])
    places = model.add("Gather", [selected, model.constant([0, 2], "int64")], axis=1)
    number = model.add("Slice", [model.add("Shape", [places]), *(model.constant([end], "int64") for end in (0, 1))])
    ones = model.add("Expand", [model.constant(1.0, "float32"), number])
    kept = model.add("ScatterND", [model.constant(np.zeros((batch, count)), "float32"), places, ones])
    flat = model.add("Reshape", [scores, model.constant([batch, count], "int64")])
    least = model.constant(float(np.finfo("float32").min), "float32")
    is_kept = model.add("Greater", [kept, model.constant(0.5, "float32")])
    order = _places_of_best(model, model.add("Where", [is_kept, flat, least]), count, axis=1)
    last = model.constant([2], "int64")
    sorted_rows = model.add("GatherND", [rows, model.add("Unsqueeze", [order, last])], batch_dims=1)
    among = model.add("Unsqueeze", [model.add("GatherElements", [is_kept, order], axis=1), last])
    return model.add("Where", [among, sorted_rows, model.constant(-1.0, "float32")], operation.output)


def _numbers_of_classes(model: Nodes, classes: str) -> str:
    """Return a column of the numbers from 0 to the greatest class, or 0 alone."""
    zero, one = (model.constant(number, "float32") for number in (0.0, 1.0))
    last = model.add("Max", [model.add("ReduceMax", [classes], keepdims=0), zero])
    numbers = model.add("Range", [zero, model.add("Add", [last, one]), one])
    return model.add("Reshape", [numbers, model.constant([-1, 1], "int64")])


def _columns(model: Nodes, rows: str, begin: int, end: int) -> str:
    return model.add("Slice", [rows, *(model.constant([number], "int64") for number in (begin, end, 2))])
