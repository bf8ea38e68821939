"""Reads the layers of a Relax function from its calls. Nothing else maps calls to layers.

The function is in the normal form of `frontends.normal_form`: images are NCHW, and a dense layer is a `matmul` of two
matrices, of which the second is the weight, constant or not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from tvm import relax
from tvm.ir import GenericConst as Constant

from tophub_registry.tasks.layers import Convolution, Dense, Layer, MatrixProducts, Other, TransposedConvolution
from tophub_registry.tasks.rules import DTYPE

UNTRANSLATED = "tophub.untranslated."
"""Prefix of the name of an external function that represents an untranslated operator."""


ELEMENTWISE = {
    f"relax.{name}"
    for name in (
        *("add", "subtract", "multiply", "divide", "maximum", "minimum", "power"),
        *("abs", "ceil", "clip", "cos", "erf", "exp", "floor", "log", "negative", "round", "rsqrt", "sigmoid", "sign"),
        *("sin", "sqrt", "square", "tanh", "trunc", "nn.gelu", "nn.gelu_tanh", "nn.leakyrelu", "nn.relu", "nn.relu6"),
        *("nn.selu", "nn.silu", "nn.softplus"),
        *("where", "equal", "not_equal", "greater", "greater_equal", "less", "less_equal"),
        *("logical_and", "logical_not", "logical_or", "logical_xor", "astype", "floor_divide", "floor_mod", "mod"),
    )
}
"""The operators that compute each number of their output from those of their arguments in the same place."""

_IMAGE = 4

_GENERATED = re.compile(r"(lv|gv|alloc|add|matmul|conv\dd(_transpose)?)(_?\d+)?")
_WEIGHT = re.compile(r"^p_|[._]?(weight|kernel)(_\d+)?$")


def is_generated(name: str) -> bool:
    """Return whether TVM generated a variable's name."""
    return _GENERATED.fullmatch(name) is not None


def layer_name(name: str, weight: str) -> str:
    """Return a layer's name: its variable's, or where TVM made that up what its weight is called."""
    known_as = _WEIGHT.sub("", weight)
    return known_as if known_as and is_generated(name) else name


def shape_of(value: Any) -> tuple[int, ...]:
    """Return the shape of a tensor in Relax."""
    return tuple(map(int, value.ty.shape))


def crops_or_pads(call: relax.Call) -> bool:
    """Return whether an operator cuts off or adds images, rows or columns, all channels alike."""
    name = getattr(call.op, "name", "")
    if name == "relax.nn.pad":
        return len(call.attrs.pad_width) == 2 * _IMAGE and not any(map(int, call.attrs.pad_width[2:4]))
    return name == "relax.strided_slice" and len(shape_of(call)) == _IMAGE and 1 not in bounds(call)


def bounds(call: relax.Call) -> dict[int, tuple[int, int, int]]:
    """Return where a `strided_slice` begins and ends along each of its axes, and its step."""
    axes, begin, end, *more = ([int(each.value) for each in numbers.fields] for numbers in call.args[1:])
    rank = len(shape_of(call))
    steps = more[0] if more else [1] * len(axes)
    return {axis % rank: (first, last, step) for axis, first, last, step in zip(axes, begin, end, steps, strict=True)}


def calls_of(function: relax.Function) -> Iterator[tuple[Any, relax.Call]]:
    """Yield the calls in a function in order, each with the variable of its result."""
    for block in function.body.blocks:
        for binding in block.bindings:
            if isinstance(binding.value, relax.Call):
                yield binding.var, binding.value


def layers_of(function: relax.Function) -> dict[Any, Layer]:
    """Return the layers that do arithmetic, in order of execution, by the variables of their results."""
    weights = Weights(function)
    found = ((var, layer_of(call, weights.layer_name(var, call))) for var, call in calls_of(function))
    return {var: layer for var, layer in found if layer is not None}


def untranslated(function: relax.Function) -> dict[str, list[str]]:
    """Return the untranslated operators, and the names of the layers that use them."""
    found: dict[str, list[str]] = {}
    for var, call in calls_of(function):
        if (operator := untranslated_operator(call)) is not None:
            found.setdefault(operator, []).append(var.name)
    return found


def untranslated_operator(call: relax.Call) -> str | None:
    """Return the untranslated operator that a call represents; None for any other call."""
    callee = call.args[0] if getattr(call.op, "name", "") == "relax.call_pure_packed" else call.op
    name = str(callee.global_symbol) if isinstance(callee, relax.ExternFunc) else ""
    return name.removeprefix(UNTRANSLATED) if name.startswith(UNTRANSLATED) else None


