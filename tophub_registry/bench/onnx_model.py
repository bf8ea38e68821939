"""Converts a network to an ONNX model, for ONNX Runtime, by a table from kinds of operations to ONNX nodes.

The operators are those of opset 17, which every ONNX Runtime since 1.12 reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tophub_registry.bench import onnx_detection, resizing
from tophub_registry.bench.network import Array, Network, Operation
from tophub_registry.bench.onnx_nodes import Nodes, code_of

OPSET = 17
_IR_VERSION = 8  # released with opset 17


_IMAGE_RANK, _IMAGE_AXES = 4, (2, 3)

_ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
_COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize")
"""ONNX's `nearest_mode` and `coordinate_transformation_mode`."""

_Entry = Callable[[Nodes, Operation], object]


def onnx_model(network: Network) -> bytes:
    """Return a network as an ONNX file.

    Raises
    ------
    UsageError
        An operation has no entry in the table.
    ImportError
        onnx is not installed.
    """
    from onnx import helper, numpy_helper

    network.check_kinds(_TABLE, "ONNX")
    model = Nodes(network)
    for operation in network.operations:
        _TABLE[operation.kind](model, operation)
    dtypes = {name: network.dtypes.get(name, "float32") for name in network.inputs}
    dtypes |= {operation.output: operation.dtype for operation in network.operations}
    graph = helper.make_graph(
        model.nodes,
        "network",
        *(
            [helper.make_tensor_value_info(name, code_of(dtypes[name]), model.shapes[name]) for name in names]
            for names in (network.inputs, network.outputs)
        ),
        [numpy_helper.from_array(np.asarray(array, order="C"), name) for name, array in model.weights.items()],
    )
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION)
    serialized: bytes = whole.SerializeToString()
    return serialized


def _same(kind: str, **attributes: Any) -> _Entry:
    """Return a function that adds one node with the operation's inputs."""
    return lambda model, operation: model.add(kind, operation.inputs, operation.output, **attributes)


def _along_axis(kind: str) -> _Entry:
    return lambda model, operation: model.add(kind, operation.inputs, operation.output, axis=operation.number("axis"))


def _convolution(kind: str, *more: str) -> _Entry:
    """Return a function that adds a convolution with these list attributes."""
    return lambda model, operation: model.add(
        kind,
        operation.inputs,
        operation.output,
        strides=operation.numbers("strides"),
        pads=operation.numbers("padding"),
        dilations=operation.numbers("dilation"),
        group=operation.number("groups"),
        **{name: operation.numbers(name) for name in more},
    )


def _pooling(kind: str, *more: str) -> _Entry:
    """Return a function that adds a pooling with these attributes."""
    return lambda model, operation: model.add(
        kind,
        operation.inputs,
        operation.output,
        kernel_shape=operation.numbers("pool_size"),
        strides=operation.numbers("strides"),
        pads=_pads(model, operation),
        ceil_mode=operation.number("ceil_mode"),
        **{name: operation.number(name) for name in more},
    )


