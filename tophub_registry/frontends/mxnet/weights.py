"""The weights of a network: read and checked, or random."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod, sqrt
from typing import Any

import numpy as np

from tophub_registry.errors import InputError
from tophub_registry.frontends.mxnet import libraries
from tophub_registry.frontends.mxnet.checkpoint import Checkpoint
from tophub_registry.frontends.mxnet.graph import Entry, Variable
from tophub_registry.tasks.layers import Shape

Array = np.ndarray[Any, Any]

# From the suffix of a weight's name to the range of its random values. With these gains values neither vanish nor
# explode over a hundred layers, and every term of a batch norm matters.
_RANGES = {
    "gamma": (0.5, 1.2),
    "beta": (-0.2, 0.2),
    "mean": (-0.2, 0.2),
    "var": (0.7, 1.5),
    "bias": (-0.2, 0.2),
    "alpha": (0.1, 0.4),
    "scale": (0.5, 1.5),
}


def weights_of(source: Checkpoint, variables: Iterable[Variable]) -> dict[Entry, Array]:
    """Return the weights in float32.

    Raises
    ------
    InputError
        A weight is missing, has the wrong shape, or is not floating-point.
    """
    if source.weights is None and source.weightless:
        return {variable.entry: _zeros(variable) for variable in variables}
    generator = np.random.default_rng(0)
    return {
        variable.entry: _random(variable, generator) if source.weights is None else _given(variable, source)
        for variable in variables
    }


def _given(variable: Variable, source: Checkpoint) -> Array:
    assert source.weights is not None  # noqa: S101  # the caller has checked
    if variable.name not in source.weights:
        raise InputError(
            f"the weight {variable.name!r} of the layer {variable.user!r} is missing",
            file=source.weights_file,
            remedy="if it is an input, give its shape" if source.file else None,
        )
    array = source.weights[variable.name]
    if array.shape != variable.shape:
        raise InputError(
            f"the weight {variable.name!r} has the shape {_spell(array.shape)}, and the layer {variable.user!r} "
            f"takes {_spell(variable.shape)}",
            file=source.weights_file,
            remedy="the input shape may differ from the one the network was made for",
        )
    if array.dtype.kind != "f":
        raise InputError(f"the weight {variable.name!r} is {array.dtype}, not float32", file=source.weights_file)
    return np.ascontiguousarray(array, dtype="float32")


def _zeros(variable: Variable) -> Array:
    initializer = variable.attributes.get("__init__", "")
    if initializer.startswith("Constant_"):
        return _constant(initializer, variable.shape)
    return np.zeros(variable.shape, "float32")


def _random(variable: Variable, generator: np.random.Generator) -> Array:
    initializer = variable.attributes.get("__init__", "")
    if initializer.startswith("Constant_"):
        return _constant(initializer, variable.shape)
    width = sqrt(3 / max(prod(variable.shape[1:]), 1))  # a variance of 1 / fan-in
    low, high = next((_RANGES[ending] for ending in _RANGES if variable.name.endswith(ending)), (-width, width))
    values: Array = generator.random(variable.shape, dtype="float32")
    values *= np.float32(high - low)
    values += np.float32(low)
    return values


def _constant(initializer: str, shape: Shape) -> Array:
    """Return a gluon constant; its symbol refers to it by the name of an initializer."""
    mx = libraries.mxnet()
    array = mx.nd.zeros(shape)
    mx.init.create(initializer)._init_weight(initializer, array)  # noqa: SLF001  # the public call needs a descriptor
    values: Array = array.asnumpy()
    return values


def _spell(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "()"
