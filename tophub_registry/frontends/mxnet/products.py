"""Products of tensors that are not layers, attention, norms of vectors, and running sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod, sqrt
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


def _gemm(site: Site) -> Expression:
    """Multiply matrices, and add a third one."""
    beta = float(site.attributes.text.get("beta", "1"))
    factors = Site(replace(site.node, inputs=site.node.inputs[:2]), site.values[:2], site.builder)
    product = site.emit(_gemm2(factors), "product")
    return _op.add(product, site.emit(_op.multiply(site.tensor(2), constant(beta)), "summand"))


def _syrk(site: Site) -> Expression:
    """Multiply matrices by themselves transposed, or the other way round."""
    rank, alpha = len(site.shape), float(site.attributes.text.get("alpha", "1"))
    turned = site.emit(_op.permute_dims(site.tensor(0), [*range(rank - 2), rank - 1, rank - 2]), "turned")
    pair = (turned, site.tensor(0)) if site.attributes.flag("transpose", default=False) else (site.tensor(0), turned)
    return _op.multiply(site.emit(_op.matmul(*pair), "product"), constant(alpha))


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


def _attention_scores(site: Site) -> Expression:
    """Return the products of queries and keys, which with the values alternate in `[time, batch, heads * 3 * size]`."""
    queries, keys = (_projection(site, part) for part in range(2))
    size = constant(sqrt(int(queries.ty.shape[-1])))
    scaled = site.emit(_op.divide(queries, size), "scaled")
    return _op.matmul(scaled, site.emit(_op.permute_dims(keys, [0, 2, 1]), "transposed"))


def _attention_values(site: Site) -> Expression:
    """Return the sums of values weighted by `[batch * heads, time, time]`."""
    heads = site.attributes.number("heads", 1)
    time, batch, width = site.shape
    product = site.emit(_op.matmul(site.tensor(1), _projection(site, 2)), "product")
    apart = site.emit(_op.reshape(product, (batch, heads, time, width // heads)), "heads")
    return _op.reshape(site.emit(_op.permute_dims(apart, [2, 0, 1, 3]), "moved"), site.shape)


def _projection(site: Site, part: int) -> Expression:
    """Return the queries, keys or values, `[batch * heads, time, size]`."""
    heads = site.attributes.number("heads", 1)
    time, batch, width = site.shape_of(0)
    size = width // heads // 3
    apart = site.emit(_op.reshape(site.tensor(0), (time, batch, heads, 3, size)), "apart")
    one = site.emit(_op.strided_slice(apart, [3], [part], [part + 1]), "part")
    flat = site.emit(_op.reshape(one, (time, batch * heads, size)), "flat")
    return site.emit(_op.permute_dims(flat, [1, 0, 2]), "projection")


TRANSLATORS: Mapping[str, Translator] = {
    "_contrib_interleaved_matmul_selfatt_qk": _attention_scores,
    "_contrib_interleaved_matmul_selfatt_valatt": _attention_values,
    "_linalg_gemm": _gemm,
    "_linalg_gemm2": _gemm2,
    "_linalg_syrk": _syrk,
    "_np_cumsum": _running_sum,
    "cumsum": _running_sum,
    "dot": _dot,
    "norm": _norm,
}