def _pads(model: Nodes, operation: Operation) -> list[int]:
    """Return a pooling's padding, the same at both ends where that makes no other window.

    pnnx takes no other padding: it moves the windows.
    """
    padding = operation.numbers("padding")
    before = padding[: len(padding) // 2]
    sizes, counts = model.shapes[operation.inputs[0]][2:], operation.shape[2:]
    windows = zip(sizes, before, operation.numbers("pool_size"), operation.numbers("strides"), counts, strict=True)
    alike = all((size + 2 * pad - length) // step + 1 == count for size, pad, length, step, count in windows)
    return [*before, *before] if alike else padding


def _reduction(kind: str) -> _Entry:
    def entry(model: Nodes, operation: Operation) -> object:
        axes, keeps = operation.numbers("axis"), operation.number("keepdims")
        if kind == "ReduceSum":  # the first whose axes became an input
            inputs = [*operation.inputs, model.constant(axes, "int64")]
            return model.add(kind, inputs, operation.output, keepdims=keeps)
        return model.add(kind, operation.inputs, operation.output, axes=axes, keepdims=keeps)

    return entry


def _average(model: Nodes, operation: Operation) -> object:
    rank = len(model.shapes[operation.inputs[0]])
    if rank >= _IMAGE_RANK and operation.numbers("axis") == [*range(2, rank)] and operation.number("keepdims"):
        return model.add("GlobalAveragePool", operation.inputs, operation.output)
    return _reduction("ReduceMean")(model, operation)


def _variance(model: Nodes, operation: Operation) -> object:
    """Average the squared differences from the mean."""
    axes = operation.numbers("axis")
    difference = model.add("Sub", [operation.inputs[0], model.add("ReduceMean", operation.inputs, axes=axes)])
    squares = model.add("Mul", [difference] * 2)
    return model.add("ReduceMean", [squares], operation.output, axes=axes, keepdims=operation.number("keepdims"))


def _adaptive_average(model: Nodes, operation: Operation) -> object:
    """Pool with windows of one size, or multiply by matrices that average rows and columns where sizes differ."""
    sizes, new_sizes = model.shapes[operation.inputs[0]][2:], operation.shape[2:]
    if any(size % new for size, new in zip(sizes, new_sizes, strict=True)):
        rows, columns = map(_averages, sizes, new_sizes)
        fewer_rows = model.add("MatMul", [model.constant(rows, "float32"), *operation.inputs])
        return model.add("MatMul", [fewer_rows, model.constant(columns.T, "float32")], operation.output)
    window = [size // new for size, new in zip(sizes, new_sizes, strict=True)]
    return model.add("AveragePool", operation.inputs, operation.output, kernel_shape=window, strides=window)


def _averages(size: int, count: int) -> Array:
    """Return a matrix [count, size] that averages the windows of adaptive pooling."""
    matrix = np.zeros((count, size))
    for index, row in enumerate(matrix):
        begin, end = index * size // count, -(-(index + 1) * size // count)
        row[begin:end] = 1 / (end - begin)
    return matrix


def _layer_norm(model: Nodes, operation: Operation) -> object:
    """Normalize the last axes, as ONNX does; others are moved to the end."""
    data, *factors = operation.inputs
    rank = len(operation.shape)
    axes = [axis % rank for axis in operation.numbers("axes")]
    order = [*(axis for axis in range(rank) if axis not in axes), *axes]
    settings: dict[str, Any] = {"axis": rank - len(axes), "epsilon": operation.real("epsilon")}
    if order == [*range(rank)]:
        return model.add("LayerNormalization", operation.inputs, operation.output, **settings)
    moved = model.add("LayerNormalization", [model.add("Transpose", [data], perm=order), *factors], **settings)
    back = [order.index(axis) for axis in range(rank)]
    return model.add("Transpose", [moved], operation.output, perm=back)


def _gelu(model: Nodes, operation: Operation) -> object:
    """Compute it by the error function, in the form that ONNX Runtime and OpenVINO fuse."""
    (data,) = operation.inputs
    curve = model.add("Erf", [model.add("Div", [data, model.constant(math.sqrt(2), "float32")])])
    shifted = model.add("Add", [curve, model.constant(1.0, "float32")])
    product = model.add("Mul", [data, shifted])
    return model.add("Mul", [product, model.constant(0.5, "float32")], operation.output)


def _gelu_tanh(model: Nodes, operation: Operation) -> object:
    """Compute x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))."""
    (data,) = operation.inputs
    cube = model.add(
        "Mul", [model.add("Pow", [data, model.constant(3.0, "float32")]), model.constant(0.044715, "float32")]
    )
    inner = model.add("Mul", [model.add("Add", [data, cube]), model.constant(math.sqrt(2 / math.pi), "float32")])
    shifted = model.add("Add", [model.add("Tanh", [inner]), model.constant(1.0, "float32")])
    product = model.add("Mul", [data, shifted])
    return model.add("Mul", [product, model.constant(0.5, "float32")], operation.output)


def _silu(model: Nodes, operation: Operation) -> object:
    return model.add("Mul", [*operation.inputs, model.add("Sigmoid", operation.inputs)], operation.output)


def _truncate(model: Nodes, operation: Operation) -> object:
    size = model.add("Floor", [model.add("Abs", operation.inputs)])
    return model.add("Mul", [model.add("Sign", operation.inputs), size], operation.output)


def _not_equal(model: Nodes, operation: Operation) -> object:
    return model.add("Not", [model.add("Equal", operation.inputs)], operation.output)


def _flip(model: Nodes, operation: Operation) -> object:
    bounds = (-1, np.iinfo("int64").min, operation.number("axis"), -1)
    inputs = [*operation.inputs, *(model.constant([number], "int64") for number in bounds)]
    return model.add("Slice", inputs, operation.output)


def _repeat(model: Nodes, operation: Operation) -> object:
    """Enlarge an image, which frameworks have a kernel for; repeat other data along a new axis."""
    (data,) = operation.inputs
    shape, times = model.shapes[data], operation.number("repeats")
    axis = operation.number("axis") % len(shape)
    if len(shape) == _IMAGE_RANK and axis in _IMAGE_AXES:
        scales = model.constant([times if index == axis else 1 for index in range(len(shape))], "float32")
        settings = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return model.add("Resize", [data, "", scales], operation.output, **settings)
    longer = model.add("Unsqueeze", [data, model.constant([axis + 1], "int64")])
    repeated = model.add("Expand", [longer, model.constant([*shape[: axis + 1], times, *shape[axis + 1 :]], "int64")])
    return model.add("Reshape", [repeated, model.constant(operation.shape, "int64")], operation.output)


def _tile(model: Nodes, operation: Operation) -> object:
    repeats = model.constant(operation.numbers("repeats"), "int64")
    return model.add("Tile", [*operation.inputs, repeats], operation.output)


def _resize(model: Nodes, operation: Operation) -> object:
    """Resize, or multiply by a matrix for each axis where ONNX has no such coordinates or rounding."""
    resizing.check_layout(operation)
    (data,) = operation.inputs
    height, width = model.shapes[data][2:]
    coordinates, method = operation.word("coordinate_transformation_mode"), operation.word("method")
    settings: dict[str, Any] = {"mode": method, "coordinate_transformation_mode": coordinates}
    region = ""
    if method == "nearest_neighbor":
        settings["mode"] = "nearest"
        settings["nearest_mode"] = resizing.same_rounding(operation, height, width, _ROUNDINGS)
    if method == "cubic":
        settings["cubic_coeff_a"] = operation.real("cubic_alpha")
        settings["exclude_outside"] = operation.number("cubic_exclude")
    if coordinates == "tf_crop_and_resize":
        top, left, bottom, right = operation.reals("roi")
        region = model.constant([0, 0, top, left, 1, 1, bottom, right], "float32")
        settings["extrapolation_value"] = operation.real("extrapolation_value")
    if coordinates not in _COORDINATES or None in settings.values():
        rows, columns = resizing.matrices(operation, height, width)
        taller = model.add("MatMul", [model.constant(rows, "float32"), data])
        return model.add("MatMul", [taller, model.constant(columns.T, "float32")], operation.output)
    inputs = [data, region, "", model.constant(operation.shape, "int64")]
    return model.add("Resize", inputs, operation.output, **settings)


def _reshape(model: Nodes, operation: Operation) -> object:
    return model.add("Reshape", [operation.inputs[0], model.constant(operation.shape, "int64")], operation.output)


def _broadcast(model: Nodes, operation: Operation) -> object:
    return model.add("Expand", [operation.inputs[0], model.constant(operation.shape, "int64")], operation.output)


def _transpose(model: Nodes, operation: Operation) -> object:
    return model.add("Transpose", operation.inputs, operation.output, perm=operation.numbers("axes"))


def _clip(model: Nodes, operation: Operation) -> object:
    bounds = [model.constant(operation.real(name), "float32") for name in ("min", "max")]
    return model.add("Clip", [*operation.inputs, *bounds], operation.output)


def _leaky(model: Nodes, operation: Operation) -> object:
    return model.add("LeakyRelu", operation.inputs, operation.output, alpha=operation.real("alpha"))


def _parametric(model: Nodes, operation: Operation) -> object:
    data, slopes = operation.inputs
    rank, axis = len(operation.shape), operation.number("axis")
    shape = [-1 if index == axis else 1 for index in range(rank)]
    shaped = model.constant(model.weights[slopes].reshape(shape), "float32")
    return model.add("PRelu", [data, shaped], operation.output)


def _slice(model: Nodes, operation: Operation) -> object:
    bounds = [model.constant(operation.numbers(name), "int64") for name in ("begin", "end", "axes", "strides")]
    return model.add("Slice", [*operation.inputs, *bounds], operation.output)


def _pad(model: Nodes, operation: Operation) -> object:
    """Reorder padding: ONNX lists the paddings before all axes first, Relax the two paddings of each axis together."""
    widths = operation.numbers("pad_width")
    modes = {"replicate": "edge"}
    mode = operation.word("pad_mode")
    inputs = [
        *operation.inputs,
        model.constant([*widths[::2], *widths[1::2]], "int64"),
        model.constant(operation.real("pad_value"), "float32"),
    ]
    return model.add("Pad", inputs, operation.output, mode=modes.get(mode, mode))


def _square(model: Nodes, operation: Operation) -> object:
    return model.add("Mul", [operation.inputs[0]] * 2, operation.output)


def _reciprocal_root(model: Nodes, operation: Operation) -> object:
    return model.add("Reciprocal", [model.add("Sqrt", operation.inputs)], operation.output)


def _cast(model: Nodes, operation: Operation) -> object:
    return model.add("Cast", operation.inputs, operation.output, to=code_of(operation.dtype))


def _stack(model: Nodes, operation: Operation) -> object:
    axis = operation.number("axis")
    place = model.constant([axis], "int64")
    parts = [model.add("Unsqueeze", [name, place]) for name in operation.inputs]
    return model.add("Concat", parts, operation.output, axis=axis)


def _gather_elements(model: Nodes, operation: Operation) -> object:
    return model.add("GatherElements", operation.inputs, operation.output, axis=operation.number("axis"))


def _take(model: Nodes, operation: Operation) -> object:
    return model.add("Gather", operation.inputs, operation.output, axis=operation.number("axis"))


_TABLE: Mapping[str, _Entry] = {
    "abs": _same("Abs"),
    "add": _same("Add"),
    "argsort": onnx_detection.sorted_places,
    "astype": _cast,
    "box_suppression": onnx_detection.kept_boxes,
    "broadcast_to": _broadcast,
    "ceil": _same("Ceil"),
    "clip": _clip,
    "concat": _along_axis("Concat"),
    "cos": _same("Cos"),
    "divide": _same("Div"),
    "equal": _same("Equal"),
    "erf": _same("Erf"),
    "exp": _same("Exp"),
    "flip": _flip,
    "floor": _same("Floor"),
    "floor_divide": _same("Div"),  # of whole numbers, none of them negative
    "floor_mod": _same("Mod"),
    "gather_elements": _gather_elements,
    "greater": _same("Greater"),
    "greater_equal": _same("GreaterOrEqual"),
    "image.resize2d": _resize,
    "less": _same("Less"),
    "less_equal": _same("LessOrEqual"),
    "log": _same("Log"),
    "logical_and": _same("And"),
    "logical_not": _same("Not"),
    "logical_or": _same("Or"),
    "logical_xor": _same("Xor"),
    "matmul": _same("MatMul"),
    "max": _reduction("ReduceMax"),
    "maximum": _same("Max"),
    "mean": _average,
    "min": _reduction("ReduceMin"),
    "minimum": _same("Min"),
    "mod": _same("Mod", fmod=1),
    "multiply": _same("Mul"),
    "negative": _same("Neg"),
    "nn.adaptive_avg_pool2d": _adaptive_average,
    **{f"nn.avg_pool{axes}d": _pooling("AveragePool", "count_include_pad") for axes in (1, 2, 3)},
    **{f"nn.conv{axes}d": _convolution("Conv") for axes in (2, 3)},
    **{f"nn.conv{axes}d_transpose": _convolution("ConvTranspose", "output_padding") for axes in (1, 2, 3)},
    "nn.gelu": _gelu,
    "nn.gelu_tanh": _gelu_tanh,
    "nn.layer_norm": _layer_norm,
    "nn.leakyrelu": _leaky,
    "nn.log_softmax": _along_axis("LogSoftmax"),
    **{f"nn.max_pool{axes}d": _pooling("MaxPool") for axes in (1, 2, 3)},
    "nn.pad": _pad,
    "nn.prelu": _parametric,
    "nn.relu": _same("Relu"),
    "nn.silu": _silu,
    "nn.softmax": _along_axis("Softmax"),
    "nn.softplus": _same("Softplus"),
    "not_equal": _not_equal,
    "permute_dims": _transpose,
    "power": _same("Pow"),
    "prod": _reduction("ReduceProd"),
    "repeat": _repeat,
    "reshape": _reshape,
    "rsqrt": _reciprocal_root,
    "sigmoid": _same("Sigmoid"),
    "sign": _same("Sign"),
    "sin": _same("Sin"),
    "sqrt": _same("Sqrt"),
    "square": _square,
    "stack": _stack,
    "strided_slice": _slice,
    "subtract": _same("Sub"),
    "sum": _reduction("ReduceSum"),
    "take": _take,
    "tanh": _same("Tanh"),
    "tile": _tile,
    "topk": onnx_detection.best_places,
    "trunc": _truncate,
    "variance": _variance,
    "vision.roi_align": onnx_detection.pooled_regions,
    "where": _same("Where"),
}
"""The functions that add nodes, by kind of operation."""
