"""Channels that fill a processor's vectors: networks with 58, 44 or 728 channels, computed with 64, 48 and 736.

A kernel's vectors are of a number that divides the channels, so that 58 of them are computed two at a time. Here such
layers get more filters, all of whose weights are zero: what lies in the added channels is finite and counts nothing,
since whoever reads them multiplies them by zero. They stay through elementwise operators, pooling, padding, depthwise
convolutions and concatenations; whatever else reads such a value gets it without.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from tvm import relax
from tvm.ir import GenericConst as Constant

from tophub_registry.tasks.reading import crops_or_pads, shape_of
from tophub_registry.tasks.substitution import Rebuilding

_LANES, _MORE_LANES = 8, 16
"""Of vectors of AVX2 and of AVX-512."""

_GAIN = 1.25
"""How much less the computation must cost: layers around it move more channels."""

_HARDLY_MORE = 1.02
"""How many more vectors of 8 are worth it if only vectors of 16 gain."""

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
    """Return how many channels to compute: more than there are if these leave so many lanes idle that it pays."""
    few = _HARDLY_MORE * _vectors(channels, _LANES)
    larger = range(-(-channels // _LANES) * _LANES, 2 * channels + _LANES, _LANES)
    best = min((each for each in larger if _vectors(each, _LANES) <= few), key=lambda each: _cost(each, channels))
    return best if _GAIN * _cost(best, channels) <= _cost(channels, channels) else channels


def _cost(computed: int, channels: int) -> float:
    """Return what channels cost, more of which are computed, on processors with either vectors; memory too."""
    both: float = (_vectors(computed, _LANES) * _vectors(computed, _MORE_LANES)) ** 0.5
    return both * computed / channels


def _vectors(channels: int, lanes: int) -> int:
    """Return how many vectors hold channels: each as many as the largest power of two that divides them."""
    return channels // min(channels & -channels, lanes)


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
    pixels = shape_of(call)[2] * shape_of(call)[3]
    return int(call.attrs.groups) == 1 and pixels > 1 and (wide(filters) > filters or wide(channels) > channels)


class _Wide(NamedTuple):
    """A value with more channels than the function's, which are at these places among them."""

    value: Any
    places: tuple[int, ...]

    @property
    def channels(self) -> int:
        return shape_of(self.value)[1]


