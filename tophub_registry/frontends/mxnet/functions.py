"""Elementary functions that Relax doesn't have, or rounds in another way, composed of those that it has."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tvm import relax

from tophub_registry.frontends.mxnet.site import Expression, Site, constant
from tophub_registry.frontends.mxnet.translator import Translator

_op: Any = relax.op


def remainder(site: Site, dividend: Expression, divisor: Expression) -> Expression:
    """Return a remainder that has the divisor's sign, as in Python; 0 if the divisor is 0."""
    dtype = dividend.ty.dtype
    zero, one = constant(0, dtype), constant(1, dtype)
    absent = site.emit(_op.equal(divisor, zero), "absent")
    divisor = site.emit(_op.where(absent, one, divisor), "divisor")
    rest = site.emit(_op.mod(dividend, divisor), "rest")
    opposite = site.emit(_op.logical_xor(_op.less(rest, zero), _op.less(divisor, zero)), "opposite")
    moved = site.emit(_op.logical_and(opposite, _op.not_equal(rest, zero)), "moved")
    signed = site.emit(_op.where(moved, _op.add(rest, divisor), rest), "signed")
    return _op.where(absent, zero, signed)


def rounded(site: Site, data: Expression) -> Expression:
    """Round halves away from zero; `relax.round` rounds them to even numbers."""
    whole = site.emit(_op.trunc(data), "whole")
    distant = site.emit(_op.greater_equal(_op.abs(_op.subtract(data, whole)), constant(0.5)), "distant")
    return _op.where(distant, _op.add(whole, _op.sign(data)), whole)


def _rounded_half_down(site: Site) -> Expression:
    data = site.tensor(0)
    low, high = site.emit(_op.floor(data), "low"), site.emit(_op.ceil(data), "high")
    nearer = site.emit(_op.less_equal(_op.subtract(data, low), _op.subtract(high, data)), "nearer")
    return _op.where(nearer, low, high)


def _logarithm(base: float) -> Translator:
    return lambda site: _op.multiply(_op.log(site.tensor(0)), constant(1 / math.log(base)))


def _log1p(site: Site) -> Expression:
    """Return `log(1 + x)`, corrected for what rounding `1 + x` loses (W. Kahan)."""
    data, one = site.tensor(0), constant(1)
    above = site.emit(_op.add(data, one), "above")
    moved = site.emit(_op.subtract(above, one), "moved")
    lost = site.emit(_op.equal(moved, constant(0)), "lost")
    divisor = site.emit(_op.where(lost, one, moved), "divisor")
    exact = site.emit(_op.multiply(_op.log(above), _op.divide(data, divisor)), "exact")
    return _op.where(lost, data, exact)


def _expm1(site: Site) -> Expression:
    """Return `exp(x) - 1`: by `tanh(x / 2)` near zero, where the difference would lose digits."""
    data, one = site.tensor(0), constant(1)
    half = site.emit(_op.tanh(_op.multiply(data, constant(0.5))), "half")
    near = site.emit(_op.less(_op.abs(data), one), "near")
    small = site.emit(_op.divide(_op.add(half, half), _op.subtract(one, half)), "small")
    return _op.where(near, small, _op.subtract(_op.exp(data), one))


def _cube_root(site: Site) -> Expression:
    data = site.tensor(0)
    root = site.emit(_op.power(_op.abs(data), constant(1 / 3)), "root")
    return _op.multiply(_op.sign(data), root)


def _inverse(function: Callable[[Site], Expression]) -> Translator:
    return lambda site: _op.divide(constant(1), site.emit(function(site), "root"))


def _scaled(factor: float) -> Translator:
    return lambda site: _op.multiply(site.tensor(0), constant(factor))


def _softsign(site: Site) -> Expression:
    data = site.tensor(0)
    return _op.divide(data, site.emit(_op.add(_op.abs(data), constant(1)), "magnitude"))


def _smooth_l1(site: Site) -> Expression:
    """Return a parabola for numbers within `1 / scalar**2` of zero, and lines outside."""
    data, square = site.tensor(0), float(site.attributes.text.get("scalar", "1")) ** 2
    size = site.emit(_op.abs(data), "size")
    inside = site.emit(_op.multiply(_op.multiply(data, data), constant(square / 2)), "inside")
    outside = site.emit(_op.subtract(size, constant(0.5 / square)), "outside")
    return _op.where(_op.greater(size, constant(1 / square)), outside, inside)


def _hypotenuse(site: Site) -> Expression:
    return _op.sqrt(_op.add(_op.square(site.tensor(0)), _op.square(_second(site))))


def _second(site: Site) -> Expression:
    return site.tensor(1) if len(site) > 1 else constant(float(site.attributes.text.get("scalar", "0")))


def _polynomial(site: Site) -> Expression:
    a, b, c = (constant(float(site.attributes.text.get(name, "0"))) for name in "abc")
    data = site.tensor(0)
    line = site.emit(_op.add(_op.multiply(data, a), b), "line")
    return _op.add(_op.multiply(line, data), c)


def _by_root_of_last(site: Site) -> Expression:
    return _op.divide(site.tensor(0), constant(math.sqrt(site.shape[-1])))


TRANSLATORS: Mapping[str, Translator] = {
    "_contrib_div_sqrt_dim": _by_root_of_last,
    "_contrib_quadratic": _polynomial,
    "cbrt": _cube_root,
    "degrees": _scaled(180 / math.pi),
    "expm1": _expm1,
    "log10": _logarithm(10),
    "log1p": _log1p,
    "log2": _logarithm(2),
    "radians": _scaled(math.pi / 180),
    "rcbrt": _inverse(_cube_root),
    "reciprocal": _inverse(lambda site: site.tensor(0)),
    "rint": _rounded_half_down,
    "round": lambda site: rounded(site, site.tensor(0)),
    "smooth_l1": _smooth_l1,
    "softsign": _softsign,
    **dict.fromkeys(("_hypot", "_hypot_scalar", "broadcast_hypot"), _hypotenuse),
}