class Weights:
    """The values of a function that are weights: constants, parameters and transposed parameters."""

    def __init__(self, function: relax.Function) -> None:
        self._parameters = {*function.params}
        self._transposed = {
            var: call.args[0]
            for var, call in calls_of(function)
            if getattr(call.op, "name", "") == "relax.permute_dims"
            and call.args[0] in self._parameters
            and (call.attrs.axes is None or [*map(int, call.attrs.axes)] == [1, 0])
        }

    def __contains__(self, value: Any) -> bool:
        return isinstance(value, Constant) or value in self._parameters or value in self._transposed

    def layer_name(self, var: Any, call: relax.Call) -> str:
        """Return a layer's name: the variable's, or where TVM made that up what its weight is called."""
        weight = self._transposed.get(call.args[1], call.args[1]) if len(call.args) > 1 else None
        return layer_name(var.name, weight.name if weight is not None and weight in self._parameters else "")

    def untransposed(self, value: Any) -> Any | None:
        """Return the parameter that a value is the transpose of, if any."""
        return self._transposed.get(value)


def layer_of(call: relax.Call, name: str) -> Layer | None:
    """Return the layer of a call; None for anything that does not multiply and add."""
    read = _READERS.get(getattr(call.op, "name", ""))
    if read is None:
        return None
    layer = None
    if _is_float32(call):
        layer = read(call, name) or _products(call, name)
    return layer or Other(name, call.op.name.removeprefix("relax.").removeprefix("nn."))


def _is_float32(call: relax.Call) -> bool:
    return all(str(value.ty.dtype) == DTYPE for value in (*call.args[:2], call))


def _convolution(call: relax.Call, name: str) -> Layer | None:
    data, weight = call.args
    attrs = call.attrs
    if (attrs.data_layout, attrs.kernel_layout) not in {("NCHW", "OIHW"), ("NCDHW", "OIDHW")}:
        return None
    return Convolution(
        name=name,
        operator="convolution",
        data=shape_of(data),
        kernel=shape_of(weight),
        strides=tuple(map(int, attrs.strides)),
        padding=tuple(map(int, attrs.padding)),
        dilation=tuple(map(int, attrs.dilation)),
        groups=int(attrs.groups),
    )


def _transposed(call: relax.Call, name: str) -> Layer | None:
    data, weight = call.args
    attrs = call.attrs
    layouts = (attrs.data_layout, attrs.kernel_layout)
    if layouts not in {("NCHW", "IOHW"), ("NCW", "IOW")} or set(map(int, attrs.dilation)) != {1}:
        return None
    return TransposedConvolution(
        name=name,
        operator="transposed convolution",
        data=shape_of(data),
        kernel=shape_of(weight),
        strides=tuple(map(int, attrs.strides)),
        padding=tuple(map(int, attrs.padding)),
        output_padding=tuple(map(int, attrs.output_padding)),
        groups=int(attrs.groups),
    )


def _dense(call: relax.Call, name: str) -> Layer | None:
    data, weight = map(shape_of, call.args)
    if not len(data) == len(weight) == len(("rows", "columns")):
        return None
    return Dense(name=name, operator="dense layer", data=data, weight=weight[::-1])


def _products(call: relax.Call, name: str) -> Layer | None:
    """Return the matrix products of two batches."""
    data, weight = map(shape_of, call.args)
    if call.op.name != "relax.matmul" or min(len(data), len(weight)) < len(("rows", "columns")):
        return None
    (*batch, rows, inner), (*others, _, columns) = data, weight
    count = math.prod(batch)
    if not count == math.prod(others) == math.prod(shape_of(call)[:-2]):
        return None
    return MatrixProducts(name, "matrix product", data=(count, rows, inner), weight=(count, columns, inner))


def _other(_call: relax.Call, _name: str) -> Layer | None:
    return None


_READERS: dict[str, Callable[[relax.Call, str], Layer | None]] = {
    "relax.nn.conv1d_transpose": _transposed,
    "relax.nn.conv2d": _convolution,
    "relax.nn.conv3d": _convolution,
    "relax.nn.conv2d_transpose": _transposed,
    "relax.matmul": _dense,
    **dict.fromkeys(
        (
            "relax.nn.attention",
            "relax.nn.attention_bias",
            "relax.nn.conv1d",
            "relax.nn.conv3d_transpose",
        ),
        _other,
    ),
}
