"""Converts a network to a PyTorch module, by a table from kinds of operations to PyTorch functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tophub_registry.bench.network import Network, Operation

_TORCH_ALPHA = -0.75
"""The coefficient of PyTorch's cubic interpolation."""

_Entry = Callable[..., Any]
"""Takes PyTorch, the operation, and its inputs as tensors."""


def torch_module(network: Network) -> Any:
    """Return a network as a module in evaluation mode, which returns a tuple of outputs.

    Raises
    ------
    UsageError
        An operation has no entry in the table.
    ImportError
        PyTorch is not installed.
    """
    import torch

    network.check_kinds(_TABLE, "PyTorch")

    class Translated(torch.nn.Module):  # type: ignore[misc]  # PyTorch is not installed where types are checked
        """Runs the operations in order."""

        def __init__(self) -> None:
            super().__init__()
            self.places = {name: f"weight{index}" for index, name in enumerate(network.weights)}
            for name, array in network.weights.items():
                self.register_buffer(self.places[name], torch.from_numpy(np.array(array)))

        def forward(self, *inputs: Any) -> tuple[Any, ...]:
            found = dict(zip(network.inputs, inputs, strict=True))
            for operation in network.operations:
                tensors = [
                    found[name] if name in found else getattr(self, self.places[name]) for name in operation.inputs
                ]
                found[operation.output] = _TABLE[operation.kind](torch, operation, *tensors)
            return tuple(found[name] for name in network.outputs)

    return Translated().eval()


def program_module(path: Path) -> Any:
    """Return a program of `torch.export` as a module that takes tensors in order, and returns a tuple of tensors."""
    import torch
    from torch.utils import _pytree as pytree

    program = torch.export.load(path)

    class Flat(torch.nn.Module):  # type: ignore[misc]  # as above
        """Calls the program with its own structure of arguments, and flattens its results."""

        def __init__(self) -> None:
            super().__init__()
            self.program = program.module()

        def forward(self, *inputs: Any) -> tuple[Any, ...]:
            positional, named = pytree.tree_unflatten(inputs, program.call_spec.in_spec)
            found = pytree.tree_leaves(self.program(*positional, **named))
            return tuple(each for each in found if isinstance(each, torch.Tensor))

    return Flat()


def _named(name: str) -> _Entry:
    """Return a function that calls PyTorch's function of that name with the operation's inputs."""
    return lambda torch, _, *tensors: getattr(torch, name)(*tensors)


def _convolution(name: str) -> _Entry:
    """Return a function that calls a PyTorch convolution."""

    def entry(torch: Any, operation: Operation, data: Any, weight: Any, bias: Any = None) -> Any:
        padded, padding = _padded(torch, operation, data, 0.0)
        return getattr(torch.nn.functional, name)(
            padded,
            weight,
            bias,
            stride=operation.numbers("strides"),
            padding=padding,
            dilation=operation.numbers("dilation"),
            groups=operation.number("groups"),
        )

    return entry


def _transposed_convolution(name: str) -> _Entry:
    """Return a function that calls a transposed PyTorch convolution, and cuts off what its padding leaves."""

    def entry(torch: Any, operation: Operation, data: Any, weight: Any, bias: Any = None) -> Any:
        front, back = _ends(operation)
        extra = [
            more + max(0, before - after)
            for more, before, after in zip(operation.numbers("output_padding"), front, back, strict=True)
        ]
        found = getattr(torch.nn.functional, name)(
            data,
            weight,
            bias,
            stride=operation.numbers("strides"),
            padding=front,
            output_padding=extra,
            dilation=operation.numbers("dilation"),
            groups=operation.number("groups"),
        )
        wanted = (..., *(slice(size) for size in operation.shape[2:]))
        return found[wanted]

    return entry


def _ends(operation: Operation) -> tuple[list[int], list[int]]:
    """Return the padding before each axis, and that after it."""
    padding = operation.numbers("padding")
    axes = len(padding) // 2
    return padding[:axes], padding[axes:]


