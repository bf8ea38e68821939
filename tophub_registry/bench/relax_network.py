"""Converts a model's Relax function to a framework-neutral network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tvm import relax
from tvm.ir import GenericConst, Op

from tophub_registry.bench.network import Array, Attribute, Network, Operation
from tophub_registry.errors import UsageError

# What an operator's attributes object holds, and what its arguments after the tensors mean.
_WINDOW = ("pool_size", "strides", "padding", "ceil_mode")
_CONVOLUTION = ("strides", "padding", "dilation", "groups")
_ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "nn.conv2d": _CONVOLUTION,
    "nn.conv2d_transpose": (*_CONVOLUTION, "output_padding"),
    "nn.max_pool2d": _WINDOW,
    "nn.avg_pool2d": (*_WINDOW, "count_include_pad"),
    "nn.leakyrelu": ("alpha",),
    "nn.pad": ("pad_width", "pad_value", "pad_mode"),
    **dict.fromkeys(("concat", "nn.log_softmax", "nn.prelu", "nn.softmax", "stack"), ("axis",)),
    **dict.fromkeys(("max", "mean", "min", "prod", "sum"), ("axis", "keepdims")),
    "permute_dims": ("axes",),
    "take": ("axis", "mode"),
    "topk": ("k", "axis", "largest", "ret_type"),
}
_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "clip": ("min", "max"),
    "strided_slice": ("axes", "begin", "end", "strides"),
}
_SUPPRESSION = ("iou_threshold", "force_suppress", "coord_start", "score_index", "id_index")
_VALID = "relax.vision.get_valid_counts"
_SUPPRESS = "relax.vision.non_max_suppression"


def network_of(module: Any) -> Network:
    """Return the function `main` of a model as a network, with biases in their convolutions.

    Raises
    ------
    UsageError
        It contains something other than operations on tensors.
    """
    return _Reader().read(module["main"]).with_biases()


class _Reader:
    """Reads a function's bindings in order."""

    def __init__(self) -> None:
        self.names: dict[Any, str] = {}
        self.weights: dict[str, Array] = {}
        self.operations: list[Operation] = []
        # Filtered by score: the rows and the threshold represent all three parts of the result.
        self.filtered: dict[Any, tuple[Any, float]] = {}

    def read(self, function: Any) -> Network:
        inputs = {self._new_name(parameter): _shape(parameter) for parameter in function.params}
        for block in function.body.blocks:
            for binding in block.bindings:
                self._bind(binding.var, binding.value)
        body = function.body.body
        outputs = body.fields if isinstance(body, relax.Tuple) else [body]
        return Network(inputs, tuple(self.operations), tuple(map(self._tensor, outputs)), self.weights)

    def _bind(self, variable: Any, value: Any) -> None:
        if isinstance(value, relax.Var):
            self.names[variable] = self.names[value]
        elif isinstance(value, relax.TupleGetItem) and value.tuple_value in self.filtered:
            self.filtered[variable] = self.filtered[value.tuple_value]
        elif not isinstance(value, relax.Call):
            raise UsageError(f"a {type(value).__name__} has no translation to other frameworks")
        elif not isinstance(value.op, Op):
            raise UsageError("a TVM function has no translation to other frameworks")
        elif value.op.name == _VALID:
            self.filtered[variable] = (value.args[0], float(value.attrs.score_threshold))
        elif value.op.name == _SUPPRESS:
            rows, threshold = self.filtered[value.args[0]]
            attributes = _read(value.attrs, _SUPPRESSION) | {"score_threshold": threshold}
            self._add("box_suppression", [rows], variable, attributes)
        else:
            self._call(variable, value)

    def _call(self, variable: Any, call: Any) -> None:
        kind = call.op.name.removeprefix("relax.")
        tensors: list[Any] = []
        others = []
        for argument in call.args:
            if isinstance(argument, relax.Tuple) and kind in {"concat", "stack"}:
                tensors += argument.fields
            elif isinstance(argument, (relax.Var, GenericConst)):
                tensors.append(argument)
            else:
                others.append(argument)
        attributes = _read(call.attrs, _ATTRIBUTES.get(kind, ()))
        attributes |= dict(zip(_ARGUMENTS.get(kind, ()), map(_plain, others), strict=False))
        if kind == "strided_slice" and "strides" not in attributes:
            attributes["strides"] = [1] * len(call.args[1].fields)
        self._add(kind, tensors, variable, attributes)

    def _add(self, kind: str, tensors: Sequence[Any], variable: Any, attributes: Mapping[str, Attribute]) -> None:
        inputs = tuple(map(self._tensor, tensors))
        name = self._new_name(variable)
        self.operations.append(Operation(kind, inputs, name, _shape(variable), str(variable.ty.dtype), attributes))

    def _tensor(self, expression: Any) -> str:
        if expression in self.names:
            return self.names[expression]
        if not isinstance(expression, GenericConst):
            raise UsageError(f"a {type(expression).__name__} has no translation to other frameworks")
        name = f"weight{len(self.weights)}"
        self.weights[name] = np.asarray(expression.value.numpy())
        return name

    def _new_name(self, variable: Any) -> str:
        """Return the variable's name, with a number if several variables share it."""
        name = f"{variable.name}.{len(self.operations)}" if variable.name in self.names.values() else variable.name
        self.names[variable] = name
        return name


def _shape(variable: Any) -> tuple[int, ...]:
    return tuple(map(int, variable.ty.shape))


def _read(attributes: Any, names: Sequence[str]) -> dict[str, Attribute]:
    return {name: _plain(getattr(attributes, name)) for name in names}


def _plain(value: Any) -> Attribute:
    """Convert TVM's numbers, strings and lists of integers to Python's."""
    if isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "value"):
        return _plain(value.value)
    return [int(number) for number in (value.fields if isinstance(value, relax.Tuple) else value)]
