"""The arguments of a task, read by name: how log versions 0.1 and 0.2 write them, and their defaults.

Source: the signatures of the TOPI functions of TVM 0.6 and of TVM 0.7 to 0.16.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tophub_registry.errors import InputError
from tophub_registry.records.unconvertible import NoConversionError

if TYPE_CHECKING:
    from tophub_registry.records.record import Value

CONVOLUTION = "data kernel strides padding dilation"
"""The first arguments of every convolution that is neither transposed nor deformable."""

GROUPED = f"{CONVOLUTION} groups"
TRANSPOSED = "data kernel strides padding out_dtype output_padding groups"
DEFORMABLE = "data offset kernel strides padding dilation deformable_groups groups out_dtype"
DENSE = "data kernel bias out_dtype"
BATCHED = "data kernel out_shape out_dtype transpose_a transpose_b"

_NAMES = {
    "conv1d_transpose_": TRANSPOSED,
    "conv2d_transpose_": TRANSPOSED,
    "deformable_conv2d_": DEFORMABLE,
    "group_conv1d_": GROUPED,
    "group_conv2d_": GROUPED,
    "depthwise_conv2d_": CONVOLUTION,
    "conv1d_n": CONVOLUTION,
    "conv2d_": CONVOLUTION,
    "conv3d_n": GROUPED,
    "dense": DENSE,
    "batch_matmul": "data kernel",
}
"""The first arguments of a task of log version 0.2, by the start of its name; the first that fits counts."""

_SHOWN = 200

_AXES = re.compile(r"conv([123])d_")
_IMAGE = 2


class ArgumentError(InputError):
    """An argument is not what its name asks for."""


def take(names: str, args: Sequence[Value], axes: int = _IMAGE) -> dict[str, Value]:
    """Read the first arguments by name, each in the form that 0.2 gives it. There may be more arguments, or fewer.

    A tensor is `["TENSOR", shape, dtype]` with a shape of integers; strides, dilation and output padding become
    one integer for each axis, a padding two: before each axis, then after each (top, left, bottom, right).

    Parameters
    ----------
    axes
        The axes that a convolution's kernel moves along.

    Raises
    ------
    ArgumentError
        An argument is not what its name asks for.
    """
    return {name: _read_one(name, value, axes) for name, value in zip(names.split(), args, strict=False)}


def named(task: str, args: Sequence[Value]) -> dict[str, Value]:
    """Read a task's arguments by name, as far as its names are known here: none of an unknown task.

    Raises
    ------
    ArgumentError
        An argument is not what its name asks for.
    """
    names, axes = _names(task)
    return take(names, args, axes)


@functools.lru_cache
def _names(task: str) -> tuple[str, int]:
    """Return the names of a task's first arguments, and how many axes its kernel moves along."""
    axes = _AXES.search(task)
    names = next((names for start, names in _NAMES.items() if task.startswith(start)), "")
    return names, int(axes[1]) if axes else _IMAGE