def _padded(torch: Any, operation: Operation, data: Any, value: float) -> tuple[Any, list[int]]:
    """Return the data, padded if the padding is not the same at both ends, and the padding that is left to do."""
    front, back = _ends(operation)
    if front == back:
        return data, front
    widths = [width for ends in reversed([*zip(front, back, strict=True)]) for width in ends]
    return torch.nn.functional.pad(data, widths, value=value), [0] * len(front)


def _maximum(name: str) -> _Entry:
    """Return a function that calls a PyTorch pooling of maxima."""

    def entry(torch: Any, operation: Operation, data: Any) -> Any:
        padded, padding = _padded(torch, operation, data, float("-inf"))
        window = (operation.numbers("pool_size"), operation.numbers("strides"), padding)
        return getattr(torch.nn.functional, name)(padded, *window, ceil_mode=bool(operation.number("ceil_mode")))

    return entry


def _mean(name: str) -> _Entry:
    """Return a function that calls a PyTorch pooling of averages, and counts the pixels if it can't itself."""

    def entry(torch: Any, operation: Operation, data: Any) -> Any:
        padded, padding = _padded(torch, operation, data, 0.0)
        everything = bool(operation.number("count_include_pad"))

        def pooled(each: Any) -> Any:
            window = (operation.numbers("pool_size"), operation.numbers("strides"), padding)
            how = {"ceil_mode": bool(operation.number("ceil_mode")), "count_include_pad": everything}
            return getattr(torch.nn.functional, name)(each, *window, **how)

        if everything or padded is data:
            return pooled(padded)
        return pooled(padded) / pooled(_padded(torch, operation, torch.ones_like(data), 0.0)[0])

    return entry


def _reduction(name: str) -> _Entry:
    return lambda torch, operation, data: getattr(torch, name)(
        data, dim=operation.numbers("axis"), keepdim=bool(operation.number("keepdims"))
    )


def _variance(torch: Any, operation: Operation, data: Any) -> Any:
    return torch.var(data, operation.numbers("axis"), correction=0, keepdim=bool(operation.number("keepdims")))


def _product(_: Any, operation: Operation, data: Any) -> Any:
    """Multiply along one axis after the other; PyTorch takes one."""
    for axis in sorted((axis % data.dim() for axis in operation.numbers("axis")), reverse=True):
        data = data.prod(axis, keepdim=bool(operation.number("keepdims")))
    return data


def _adaptive_average(torch: Any, operation: Operation, data: Any) -> Any:
    return torch.nn.functional.adaptive_avg_pool2d(data, operation.numbers("output_size"))


def _layer_norm(torch: Any, operation: Operation, data: Any, scale: Any, shift: Any) -> Any:
    """Normalize the last axes, as PyTorch does; others are moved to the end."""
    rank = data.dim()
    axes = [axis % rank for axis in operation.numbers("axes")]
    order = [*(axis for axis in range(rank) if axis not in axes), *axes]
    moved = data.permute(order)
    shape = moved.shape[rank - len(axes) :]
    found = torch.nn.functional.layer_norm(moved, shape, scale, shift, operation.real("epsilon"))
    return found.permute([order.index(axis) for axis in range(rank)])


def _gelu(approximate: str) -> _Entry:
    return lambda torch, _, data: torch.nn.functional.gelu(data, approximate=approximate)


def _repeat(torch: Any, operation: Operation, data: Any) -> Any:
    return torch.repeat_interleave(data, operation.number("repeats"), operation.number("axis"))


def _tile(torch: Any, operation: Operation, data: Any) -> Any:
    return torch.tile(data, operation.numbers("repeats"))


def _flip(torch: Any, operation: Operation, data: Any) -> Any:
    return torch.flip(data, [operation.number("axis")])


