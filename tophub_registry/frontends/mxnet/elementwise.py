"""Elementwise operators: activations, arithmetic and comparisons of tensors and numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tvm import relax

from tophub_registry.frontends.mxnet import functions
from tophub_registry.frontends.mxnet.site import Expression, Site, constant
from tophub_registry.frontends.mxnet.translator import Translator

_op: Any = relax.op

_UNARY: Mapping[str, Callable[[Expression], Expression]] = {
    "abs": _op.abs,
    "arccos": _op.acos,
    "arccosh": _op.acosh,
    "arcsin": _op.asin,
    "arcsinh": _op.asinh,
    "arctan": _op.atan,
    "arctanh": _op.atanh,
    "ceil": _op.ceil,
    "cos": _op.cos,
    "cosh": _op.cosh,
    "erf": _op.erf,
    "exp": _op.exp,
    "fix": _op.trunc,
    "floor": _op.floor,
    "log": _op.log,
    "negative": _op.negative,
    "relu": _op.nn.relu,
    "rsqrt": _op.rsqrt,
    "sigmoid": _op.sigmoid,
    "sign": _op.sign,
    "sin": _op.sin,
    "sinh": _op.sinh,
    "sqrt": _op.sqrt,
    "square": _op.square,
    "tan": _op.tan,
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

_UNCHANGED = (
    *("BlockGrad", "Dropout", "MakeLoss", "_contrib_gradientmultiplier", "_copy", "amp_cast", "identity", "make_loss"),
    *("IdentityAttachKLSparseReg", "LinearRegressionOutput", "MAERegressionOutput", "SVMOutput"),
)
"""Operators that only matter for training."""

# MXNet's names for operators on a tensor and a number; the reversed ones take the number first.
_SCALAR = {"_plus_scalar": "add", "_minus_scalar": "sub"} | {
    f"_{name}_scalar": name for name in ("mul", "div", "maximum", "minimum", "power")
}
_REVERSED = {"_rminus_scalar": "sub", "_rdiv_scalar": "div", "_rpower_scalar": "power"}

_OF_INTEGERS = ("add", "sub", "mul", "div", "maximum", "minimum")

_LOGICAL: Mapping[str, Callable[[Expression, Expression], Expression]] = {
    "logical_and": _op.logical_and,
    "logical_or": _op.logical_or,
    "logical_xor": _op.logical_xor,
}


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
    """Round towards zero where integers are wanted, as MXNet does."""
    wanted = site.attributes.word("dtype", "float32")
    if wanted != site.type or "float" in wanted.replace("float32", ""):
        site.refuse(f"to {wanted}")
    return site.tensor(0) if site.type_of(0) == site.type else _op.astype(site.tensor(0), site.type)


def _where(site: Site) -> Expression:
    """Choose elements, or whole rows if the condition has one axis."""
    condition, then, otherwise = site.values
    mask = _truth(site, condition)
    rank = len(site.shape)
    if len(site.shape_of(0)) < rank:
        mask = site.emit(_op.reshape(mask, (site.shape[0], *(1,) * (rank - 1))), "rows")
    return _op.where(mask, _brief(then), _brief(otherwise))


def _truth(site: Site, condition: Any) -> Expression:
    """Return a mask as booleans; MXNet's comparisons return numbers."""
    if isinstance(condition, np.ndarray):
        return relax.const(condition != 0)
    binding = site.builder.lookup_binding(condition)
    if isinstance(binding, relax.Call) and binding.op.name == "relax.astype" and binding.args[0].ty.dtype == "bool":
        return binding.args[0]
    return site.emit(_op.not_equal(condition, constant(0, condition.ty.dtype)), "truth")


def _brief(value: Any) -> Expression:
    """Return a value, as a single number if it is known and the same everywhere."""
    if not isinstance(value, np.ndarray):
        return value
    same = value.size > 0 and (value == value.flat[0]).all()
    return constant(value.flat[0] if same else value, str(value.dtype))


def _unary(function: Callable[[Expression], Expression]) -> Translator:
    return lambda site: function(site.tensor(0))


def _binary(function: Callable[[Expression, Expression], Expression]) -> Translator:
    return lambda site: function(site.tensor(0), site.tensor(1))


