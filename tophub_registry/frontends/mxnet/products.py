"""Products of tensors that are not layers, norms of vectors, and running sums."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from tvm import relax

from tophub_registry.frontends.mxnet.site import Expression, Site, constant
from tophub_registry.frontends.mxnet.translator import Translator

_op: Any = relax.op


def _dot(site: Site) -> Expression:
    """Multiply along the first tensor's last axis, or its first if transposed, and the other's first or last."""
    factors = []
    for index, name in ((0, "transpose_a"), (1, "transpose_b")):
        tensor, shape = site.tensor(index), site.shape_of(index)
        turned = site.attributes.flag(name, default=False)
        last = (index == 0) != turned  # whether the axis to sum over is the last one
        matrix = (prod(shape[:-1]), shape[-1]) if last else (shape[0], prod(shape[1:]))
        flat = site.emit(_op.reshape(tensor, matrix), f"matrix{index}")
        factors.append(site.emit(_op.permute_dims(flat, [1, 0]), name) if turned else flat)
    return _op.reshape(site.emit(_op.matmul(*factors), "product"), site.shape)


def _gemm2(site: Site) -> Expression:
    """Multiply the matrices in the last two axes."""
    if site.attributes.number("axis", -2) not in (-2, len(site.shape) - 2):
        site.refuse(f"along the axis {site.attributes.number('axis', -2)}")
    rank = len(site.shape)
    order = [*range(rank - 2), rank - 1, rank - 2]
    factors = [
        site.emit(_op.permute_dims(tensor, order), name) if site.attributes.flag(name, default=False) else tensor
        for tensor, name in zip(site.tensors(), ("transpose_a", "transpose_b"), strict=True)
    ]
    alpha = float(site.attributes.text.get("alpha", "1"))
    product = _op.matmul(*factors)
    return product if alpha == 1 else _op.multiply(site.emit(product, "product"), constant(alpha))


def _norm(site: Site) -> Expression:
    """Return the sum of sizes, or the root of the sum of squares."""
    rank, order = len(site.shape_of(0)), site.attributes.number("ord", 2)
    if order not in (1, 2):
        site.refuse(f"of the order {order}")
    axes = sorted(axis % rank for axis in site.attributes.numbers("axis")) or [*range(rank)]
    if order == 1 and len(axes) > 1:
        site.refuse("of matrices")
    terms = site.emit(_op.abs(site.tensor(0)) if order == 1 else _op.square(site.tensor(0)), "terms")
    total = site.emit(_op.sum(terms, axis=axes, keepdims=True), "sum")
    return _op.reshape(total if order == 1 else site.emit(_op.sqrt(total), "root"), site.shape)


def _running_sum(site: Site) -> Expression:
    text = site.attributes.text.get("axis", "None")
    return _op.cumsum(site.tensor(0), axis=None if text == "None" else int(text))


TRANSLATORS: Mapping[str, Translator] = {
    "_linalg_gemm2": _gemm2,
    "_np_cumsum": _running_sum,
    "cumsum": _running_sum,
    "dot": _dot,
    "norm": _norm,
}