def _resize(torch: Any, operation: Operation, data: Any) -> Any:
    """Call PyTorch's function if it computes the same, else multiply by a matrix for each axis."""
    from tophub_registry.bench import resizing

    resizing.check_layout(operation)
    height, width = map(int, data.shape[2:])  # they are tensors while a network is traced
    how = _interpolation(operation, height, width)
    if how is not None:
        return torch.nn.functional.interpolate(data, operation.shape[2:], **how)
    rows, columns = (torch.from_numpy(matrix).to(data.device) for matrix in resizing.matrices(operation, height, width))
    found = rows @ data @ columns.T
    # Rows inside of the image add up to 1.
    outside = 1 - rows.sum(1)[:, None] * columns.sum(1)
    return found + operation.real("extrapolation_value") * outside


def _interpolation(operation: Operation, height: int, width: int) -> Mapping[str, object] | None:
    """Return the arguments of PyTorch's `interpolate`; None if it can't compute this."""
    method, coordinates = operation.word("method"), operation.word("coordinate_transformation_mode")
    if method == "nearest_neighbor":
        whole = all(new % old == 0 for old, new in zip((height, width), operation.shape[2:], strict=True))
        floors = coordinates == "asymmetric" and operation.word("rounding_method") in {"", "floor"}
        return {"mode": "nearest"} if whole and floors else None
    aligned = coordinates == "align_corners"
    if not aligned and coordinates != "half_pixel":
        return None
    if method == "linear":
        return {"mode": "bilinear", "align_corners": aligned}
    if operation.real("cubic_alpha") == _TORCH_ALPHA and not operation.number("cubic_exclude"):
        return {"mode": "bicubic", "align_corners": aligned}
    return None


def _reshape(_: Any, operation: Operation, data: Any) -> Any:
    return data.reshape(operation.shape)


def _broadcast(_: Any, operation: Operation, data: Any) -> Any:
    return data.expand(operation.shape)


def _transpose(_: Any, operation: Operation, data: Any) -> Any:
    return data.permute(operation.numbers("axes"))


def _clip(torch: Any, operation: Operation, data: Any) -> Any:
    return torch.clamp(data, operation.real("min"), operation.real("max"))


def _leaky(torch: Any, operation: Operation, data: Any) -> Any:
    return torch.nn.functional.leaky_relu(data, operation.real("alpha"))


def _softmax(torch: Any, operation: Operation, data: Any) -> Any:
    return torch.softmax(data, operation.number("axis"))


def _log_softmax(torch: Any, operation: Operation, data: Any) -> Any:
    return torch.log_softmax(data, operation.number("axis"))


def _softplus(torch: Any, _: Operation, data: Any) -> Any:
    return torch.nn.functional.softplus(data)


def _joined(name: str) -> _Entry:
    return lambda torch, operation, *tensors: getattr(torch, name)(tensors, operation.number("axis"))


def _slice(_: Any, operation: Operation, data: Any) -> Any:
    parts = [slice(None)] * data.dim()
    bounds: Sequence[list[int]] = [operation.numbers(name) for name in ("axes", "begin", "end", "strides")]
    for axis, begin, end, step in zip(*bounds, strict=True):
        parts[axis] = slice(begin, end, step)
    return data[tuple(parts)]


def _pad(torch: Any, operation: Operation, data: Any) -> Any:
    """Pad; PyTorch lists the axes from the last."""
    widths = operation.numbers("pad_width")
    last_first = [width for axis in range(len(widths) - 2, -1, -2) for width in widths[axis : axis + 2]]
    mode = operation.word("pad_mode")
    if mode == "constant":
        return torch.nn.functional.pad(data, last_first, value=operation.real("pad_value"))
    return torch.nn.functional.pad(data, last_first[:4], mode=mode)


def _cast(torch: Any, operation: Operation, data: Any) -> Any:
    return data.to(getattr(torch, operation.dtype))


def _remainder(torch: Any, _: Operation, data: Any, divisor: Any) -> Any:
    return torch.remainder(data, divisor)


def _take(torch: Any, operation: Operation, data: Any, places: Any) -> Any:
    axis = operation.number("axis")
    shape = (*data.shape[:axis], *places.shape, *data.shape[axis + 1 :])
    return torch.index_select(data, axis, places.reshape(-1)).reshape(shape)