def _with_number(function: Callable[[Expression, Expression], Expression], *, first: bool = False) -> Translator:
    def translate(site: Site) -> Expression:
        number = _number(site)
        return function(number, site.tensor(0)) if first else function(site.tensor(0), number)

    return translate


def _number(site: Site) -> Expression:
    """Return an operator's number in the type of its tensor."""
    value, dtype = float(site.attributes.text.get("scalar", "0")), site.type_of(0)
    if "int" in dtype and not value.is_integer():
        site.refuse(f"of {dtype} and a fraction")
    return constant(value, dtype)


def _remainder(*, number: bool = False, first: bool = False) -> Translator:
    """Translate a remainder of two tensors, or of one and a number, which may come first."""

    def translate(site: Site) -> Expression:
        pair = (site.tensor(0), _number(site) if number else site.tensor(1))
        return functions.remainder(site, *(pair[::-1] if first else pair))

    return translate


def _as_numbers(translator: Translator) -> Translator:
    """Convert booleans to numbers."""
    return lambda site: _op.astype(site.emit(translator(site), "truth"), site.type)


def _logical(function: Callable[[Expression, Expression], Expression], *, number: bool = False) -> Translator:
    """Translate an operator on truth values, which are numbers other than zero."""

    def translate(site: Site) -> Expression:
        other = relax.const(float(site.attributes.text.get("scalar", "0")) != 0) if number else _truth_of(site, 1)
        return function(_truth_of(site, 0), other)

    return _as_numbers(translate)


def _truth_of(site: Site, index: int) -> Expression:
    return _truth(site, site.values[index])


def _not(site: Site) -> Expression:
    return _op.logical_not(_truth_of(site, 0))


TRANSLATORS: Mapping[str, Translator] = {
    "Activation": _activation,
    "LeakyReLU": _leaky_relu,
    "clip": _clip,
    "hard_sigmoid": _hard_sigmoid,
    "where": _where,
    "Cast": _cast,
    "add_n": _sum_of_all,
    **dict.fromkeys(_UNCHANGED, _same),
    "LogisticRegressionOutput": _unary(_op.sigmoid),
    **{name: _unary(function) for name, function in _UNARY.items()},
    **functions.TRANSLATORS,
    **{f"{kind}_{name}": _binary(function) for name, function in _BINARY.items() for kind in ("broadcast", "elemwise")},
    **{f"_{name}": _binary(_BINARY[name]) for name in ("maximum", "minimum", "power")},
    **{scalar: _with_number(_BINARY[name]) for scalar, name in _SCALAR.items()},
    **{scalar: _with_number(_BINARY[name], first=True) for scalar, name in _REVERSED.items()},
    **{f"broadcast_{name}": _as_numbers(_binary(function)) for name, function in _COMPARISONS.items()},
    **{f"_{name}": _as_numbers(_binary(function)) for name, function in _COMPARISONS.items()},
    **{f"_{name}_scalar": _as_numbers(_with_number(function)) for name, function in _COMPARISONS.items()},
    **dict.fromkeys(("broadcast_mod", "_mod"), _remainder()),
    "_mod_scalar": _remainder(number=True),
    "_rmod_scalar": _remainder(number=True, first=True),
    **{f"broadcast_{name}": _logical(function) for name, function in _LOGICAL.items()},
    **{f"_{name}": _logical(function) for name, function in _LOGICAL.items()},
    **{f"_{name}_scalar": _logical(function, number=True) for name, function in _LOGICAL.items()},
    "logical_not": _as_numbers(_not),
}

OF_ANY_TYPE = frozenset(
    (
        *("BlockGrad", "Cast", "_copy", "abs", "add_n", "identity", "make_loss", "negative", "where"),
        *("_mod", "_mod_scalar", "_rmod_scalar", "broadcast_mod"),
        *(f"{kind}_{name}" for name in _OF_INTEGERS for kind in ("broadcast", "elemwise")),
        *("_maximum", "_minimum"),
        *(scalar for names in (_SCALAR, _REVERSED) for scalar, name in names.items() if name in _OF_INTEGERS),
        *(f"{kind}_{name}" for name in _COMPARISONS for kind in ("", "broadcast")),
        *(f"_{name}_scalar" for name in _COMPARISONS),
        *(name for name in TRANSLATORS if "logical_" in name),
    )
)
"""The operators whose translation holds for integers too; quotients round towards zero, as MXNet's do."""
