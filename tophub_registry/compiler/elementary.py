"""Elementary functions in arithmetic that vectorizes, where LLVM would call the C library for each number.

Polynomials and quotients of polynomials, fitted for the least maximal relative error; float32 alone. Computed in
float32, `exp` is within 2e-7 of the exact value (relative to it), `tanh` and `erf` within 5e-7, `sigmoid` within 3e-7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import tvm
import tvm_ffi
from tvm import tirx

_ERF = (
    (1.12837911, 0.198180225, 0.050344638, 0.0036321929, 0.000140596338, -1.96317979e-06, 2.01479904e-08),
    (1.0, 0.508964397, 0.114280037, 0.0142076826, 0.000940557021),
)
_ERF_END = 3.9
"""From here on `erf` is 1, in float32."""

_TANH = (
    (0.999999993, 0.13084005, 0.00310395057, 1.11542497e-05, -2.02249912e-08, 5.27783728e-11, -8.48842963e-14),
    (1.0, 0.464173321, 0.0244951559, 0.000254613702),
)
_TANH_END = 8.8
"""From here on `tanh` is 1, in float32."""

_TWICE_EXP = (2.0, 2.0, 0.999999868, 0.333330412, 0.083336776, 0.0167374358, 0.00276292198)
"""Of twice `exp`, for numbers up to half of ln 2; the other factor is half a power of two, which float32 has even where
the power is too large."""

_LOG2_E = 1.44269504
_LN2 = (0.693359375, -2.12194440e-4)
"""The first has few digits, so that its products with small integers are exact."""

_EXP_RANGE = (-86.9, 88.72)
"""Where `exp` is computed; below it is 0, and above infinity."""

_BIAS, _MANTISSA = 127, 23


def vectorizable(function: Any) -> Any:
    """Return a `tirx.PrimFunc` that computes the same without calls of the C library for `exp`, `tanh` and the like."""
    return function.with_body(tvm_ffi.structural_map(function.body, [(tvm.ir.Call, _computed)]))


def _computed(call: Any) -> Any:
    compute = _FUNCTIONS.get(getattr(call.op, "name", ""))
    if compute is None or str(call.ty) != "float32":
        return call
    (argument,) = call.args
    return _named("x", argument, compute)


def _exp(x: Any) -> Any:
    def power(steps: Any) -> Any:
        rest = x - steps * _number(_LN2[0]) - steps * _number(_LN2[1])
        exponent = steps.astype("int32") + tirx.const(_BIAS - 1, "int32")
        half = tirx.reinterpret("float32", exponent << tirx.const(_MANTISSA, "int32"))
        return _named("rest", rest, lambda r: _polynomial(_TWICE_EXP, r) * half)

    low, high = map(_number, _EXP_RANGE)
    within = tirx.max(low, tirx.min(high, x))
    steps = tirx.floor(within * _number(_LOG2_E) + _number(0.5))
    inside = _named("steps", steps, power)
    return tirx.Select(x < low, _number(0.0), tirx.Select(x > high, _number(float("inf")), inside))


def _sigmoid(x: Any) -> Any:
    return _number(1.0) / (_number(1.0) + _named("minus", -x, _exp))


def _odd(above: Sequence[float], below: Sequence[float], end: float) -> Callable[[Any], Any]:
    """Return an odd function as `x` times a quotient of polynomials in `x**2`, 1 from `end` on."""

    def compute(x: Any) -> Any:
        def quotient(y: Any) -> Any:
            return _named("square", y * y, lambda t: _bounded(y * _polynomial(above, t) / _polynomial(below, t), 1.0))

        return _named("within", _bounded(x, end), quotient)

    return compute


def _bounded(x: Any, bound: float) -> Any:
    """Return `x` or the nearest number that is at most `bound` away from 0; in this order, NaN stays NaN."""
    return tirx.max(_number(-bound), tirx.min(_number(bound), x))


_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "tirx.exp": _exp,
    "tirx.sigmoid": _sigmoid,
    "tirx.erf": _odd(*_ERF, _ERF_END),
    "tirx.tanh": _odd(*_TANH, _TANH_END),
}


def _polynomial(coefficients: Sequence[float], x: Any) -> Any:
    """Return a polynomial, its constant first, by Horner's rule."""
    *rest, highest = map(_number, coefficients)
    return reduce(lambda total, coefficient: total * x + coefficient, reversed(rest), highest)


def _named(name: str, value: Any, body: Callable[[Any], Any]) -> Any:
    """Return an expression of a value that is computed once."""
    variable = tirx.Var(name, "float32")
    return tirx.Let(variable, value, body(variable))


def _number(value: float) -> Any:
    return tirx.const(value, "float32")
