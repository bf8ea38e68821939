"""Elementwise operators: activations, arithmetic and comparisons of tensors and numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tvm import relax

from tophub_registry.frontends.mxnet.site import Expression, Site, constant
from tophub_registry.frontends.mxnet.translator import Translator

_op: Any = relax.op

_UNARY: Mapping[str, Callable[[Expression], Expression]] = {
    "abs": _op.abs,
    "ceil": _op.ceil,
    "cos": _op.cos,
    "erf": _op.erf,
    "exp": _op.exp,
    "floor": _op.floor,
    "log": _op.log,
    "negative": _op.negative,
    "relu": _op.nn.relu,
    "rsqrt": _op.rsqrt,
    "sigmoid": _op.sigmoid,
    "sign": _op.sign,
    "sin": _op.sin,
    "sqrt": _op.sqrt,
    "square": _op.square,
    "tanh": _op.tanh,
    "trunc": _op.trunc,
}

_BINARY: Mapping[str, Callable[[Expression, Expression], Expression]] = {
    "add": _op.add,
    "sub": _op.subtract,
    "mul": _op.multiply,
    "div": _op.divide,
    "maximum": _op.maximum,
    "minimum": _op.minimum,
    "power": _op.power,
}

_COMPARISONS: Mapping[str, Callable[[Expression, Expression], Expression]] = {
    "equal": _op.equal,
    "not_equal": _op.not_equal,
    "greater": _op.greater,
    "greater_equal": _op.greater_equal,
    "lesser": _op.less,
    "lesser_equal": _op.less_equal,
}

# MXNet's names for operators on a tensor and a number; the reversed ones take the number first.
_SCALAR = {"_plus_scalar": "add", "_minus_scalar": "sub"} | {
    f"_{name}_scalar": name for name in ("mul", "div", "maximum", "minimum", "power")
}
_REVERSED = {"_rminus_scalar": "sub", "_rdiv_scalar": "div", "_rpower_scalar": "power"}


def _activation(site: Site) -> Expression:
    kind = site.attributes.word("act_type", "relu")
    data = site.tensor(0)
    if kind == "softrelu":
        return _op.nn.softplus(data)
    if kind == "softsign":
        magnitude = site.emit(_op.add(site.emit(_op.abs(data), "abs"), constant(1)), "magnitude")
        return _op.divide(data, magnitude)
    if kind not in _UNARY:
        site.refuse(f"of the kind {kind}")
    return _UNARY[kind](data)


def _leaky_relu(site: Site) -> Expression:
    kind = site.attributes.word("act_type", "leaky")
    slope = float(site.attributes.text.get("slope", "0.25"))
    data = site.tensor(0)
    if kind == "leaky":
        return _op.nn.leakyrelu(data, slope)
    if kind == "prelu":
        channels = site.shape_of(0)[1]
        return _op.nn.prelu(data, constant(np.broadcast_to(site.array(1).reshape(-1), (channels,))), axis=1)
    if kind == "elu":
        below = site.emit(_op.subtract(site.emit(_op.exp(data), "exp"), constant(1)), "below")
        return _op.where(_op.greater(data, constant(0)), data, _op.multiply(constant(slope), below))
    if kind == "gelu":
        return _op.nn.gelu(data)
    return site.refuse(f"of the kind {kind}")


def _hard_sigmoid(site: Site) -> Expression:
    alpha, beta = (
        float(site.attributes.text.get(name, default)) for name, default in (("alpha", "0.2"), ("beta", "0.5"))
    )
    line = site.emit(_op.add(_op.multiply(site.tensor(0), constant(alpha)), constant(beta)), "line")
    return _op.clip(line, 0, 1)


def _clip(site: Site) -> Expression:
    low, high = (float(site.attributes.text[name]) for name in ("a_min", "a_max"))
    return _op.clip(site.tensor(0), low, high)


def _same(site: Site) -> Expression:
    return site.tensor(0)


def _sum_of_all(site: Site) -> Expression:
    first, *others = site.tensors()
    for other in others:
        first = site.emit(_op.add(first, other), "sum")
    return first


def _cast(site: Site) -> Expression:
    kind = site.attributes.word("dtype", "float32")
    return site.tensor(0) if kind == "float32" else site.refuse(f"to {kind}")


def _where(site: Site) -> Expression:
    condition, then, otherwise = site.values
    return _op.where(_truth(site, condition), _brief(then), _brief(otherwise))


def _truth(site: Site, condition: Any) -> Expression:
    """Return a mask as booleans; MXNet's comparisons return numbers."""
    if isinstance(condition, np.ndarray):
        return relax.const(condition != 0)
    binding = site.builder.lookup_binding(condition)
    if isinstance(binding, relax.Call) and binding.op.name == "relax.astype":
        return binding.args[0]
    return site.emit(_op.not_equal(condition, constant(0)), "truth")


def _brief(value: Any) -> Expression:
    """Return a value, as a single number if it is known and the same everywhere."""
    if not isinstance(value, np.ndarray):
        return value
    same = value.size > 0 and (value == value.flat[0]).all()
    return constant(value.flat[0]) if same else constant(value)


def _unary(function: Callable[[Expression], Expression]) -> Translator:
    return lambda site: function(site.tensor(0))


def _binary(function: Callable[[Expression, Expression], Expression]) -> Translator:
    return lambda site: function(site.tensor(0), site.tensor(1))


def _with_number(function: Callable[[Expression, Expression], Expression], *, first: bool = False) -> Translator:
    def translate(site: Site) -> Expression:
        number = constant(float(site.attributes.text.get("scalar", "0")))
        return function(number, site.tensor(0)) if first else function(site.tensor(0), number)

    return translate


def _as_numbers(translator: Translator) -> Translator:
    """Convert booleans to numbers."""
    return lambda site: _op.astype(site.emit(translator(site), "truth"), "float32")


TRANSLATORS: Mapping[str, Translator] = {
    "Activation": _activation,
    "LeakyReLU": _leaky_relu,
    "clip": _clip,
    "hard_sigmoid": _hard_sigmoid,
    "where": _where,
    "Cast": _cast,
    "add_n": _sum_of_all,
    **dict.fromkeys(("Dropout", "_copy", "identity", "BlockGrad", "amp_cast", "MakeLoss"), _same),
    **{name: _unary(function) for name, function in _UNARY.items()},
    **{f"{kind}_{name}": _binary(function) for name, function in _BINARY.items() for kind in ("broadcast", "elemwise")},
    **{f"_{name}": _binary(_BINARY[name]) for name in ("maximum", "minimum", "power")},
    **{scalar: _with_number(_BINARY[name]) for scalar, name in _SCALAR.items()},
    **{scalar: _with_number(_BINARY[name], first=True) for scalar, name in _REVERSED.items()},
    **{f"broadcast_{name}": _as_numbers(_binary(function)) for name, function in _COMPARISONS.items()},
    **{f"_{name}": _as_numbers(_binary(function)) for name, function in _COMPARISONS.items()},
    **{f"_{name}_scalar": _as_numbers(_with_number(function)) for name, function in _COMPARISONS.items()},
}