class _Widening(Rebuilding):
    """Rewrites a function: `new` are the values with the channels that they had, `_wide` those with more."""

    def __init__(self, function: relax.Function) -> None:
        super().__init__(function)
        self._wide: dict[Any, _Wide] = {}

    def rewrite(self, var: Any, value: Any) -> None:
        found = self._widely(value) if isinstance(value, relax.Call) else None
        if found is None:
            self.new[var] = self.emit(self.renewed(value), var.name)
            return
        call, places = found
        new = self.emit(call, var.name)
        if shape_of(new) == shape_of(var):
            self.new[var] = new
        else:
            self._wide[var] = _Wide(new, places)

    def _widely(self, call: relax.Call) -> tuple[Any, tuple[int, ...]] | None:
        """Return a call with more channels, and the places of its own; None if it stays as it is."""
        if _is_convolution(call):
            return self._convolution(call)
        name = getattr(call.op, "name", "")
        if name == "relax.concat":
            return self._concatenation(call)
        images = [each for each in call.args if isinstance(each, relax.Var)]
        found = [self._wide[each] for each in images if each in self._wide]
        if not found or len(found) < len(images) or any(each.places != found[0].places for each in found):
            return None
        places, channels = found[0].places, found[0].channels
        if _is_within_channels(call):
            return relax.Call(call.op, [found[0].value, *call.args[1:]], call.attrs), places
        if name in _FINITE and all(_broadcasts(each, call) for each in call.args):
            more = [
                self._wide[each].value if each in images else _more(each, 1, places, channels) for each in call.args
            ]
            return relax.Call(call.op, more, call.attrs), places
        return None

    def _convolution(self, call: relax.Call) -> tuple[Any, tuple[int, ...]] | None:
        data, weight = call.args
        filters, channels = shape_of(weight)[:2]
        groups = int(call.attrs.groups)
        if groups == 1:
            if data not in self._wide and (wide(filters), wide(channels)) == (filters, channels):
                return None
            read, places = self._read(data), tuple(range(filters))
            new = _more(_more(weight, 0, places, wide(filters)), 1, read.places, read.channels)
            return relax.op.nn.conv2d(read.value, new, **_window(call)), places
        if data in self._wide and groups == filters == shape_of(data)[1]:
            read = self._wide[data]
            window = _window(call, groups=read.channels)
            return relax.op.nn.conv2d(read.value, _more(weight, 0, read.places, read.channels), **window), read.places
        return None

    def _concatenation(self, call: relax.Call) -> tuple[Any, tuple[int, ...]] | None:
        fields = call.args[0].fields
        if call.attrs.axis is None or int(call.attrs.axis) != 1 or not any(each in self._wide for each in fields):
            return None
        parts = [self._wide.get(each) or _whole(self.renewed(each)) for each in fields]
        begins = accumulate((each.channels for each in parts), initial=0)
        places = [begin + place for begin, each in zip(begins, parts, strict=False) for place in each.places]
        return relax.op.concat([each.value for each in parts], axis=1), tuple(places)

    def _read(self, data: Any) -> _Wide:
        """Return what a convolution reads: the value with more channels, if those it has leave lanes idle."""
        if data in self._wide:
            return self._wide[data]
        narrow = self.renewed(data)
        channels = shape_of(narrow)[1]
        if wide(channels) == channels:
            return _whole(narrow)
        padding = [0, 0, 0, wide(channels) - channels, 0, 0, 0, 0]
        self._wide[data] = _Wide(self.emit(relax.op.nn.pad(narrow, padding)), tuple(range(channels)))
        return self._wide[data]

    def renewed(self, expression: Any) -> Any:
        """Return an expression with the channels that it had."""
        for var in relax.analysis.free_vars(expression):
            if var not in self.new:
                self.new[var] = self.emit(_narrow(self._wide[var]))
        return super().renewed(expression)


def _whole(value: Any) -> _Wide:
    return _Wide(value, tuple(range(shape_of(value)[1])))


def _narrow(value: _Wide) -> Any:
    """Return the channels that count."""
    count = len(value.places)
    if value.places == tuple(range(count)):
        return relax.op.strided_slice(value.value, [1], [0], [count])
    return relax.op.take(value.value, relax.const(np.array(value.places)), axis=1, mode="clip")


def _broadcasts(argument: Any, call: relax.Call) -> bool:
    """Return whether an argument's channels are those of an elementwise operator's result, or the same for all."""
    if isinstance(argument, relax.Var):
        return shape_of(argument)[1] == shape_of(call)[1]
    return not isinstance(argument, Constant) or len(shape_of(argument)) in (0, _IMAGE)


def _is_within_channels(call: relax.Call) -> bool:
    """Return whether an operator makes each channel of an image from the same channel, finite from finite numbers."""
    name = getattr(call.op, "name", "")
    if name in _POOLS:
        return bool(call.attrs.layout == "NCHW")
    if name == "relax.mean":
        return bool(call.attrs.keepdims) and sorted(int(axis) for axis in call.attrs.axis or ()) == [2, 3]
    return crops_or_pads(call) and (name != "relax.nn.pad" or math.isfinite(float(call.attrs.pad_value)))


def _window(call: relax.Call, groups: int = 1) -> dict[str, Any]:
    a = call.attrs
    sizes = {name: [*map(int, getattr(a, name))] for name in ("strides", "padding", "dilation")}
    return {**sizes, "groups": groups, "data_layout": "NCHW", "kernel_layout": "OIHW"}


def _more(argument: Any, axis: int, places: Sequence[int], size: int) -> Any:
    """Return a constant whose axis has a size, its numbers at some places and zeros at the others.

    One that is broadcast along the axis stays as it is, and what is no constant.
    """
    if not isinstance(argument, Constant) or len(shape_of(argument)) != _IMAGE or shape_of(argument)[axis] == 1:
        return argument
    array = argument.value.numpy()
    more = np.zeros((*array.shape[:axis], size, *array.shape[axis + 1 :]), array.dtype)
    more[(slice(None),) * axis + ([*places],)] = array
    return relax.const(more)
