"""Converts a model's Relax function to a framework-neutral network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tvm import relax
from tvm.ir import GenericConst, Op

from tophub_registry.bench.network import Array, Attribute, Network, Operation
from tophub_registry.errors import UsageError

# What an operator's attributes object holds, and what its arguments after the tensors mean.
_WINDOW = ("pool_size", "strides", "padding", "ceil_mode")
_CONVOLUTION = ("strides", "padding", "dilation", "groups")
_REDUCTIONS = ("max", "mean", "min", "prod", "sum", "variance")
_ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    **{f"nn.conv{axes}d": _CONVOLUTION for axes in (2, 3)},
    **{f"nn.conv{axes}d_transpose": (*_CONVOLUTION, "output_padding") for axes in (1, 2, 3)},
    **{f"nn.max_pool{axes}d": _WINDOW for axes in (1, 2, 3)},
    **{f"nn.avg_pool{axes}d": (*_WINDOW, "count_include_pad") for axes in (1, 2, 3)},
    "nn.adaptive_avg_pool2d": ("output_size",),
    "nn.layer_norm": ("axes", "epsilon"),
    "nn.leakyrelu": ("alpha",),
    "nn.pad": ("pad_width", "pad_value", "pad_mode"),
    **dict.fromkeys(("concat", "flip", "nn.log_softmax", "nn.prelu", "nn.softmax", "stack"), ("axis",)),
    **dict.fromkeys(_REDUCTIONS, ("axis", "keepdims")),
    "image.resize2d": (
        "layout",
        "method",
        "coordinate_transformation_mode",
        "rounding_method",
        "cubic_alpha",
        "cubic_exclude",
        "roi",
        "extrapolation_value",
    ),
    "argsort": ("axis", "descending"),
    "permute_dims": ("axes",),
    "repeat": ("repeats", "axis"),
    "take": ("axis", "mode"),
    "vision.roi_align": ("layout", "mode", "pooled_size", "spatial_scale", "sample_ratio", "aligned"),
}
_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "clip": ("min", "max"),
    "strided_slice": ("axes", "begin", "end", "strides"),
}
_SUPPRESSION = ("iou_threshold", "force_suppress", "coord_start", "score_index", "id_index")
_VALID = "relax.vision.get_valid_counts"
_SUPPRESS = "relax.vision.non_max_suppression"
_SPLIT = "relax.split"
_BEST = "relax.topk"
_CREATIONS: Mapping[str, Callable[..., Array]] = {
    "relax.arange": np.arange,
    "relax.full": np.full,
    "relax.ones": np.ones,
    "relax.zeros": np.zeros,
}
"""Operators without a tensor as input, whose results are weights."""
_TVM_FUNCTIONS = frozenset({"relax.call_tir", "relax.call_pure_packed", "relax.call_dps_packed"})


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
        self.tuples: dict[Any, Sequence[Any]] = {}

    def read(self, function: Any) -> Network:
        inputs = {self._new_name(parameter): _shape(parameter) for parameter in function.params}
        for block in function.body.blocks:
            for binding in block.bindings:
                self._bind(binding.var, binding.value)
        body = function.body.body
        outputs = body.fields if isinstance(body, relax.Tuple) else self.tuples.get(body, [body])
        dtypes = {self.names[parameter]: str(parameter.ty.dtype) for parameter in function.params}
        return Network(inputs, tuple(self.operations), tuple(map(self._tensor, outputs)), self.weights, dtypes)

    def _bind(self, variable: Any, value: Any) -> None:
        if isinstance(value, relax.Call):
            self._bind_call(variable, value)
        elif isinstance(value, relax.Var):
            self.names[variable] = self.names[value]
        elif isinstance(value, relax.Tuple):
            self.tuples[variable] = value.fields
        elif isinstance(value, relax.TupleGetItem) and value.tuple_value in self.tuples:
            self.names[variable] = self._tensor(self.tuples[value.tuple_value][value.index])
        elif isinstance(value, relax.TupleGetItem) and value.tuple_value in self.filtered:
            self.filtered[variable] = self.filtered[value.tuple_value]
        else:
            raise UsageError(f"a {type(value).__name__} has no translation to other frameworks")

    def _bind_call(self, variable: Any, call: Any) -> None:
        if not isinstance(call.op, Op) or call.op.name in _TVM_FUNCTIONS:
            raise UsageError("a TVM function has no translation to other frameworks")
        if call.op.name == _VALID:
            self.filtered[variable] = (call.args[0], float(call.attrs.score_threshold))
        elif call.op.name == _SUPPRESS:
            rows, threshold = self.filtered[call.args[0]]
            attributes = _read(call.attrs, _SUPPRESSION) | {"score_threshold": threshold}
            self._add("box_suppression", [rows], variable, attributes)
        elif call.op.name == _SPLIT:
            self._split(variable, call)
        elif call.op.name == _BEST:
            self._best(variable, call)
        elif call.op.name in _CREATIONS:
            array = _CREATIONS[call.op.name](*map(_plain, call.args))
            self.names[variable] = self._weight(array.astype(str(variable.ty.dtype)))
        elif not isinstance(variable.ty, relax.TensorType):
            raise UsageError(f"{call.op.name} has no translation to other frameworks")
        else:
            self._call(variable, call)

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
        if kind in _REDUCTIONS and "axis" not in attributes:
            attributes["axis"] = [*range(len(_shape(tensors[0])))]
        if kind in {"repeat", "tile"}:
            self._spread(kind, tensors[0], variable, attributes)
        else:
            self._add(kind, tensors, variable, attributes)

    def _spread(self, kind: str, data: Any, variable: Any, attributes: Mapping[str, Attribute]) -> None:
        """Add a repetition along one axis, or a tiling with a number for each axis, after any reshape that it needs."""
        shape = wanted = _shape(data)
        source = self._tensor(data)
        if kind == "tile":
            rank = len(_shape(variable))
            wanted = (1,) * (rank - len(shape)) + shape
            repeats = [new // old for old, new in zip(wanted, _shape(variable), strict=True)]
            attributes = {"repeats": repeats}
        elif "axis" not in attributes:
            wanted = (math.prod(shape),)
            attributes = {**attributes, "axis": 0}
        if wanted != shape:
            name = self._new_name(relax.Var(f"{variable.name}.reshaped"))
            self.operations.append(Operation("reshape", (source,), name, wanted, str(variable.ty.dtype), {}))
            source = name
        self._append(kind, (source,), variable, attributes)

    def _split(self, variable: Any, call: Any) -> None:
        """Add a slice for each part."""
        axis, begin, parts = int(call.attrs.axis), 0, []
        for index, kind in enumerate(variable.ty.fields):
            part = relax.Var(f"{variable.name}.{index}", kind)
            end = begin + _shape(part)[axis]
            bounds: dict[str, Attribute] = {"axes": [axis], "begin": [begin], "end": [end], "strides": [1]}
            self._add("strided_slice", call.args, part, bounds)
            parts.append(part)
            begin = end
        self.tuples[variable] = parts

    def _best(self, variable: Any, call: Any) -> None:
        """Add the places of the largest or smallest numbers of an axis, and these numbers where they are wanted."""
        axis, wanted = int(call.attrs.axis), str(call.attrs.ret_type)
        axis += (axis < 0) * len(_shape(call.args[0]))
        kinds = [*variable.ty.fields] if wanted == "both" else [variable.ty]
        where = relax.TensorType(kinds[0].shape, str(call.attrs.dtype))
        places = variable if wanted == "indices" else relax.Var(f"{variable.name}.places", where)
        attributes: dict[str, Attribute] = {"axis": axis, "largest": bool(call.attrs.largest)}
        attributes["k"] = _shape(places)[axis]
        self._add("topk", call.args, places, attributes)
        if wanted == "indices":
            return
        numbers = relax.Var(f"{variable.name}.numbers", kinds[0]) if wanted == "both" else variable
        self._add("gather_elements", [call.args[0], places], numbers, {"axis": axis})
        if wanted == "both":
            self.tuples[variable] = [numbers, places]

    def _add(self, kind: str, tensors: Sequence[Any], variable: Any, attributes: Mapping[str, Attribute]) -> None:
        self._append(kind, tuple(map(self._tensor, tensors)), variable, attributes)

    def _append(self, kind: str, inputs: tuple[str, ...], variable: Any, attributes: Mapping[str, Attribute]) -> None:
        name = self._new_name(variable)
        self.operations.append(Operation(kind, inputs, name, _shape(variable), str(variable.ty.dtype), attributes))

    def _tensor(self, expression: Any) -> str:
        if expression in self.names:
            return self.names[expression]
        if not isinstance(expression, GenericConst):
            raise UsageError(f"a {type(expression).__name__} has no translation to other frameworks")
        return self._weight(np.asarray(expression.value.numpy()))

    def _weight(self, array: Array) -> str:
        name = f"weight{len(self.weights)}"
        self.weights[name] = array
        return name

    def _new_name(self, variable: Any) -> str:
        """Return the variable's name, with a number if several variables share it."""
        name = f"{variable.name}.{len(self.operations)}" if variable.name in self.names.values() else variable.name
        self.names[variable] = name
        return name


def _shape(variable: Any) -> tuple[int, ...]:
    return tuple(map(int, variable.ty.shape))


def _read(attributes: Any, names: Sequence[str]) -> dict[str, Attribute]:
    """Return attributes by name, without those that are None."""
    found = {name: getattr(attributes, name) for name in names}
    return {name: _plain(value) for name, value in found.items() if value is not None}


def _plain(value: Any) -> Attribute:
    """Convert TVM's numbers, strings and lists of numbers to Python's."""
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, GenericConst):
        return _plain(value.value.numpy().item())
    if hasattr(value, "value"):
        return _plain(value.value)
    numbers: list[Any] = [_plain(number) for number in (value.fields if isinstance(value, relax.Tuple) else value)]
    return numbers
