"""Channels that fill a processor's vectors: networks with 58, 116 or 728 channels, computed with 64, 128 and 736.

A kernel's vectors are of a number that divides the channels, so that 58 of them are computed two at a time. Here such
layers get more filters, and read more channels, all of whose weights are zero: what lies in them is finite and counts
nothing. It stays through elementwise operators, pooling and depthwise convolutions; whatever else reads such a value
gets it without.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax
from tvm.ir import GenericConst as Constant

from tophub_registry.tasks.reading import shape_of
from tophub_registry.tasks.substitution import Rebuilding

_LANES = 16
_FEW_LANES = 8
_MOST_ADDED = 1.15
"""The most channels to compute, relative to those that there are: more would cost what vectors gain."""

_HARDLY_MORE = 1.02
"""So few more that they are worth it even if only vectors of 16 gain by them."""

_IMAGE = 4

_FINITE = {
    f"relax.{name}"
    for name in (
        *("add", "subtract", "multiply", "maximum", "minimum", "abs", "clip", "negative", "sigmoid", "square", "tanh"),
        *("nn.relu", "nn.relu6", "nn.leakyrelu", "nn.silu", "nn.gelu", "nn.gelu_tanh"),
    )
}
"""Elementwise operators that make finite numbers of zeros and what was made of them."""

_POOLS = ("relax.nn.max_pool2d", "relax.nn.avg_pool2d")


def wide(channels: int) -> int:
    """Return how many channels to compute: more than there are if these leave vectors idle, and few must be added."""
    lanes = next(lanes for lanes in range(_LANES, 0, -1) if channels % lanes == 0)
    more = -(-channels // _LANES) * _LANES
    return more if more <= (_MOST_ADDED if lanes < _FEW_LANES else _HARDLY_MORE) * channels else channels


def widened(function: relax.Function) -> relax.Function:
    """Return a function in normal form whose convolutions have channels that fill vectors; the same if they do."""
    calls = [binding.value for block in function.body.blocks for binding in block.bindings]
    if not any(_is_convolution(call) and _gains(call) for call in calls):
        return function
    return _Widening(function).result()


def _is_convolution(call: Any) -> bool:
    return (
        isinstance(call, relax.Call)
        and getattr(call.op, "name", "") == "relax.nn.conv2d"
        and (call.attrs.data_layout, call.attrs.kernel_layout) == ("NCHW", "OIHW")
        and isinstance(call.args[1], Constant)
        and {str(value.ty.dtype) for value in (*call.args, call)} == {"float32"}
    )


def _gains(call: relax.Call) -> bool:
    filters, channels = shape_of(call.args[1])[:2]
    return int(call.attrs.groups) == 1 and (wide(filters) > filters or wide(channels) > channels)


class _Widening(Rebuilding):
    """Rewrites a function: `new` are the values with the channels that they had, `_wide` those with more."""

    def __init__(self, function: relax.Function) -> None:
        super().__init__(function)
        self._wide: dict[Any, Any] = {}

    def rewrite(self, var: Any, value: Any) -> None:
        new = self._widely(value) if isinstance(value, relax.Call) else None
        if new is None:
            self.new[var] = self.emit(self.renewed(value), var.name)
        elif new[1] == shape_of(var)[1]:
            self.new[var] = self.emit(new[0], var.name)
        else:
            self._wide[var] = self.emit(new[0], var.name)

    def _widely(self, call: relax.Call) -> tuple[Any, int] | None:
        """Return a call with more channels, and how many its output has; None if it stays as it is."""
        if _is_convolution(call):
            return self._convolution(call)
        name = getattr(call.op, "name", "")
        images = [each for each in call.args if isinstance(each, relax.Var)]
        if not images or not all(each in self._wide for each in images):
            return None
        channels = shape_of(self._wide[images[0]])[1]
        if name in _POOLS and call.attrs.layout == "NCHW":
            return relax.Call(call.op, [self._wide[call.args[0]], *call.args[1:]], call.attrs), channels
        if name in _FINITE and all(self._broadcasts(each, call) for each in call.args):
            arguments = [self._wide[each] if each in images else _more(each, 1, channels) for each in call.args]
            return relax.Call(call.op, arguments, call.attrs), channels
        return None

    @staticmethod
    def _broadcasts(argument: Any, call: relax.Call) -> bool:
        if isinstance(argument, relax.Var):
            return shape_of(argument)[1] == shape_of(call)[1]
        return not isinstance(argument, Constant) or len(shape_of(argument)) in (0, _IMAGE)

    def _convolution(self, call: relax.Call) -> tuple[Any, int] | None:
        data, weight = call.args
        filters, channels = shape_of(weight)[:2]
        groups = int(call.attrs.groups)
        if groups == 1:
            more, read = wide(filters), wide(channels)
            if (more, read) == (filters, channels) and data not in self._wide:
                return None
            new = _more(_more(weight, 0, more), 1, read)
            return relax.op.nn.conv2d(self._of(data, read), new, **_window(call)), more
        if data in self._wide and groups == filters == shape_of(data)[1]:
            more = shape_of(self._wide[data])[1]
            return relax.op.nn.conv2d(self._wide[data], _more(weight, 0, more), **_window(call, groups=more)), more
        return None

    def _of(self, data: Any, channels: int) -> Any:
        """Return a value with so many channels."""
        if data in self._wide:
            return self._wide[data]
        narrow = self.renewed(data)
        if shape_of(narrow)[1] == channels:
            return narrow
        padding = [0, 0, 0, channels - shape_of(narrow)[1], 0, 0, 0, 0]
        self._wide[data] = self.emit(relax.op.nn.pad(narrow, padding))
        return self._wide[data]

    def renewed(self, expression: Any) -> Any:
        """Return an expression with the channels that it had."""
        for var in relax.analysis.free_vars(expression):
            if var not in self.new:
                self.new[var] = self.emit(relax.op.strided_slice(self._wide[var], [1], [0], [shape_of(var)[1]]))
        return super().renewed(expression)


def _window(call: relax.Call, groups: int = 1) -> dict[str, Any]:
    a = call.attrs
    sizes = {name: [*map(int, getattr(a, name))] for name in ("strides", "padding", "dilation")}
    return {**sizes, "groups": groups, "data_layout": "NCHW", "kernel_layout": "OIHW"}


def _more(argument: Any, axis: int, size: int) -> Any:
    """Return a constant with zeros appended, so that an axis has a size; one that is broadcast stays as it is."""
    if not isinstance(argument, Constant) or len(shape_of(argument)) != _IMAGE or shape_of(argument)[axis] in (1, size):
        return argument
    array = argument.value.numpy()
    added = [(0, size - length if place == axis else 0) for place, length in enumerate(array.shape)]
    return relax.const(np.pad(array, added))