def shown(value: Value, limit: int = _SHOWN) -> str:
    """Return a value as JSON, cut to so many characters: it may be anybody's text."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except ValueError:  # Python does not write out a number of thousands of digits
        return "a number too large"
    return text if len(text) <= limit else text[:limit] + "…"


@dataclass(frozen=True)
class Form:
    """How the arguments of a task are spelled in both versions, by name.

    Attributes
    ----------
    old
        The spellings of log version 0.1, distinguished by their number of arguments. The first one that can
        express the values is written.
    new
        The same for 0.2; only the first one is written.
    workload
        The workload that 0.1 repeats: its name, then arguments.
    """

    old: tuple[str, ...]
    new: tuple[str, ...]
    workload: str


def read(spellings: tuple[str, ...], args: list[Value]) -> dict[str, Value]:
    """Return arguments by name, each in the form of 0.2.

    Raises
    ------
    NoConversionError
        No spelling has this number of arguments, an argument has the wrong form, or two disagree.
    """
    names = next((names for names in map(str.split, spellings) if len(names) == len(args)), None)
    if names is None:
        raise NoConversionError(f"no rule for {len(args)} arguments")
    try:
        values = take(" ".join(names), args)
    except ArgumentError as error:
        raise NoConversionError(f"no rule for {error.message}") from None
    for name in ("in_channels", "kernel_size"):
        if name in values and values.pop(name) != _default(name, values):
            raise NoConversionError(f"{name} and the tensors disagree")
    return values


def say(spellings: tuple[str, ...], values: dict[str, Value]) -> list[Value]:
    """Return the arguments in the first spelling that leaves out only defaults.

    Raises
    ------
    NoConversionError
        There is no such spelling.
    """
    unsaid: list[str] = []
    for names in map(str.split, spellings):
        unsaid = [name for name in values if name not in names and values[name] != _default(name, values)]
        if not unsaid:
            return [values[name] if name in values else _default(name, values) for name in names]
    raise NoConversionError(f"no way to express {unsaid[0]} {shown(values[unsaid[0]], 80)} in the other log version")


def _read_one(name: str, value: Value, axes: int) -> Value:
    try:
        return _OF_AXES[name](value, axes) if name in _OF_AXES else _READERS[name](value)
    except ValueError:
        raise ArgumentError(f"{shown(value, 80)} as {name}") from None


def _default(name: str, values: dict[str, Value]) -> Value:
    """Return an argument's default."""
    return _DEFAULTS[name](values) if name in _DEFAULTS else None


_DEFAULTS: dict[str, Callable[[dict[str, Value]], Value]] = {
    "dilation": lambda _: [1, 1],
    "output_padding": lambda _: [0, 0],
    "groups": lambda _: 1,
    "layout": lambda _: "NCHW",
    "out_layout": lambda values: values.get("layout", "NCHW"),
    "out_dtype": lambda values: values["data"][2],
    "in_channels": lambda values: next(iter(values["data"][1][1:]), None),
    "kernel_size": lambda values: values["kernel"][1][2:4],
}


def _tensor(value: Value) -> Value:
    if isinstance(value, list) and value[:1] == ["TENSOR"] and len(value) == len(["TENSOR", "shape", "dtype"]):
        _integers(value[1])
        _word(value[2])
        return value
    raise ValueError


def _integers(value: Value) -> list[int]:
    if type(value) is not list:
        raise ValueError
    for item in value:
        if type(item) is not int:
            raise ValueError
    return value


def _of_each(value: Value, axes: int) -> list[int]:
    """Read one number for all axes, or one for each."""
    if type(value) is int:
        return [value] * axes
    if len(_integers(value)) == axes:
        return list(value)
    raise ValueError


def _padding(value: Value, axes: int) -> list[int]:
    """Read a padding of one number, one for each axis, or two for each: before all of them, then after them."""
    if isinstance(value, list) and len(value) == 2 * axes:
        return _integers(value)
    return _of_each(value, axes) * 2


def _word(value: Value) -> str:
    if isinstance(value, str):
        return value
    raise ValueError


def _type(value: Value) -> str | None:
    return None if value is None else _word(value)


def _tensor_or_nothing(value: Value) -> Value:
    return None if value in (None, "null") else _tensor(value)  # some tools quote the word


def _shape_or_nothing(value: Value) -> Value:
    return None if value is None else _integers(value)


def _flag(value: Value) -> bool:
    """Read a truth value, which TVM writes as a word or as a number."""
    if value in (0, 1):
        return bool(value)
    raise ValueError


def _integer(value: Value) -> int:
    if type(value) is int:
        return value
    raise ValueError


_READERS: dict[str, Callable[[Value], Value]] = {
    "data": _tensor,
    "offset": _tensor,
    "kernel": _tensor,
    "bias": _tensor_or_nothing,
    "in_channels": _integer,
    "groups": _integer,
    "deformable_groups": _integer,
    "layout": _word,
    "out_layout": _word,
    "out_dtype": _type,
    "out_shape": _shape_or_nothing,
    "transpose_a": _flag,
    "transpose_b": _flag,
}

_OF_AXES: dict[str, Callable[[Value, int], Value]] = {
    "strides": _of_each,
    "padding": _padding,
    "dilation": _of_each,
    "output_padding": _of_each,
    "kernel_size": _of_each,
}
