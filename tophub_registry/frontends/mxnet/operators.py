"""MXNet's operators that cost arithmetic, read into layers: names, attributes and their defaults.

Attributes are text, as symbol files keep them: `{"kernel": "(3, 3)", "no_bias": "True"}`. Source: the operators'
parameters in MXNet 1.9 and, for what AutoTVM sees of them, `tvm.relay.frontend.mxnet`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from tophub_registry.tasks.layers import Convolution, Dense, Layer, Shape, TransposedConvolution


@dataclass(frozen=True)
class Attributes:
    """The attributes of a node."""

    text: Mapping[str, str]

    def numbers(self, name: str, default: Shape = ()) -> Shape:
        """Return a tuple of whole numbers: `(1, 1)`, `[1, 1]` and Python 2's `(1L, 1L)` are the same."""
        return tuple(map(int, re.findall(r"-?\d+", self.text.get(name, "")))) or default

    def number(self, name: str, default: int) -> int:
        """Return a whole number."""
        return self.numbers(name, (default,))[0]

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a truth value."""
        text = self.text.get(name)
        return default if text is None else text.lower() in ("true", "1")

    def word(self, name: str, default: str) -> str:
        """Return a word; None stands for the default."""
        text = self.text.get(name, "None")
        return default if text == "None" else text


_LAYOUTS = {1: "NCW", 2: "NCHW", 3: "NCDHW"}


def _convolution(name: str, attributes: Attributes, data: Shape, kernel: Shape) -> Layer | None:
    axes = len(data) - 2
    if attributes.word("layout", _LAYOUTS[axes]) != _LAYOUTS[axes]:
        return None
    ones, zeros = (1,) * axes, (0,) * axes
    strides, dilation = attributes.numbers("stride", ones), attributes.numbers("dilate", ones)
    padding = attributes.numbers("pad", zeros)
    if axes == 1:
        data, kernel = (*data[:2], 1, data[2]), (*kernel[:2], 1, kernel[2])
        strides, padding, dilation = (1, *strides), (0, *padding), (1, *dilation)
    groups = attributes.number("num_group", 1)
    return Convolution(name, "Convolution", data, kernel, strides, padding, dilation, groups)


def _deconvolution(name: str, attributes: Attributes, data: Shape, kernel: Shape) -> Layer | None:
    if (
        attributes.word("layout", _LAYOUTS[len(data) - 2]) != "NCHW"
        or set(attributes.numbers("dilate", (1,))) != {1}
        or set(attributes.numbers("target_shape", (0,))) != {0}
    ):
        return None
    strides, padding = attributes.numbers("stride", (1, 1)), attributes.numbers("pad", (0, 0))
    extra, groups = attributes.numbers("adj", (0, 0)), attributes.number("num_group", 1)
    return TransposedConvolution(name, "Deconvolution", data, kernel, strides, padding, extra, groups)


def _fully_connected(name: str, attributes: Attributes, data: Shape, weight: Shape) -> Layer | None:
    flat = attributes.flag("flatten", default=True)
    rows = (data[0], prod(data[1:])) if flat else (prod(data[:-1]), data[-1])
    return Dense(name, "FullyConnected", rows, weight)


OPERATORS: Mapping[str, Callable[[str, Attributes, Shape, Shape], Layer | None]] = {
    "Convolution": _convolution,
    "Deconvolution": _deconvolution,
    "FullyConnected": _fully_connected,
}
"""From an operator to the function that reads it: name, attributes, the shapes of its data and its weight.

None says that AutoTVM has no template for this form of it.
"""

UNTUNED = frozenset(
    {
        "RNN",
        "_contrib_DeformableConvolution",
        "_contrib_ModulatedDeformableConvolution",
        "_linalg_gemm",
        "_linalg_gemm2",
        "_sg_mkldnn_conv",
        "_sg_mkldnn_fully_connected",
        "batch_dot",
        "dot",
    }
)
"""Operators that multiply and add in a form for which AutoTVM extracts no task from an MXNet network."""