def _gather_elements(torch: Any, operation: Operation, data: Any, places: Any) -> Any:
    return torch.gather(data, operation.number("axis"), places.long())


def _best(torch: Any, operation: Operation, data: Any) -> Any:
    count, axis = operation.number("k"), operation.number("axis")
    places = torch.topk(data, count, axis, bool(operation.number("largest")))[1]
    return places.to(getattr(torch, operation.dtype))


def _sorted(torch: Any, operation: Operation, data: Any) -> Any:
    how = {"dim": operation.number("axis"), "descending": bool(operation.number("descending"))}
    places = torch.argsort(data, stable=True, **how)
    return places.to(getattr(torch, operation.dtype))


def _suppression(torch: Any, operation: Operation, rows: Any) -> Any:
    from tophub_registry.bench.torch_suppression import suppress

    first = operation.number("coord_start")
    ids = operation.number("id_index")
    forced = operation.number("force_suppress")
    parts = []
    for image in rows.unbind():
        groups = torch.zeros_like(image[:, 0]) if ids < 0 else image[:, ids]
        parts.append(
            suppress(
                image,
                image[:, first : first + 4],
                image[:, operation.number("score_index")],
                torch.clamp(groups, max=0) if forced else groups,
                operation.real("score_threshold"),
                operation.real("iou_threshold"),
            )
        )
    return torch.stack(parts)


_TABLE: Mapping[str, _Entry] = {
    **{
        name: _named(name)
        for name in (
            "abs",
            "add",
            "ceil",
            "cos",
            "divide",
            "erf",
            "exp",
            "floor",
            "floor_divide",
            "greater",
            "greater_equal",
            "less",
            "less_equal",
            "log",
            "logical_and",
            "logical_not",
            "logical_or",
            "logical_xor",
            "matmul",
            "maximum",
            "minimum",
            "multiply",
            "negative",
            "rsqrt",
            "sigmoid",
            "sign",
            "sin",
            "sqrt",
            "square",
            "subtract",
            "tanh",
            "trunc",
            "where",
        )
    },
    "argsort": _sorted,
    "astype": _cast,
    "box_suppression": _suppression,
    "broadcast_to": _broadcast,
    "clip": _clip,
    "concat": _joined("cat"),
    "equal": _named("eq"),
    "flip": _flip,
    "floor_mod": _remainder,
    "gather_elements": _gather_elements,
    "image.resize2d": _resize,
    "max": _reduction("amax"),
    "mean": _reduction("mean"),
    "min": _reduction("amin"),
    "mod": _named("fmod"),
    "nn.adaptive_avg_pool2d": _adaptive_average,
    **{f"nn.avg_pool{axes}d": _mean(f"avg_pool{axes}d") for axes in (1, 2, 3)},
    **{f"nn.conv{axes}d": _convolution(f"conv{axes}d") for axes in (2, 3)},
    **{f"nn.conv{axes}d_transpose": _transposed_convolution(f"conv_transpose{axes}d") for axes in (1, 2, 3)},
    "nn.gelu": _gelu("none"),
    "nn.gelu_tanh": _gelu("tanh"),
    "nn.layer_norm": _layer_norm,
    "nn.leakyrelu": _leaky,
    "nn.log_softmax": _log_softmax,
    **{f"nn.max_pool{axes}d": _maximum(f"max_pool{axes}d") for axes in (1, 2, 3)},
    "nn.pad": _pad,
    "nn.prelu": _named("prelu"),
    "nn.relu": _named("relu"),
    "nn.silu": lambda torch, _, data: torch.nn.functional.silu(data),
    "nn.softmax": _softmax,
    "nn.softplus": _softplus,
    "permute_dims": _transpose,
    "not_equal": _named("ne"),
    "power": _named("pow"),
    "prod": _product,
    "repeat": _repeat,
    "reshape": _reshape,
    "stack": _joined("stack"),
    "strided_slice": _slice,
    "sum": _reduction("sum"),
    "take": _take,
    "tile": _tile,
    "topk": _best,
    "variance": _variance,
}
"""The functions that compute operations, by kind."""
