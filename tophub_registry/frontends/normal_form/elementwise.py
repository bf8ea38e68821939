"""Rules for elementwise operators, which are applied before their arguments' views.

Arithmetic with known numbers is folded into the layer before it, as a factor and a summand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from tvm import relax

from tophub_registry.frontends.normal_form.rewriter import Rewriter, Rule
from tophub_registry.frontends.normal_form.values import (
    Array,
    Known,
    Pending,
    PendingLayer,
    Reshaped,
    Shape,
    Terms,
    Value,
    constant,
    terms_along,
)
from tophub_registry.tasks.reading import is_generated

_UNARY = frozenset(
    f"relax.{name}"
    for name in (
        *("abs", "ceil", "clip", "cos", "erf", "exp", "floor", "log", "negative", "round", "rsqrt", "sigmoid", "sign"),
        *("sin", "sqrt", "square", "tanh", "trunc", "nn.gelu", "nn.gelu_tanh", "nn.leakyrelu", "nn.relu", "nn.relu6"),
        *("nn.selu", "nn.silu", "nn.softplus"),
    )
)
_BINARY = frozenset(
    f"relax.{name}" for name in ("add", "divide", "maximum", "minimum", "multiply", "power", "subtract")
)
_BATCH_NORM = 5  # data, gamma, beta, mean, variance


def unary(rewriter: Rewriter, call: relax.Call, name: str) -> Value | None:
    """Move an elementwise operator before its argument's view."""
    value = rewriter.argument(call.args[0])
    if not isinstance(value, Pending) or str(call.ty.dtype) != value.dtype:
        return None
    settled = rewriter.settled(value)
    moved = relax.Call(call.op, [settled.base, *call.args[1:]], call.attrs, call.ty_args)
    return replace(settled, base=rewriter.emit(moved, name), name=name)


def binary(rewriter: Rewriter, call: relax.Call, name: str) -> Value | None:
    """Turn arithmetic with known numbers into a factor and a summand; move other arithmetic before equal views."""
    first, second = (rewriter.argument(argument) for argument in call.args)
    if isinstance(first, Known) and isinstance(second, Pending):
        return _with_known(rewriter, call, second, first.array, name, known_first=True)
    if isinstance(second, Known) and isinstance(first, Pending):
        return _with_known(rewriter, call, first, second.array, name, known_first=False)
    if not (isinstance(first, Pending) and isinstance(second, Pending)):
        return None
    if first.view is None or first.view != second.view or first.shape != second.shape:
        return _among_rows(rewriter, call, first, second, name)
    values = [rewriter.settled(first), rewriter.settled(second)]
    moved = relax.Call(call.op, [value.base for value in values], call.attrs, call.ty_args)
    return replace(values[0], base=rewriter.emit(moved, name), name=name)


def _among_rows(rewriter: Rewriter, call: relax.Call, first: Pending, second: Pending, name: str) -> Value | None:
    """Move arithmetic with a dense layer before the layer's reshape, so that it can be fused into its kernel."""
    if not first.viewed == second.viewed == tuple(map(int, call.ty.shape)) or str(call.ty.dtype) != first.dtype:
        return None
    for layer in (first, second):
        if isinstance(layer.base, PendingLayer) and isinstance(layer.view, Reshaped):
            settled = rewriter.settled(layer)
            arguments = [
                settled.base if value is layer else rewriter.in_shape(value, layer.shape) for value in (first, second)
            ]
            moved = relax.Call(call.op, arguments, call.attrs, call.ty_args)
            return replace(settled, base=rewriter.emit(moved, name), name=name)
    return None


def _with_known(
    rewriter: Rewriter, call: relax.Call, value: Pending, array: Array, name: str, *, known_first: bool
) -> Value | None:
    if tuple(map(int, call.ty.shape)) != value.viewed or "float" not in value.dtype:
        return None
    found = _terms(call.op.name, array, value.viewed, known_first=known_first)
    whole = None if found is None else value.then(found)
    if whole is None and found is not None:
        settled = rewriter.settled(value)
        whole = settled.then(found)
    if whole is not None:
        return _named(replace(whole, name=name), name)
    numbers = value.broadcast(array)
    if value.view is None or numbers is None:
        return None
    settled = rewriter.settled(value)
    arguments = [settled.base, constant(numbers, value.dtype)]
    moved = relax.Call(call.op, arguments[::-1] if known_first else arguments, call.attrs, call.ty_args)
    return replace(settled, base=rewriter.emit(moved, name), name=name)


def _named(value: Pending, name: str) -> Pending:
    """Name an unnamed layer after what was folded into it."""
    base = value.base
    if isinstance(base, PendingLayer) and is_generated(base.name) and not is_generated(name):
        return replace(value, base=replace(base, name=name))
    return value


def _terms(operator: str, array: Array, shape: Shape, *, known_first: bool) -> Terms | None:
    """Return arithmetic with known numbers as a factor and a summand; None if that is not possible."""
    found = terms_along(array.astype("float64"), shape)
    if found is None:
        return None
    numbers, axis = found
    ones, zeros = np.ones(()), np.zeros(())
    if operator == "relax.add":
        return Terms(ones, numbers, axis)
    if operator == "relax.subtract":
        return Terms(-ones, numbers, axis) if known_first else Terms(ones, -numbers, axis)
    if operator == "relax.multiply":
        return Terms(numbers, zeros, axis)
    if operator == "relax.divide" and not known_first and (numbers != 0).all():
        return Terms(1 / numbers, zeros, axis)
    return None


def batch_norm(rewriter: Rewriter, call: relax.Call, name: str) -> Value | None:
    """Turn an inference batch norm into a factor and a summand."""
    data, *numbers = (rewriter.argument(argument) for argument in call.args[:_BATCH_NORM])
    if not isinstance(data, Pending) or not all(isinstance(each, Known) for each in numbers):
        return None
    if bool(call.attrs.training):
        return None
    gamma, beta, mean, variance = (each.array.astype("float64") for each in numbers)
    ones, zeros = np.ones_like(gamma), np.zeros_like(gamma)
    factor = (gamma if call.attrs.scale else ones) / np.sqrt(variance + float(call.attrs.epsilon))
    terms = Terms(factor, (beta if call.attrs.center else zeros) - mean * factor, int(call.attrs.axis))
    whole = data.then(terms) or rewriter.settled(data).then(terms)
    if whole is None:
        return None
    return [_named(replace(whole, name=name), name), None, None]


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_UNARY, unary),
    **dict.fromkeys(_BINARY, binary),
    "relax.nn.batch_norm": batch_norm,
}
