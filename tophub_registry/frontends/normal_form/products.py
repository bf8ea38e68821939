"""Rules for products of matrices, which become dense layers if one factor is a single matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

from tvm import relax

from tophub_registry.frontends.normal_form.rewriter import Rewriter, Rule
from tophub_registry.frontends.normal_form.values import (
    MATRIX_RANK,
    Known,
    Pending,
    PendingLayer,
    Shape,
    Value,
    constant,
    rows,
    viewed,
)
from tophub_registry.tasks.reading import layer_name


def matmul(rewriter: Rewriter, call: relax.Call, name: str) -> Value | None:
    """Turn a product with a matrix into a dense layer: rows times a weight. Give other factors the same batch."""
    first, second = factors = [rewriter.argument(argument) for argument in call.args]
    matrices = all(isinstance(each, (Known, Pending)) and len(viewed(each)) >= MATRIX_RANK for each in factors)
    if not matrices or {str(each.ty.dtype) for each in call.args} != {str(call.ty.dtype)}:
        return None
    shape = tuple(map(int, call.ty.shape))
    batch, *batches = (each[:-MATRIX_RANK] for each in (shape, viewed(first), viewed(second)))
    alike = {prod(each) for each in batches} == {prod(batch)}
    if alike and (isinstance(second, Pending) or prod(batch) > 1):
        return None
    if prod(batches[1]) == 1:
        return _times_matrix(rewriter, call, first, _flat(rewriter, second), shape, name)
    if prod(batches[0]) == 1:
        return _matrix_times(rewriter, call, _flat(rewriter, first), second, shape, name)
    spread = [relax.op.broadcast_to(rewriter.plain(each), (*batch, *viewed(each)[-MATRIX_RANK:])) for each in factors]
    product = relax.op.matmul(*(rewriter.emit(each, name) for each in spread))
    return Pending(rewriter.emit(product, name), shape, str(call.ty.dtype), name)


def _flat(rewriter: Rewriter, matrix: Known | Pending) -> Known | Pending:
    """Return a batch of one matrix as that matrix."""
    shape = viewed(matrix)[-MATRIX_RANK:]
    if isinstance(matrix, Known):
        return replace(matrix, array=matrix.array.reshape(shape))
    return matrix.reshaped(shape) or rewriter.apart(matrix).reshaped(shape) or matrix


def _turned(rewriter: Rewriter, factor: Known | Pending) -> Known | Pending:
    """Return a factor with its last two axes exchanged."""
    rank = len(viewed(factor))
    order = (*range(rank - MATRIX_RANK), rank - 1, rank - 2)
    if isinstance(factor, Known):
        return replace(factor, array=factor.array.transpose(order))
    return factor.permuted(order) or rewriter.apart(factor).permuted(order) or factor


def _times_matrix(
    rewriter: Rewriter, call: relax.Call, data: Known | Pending, weight: Known | Pending, shape: Shape, name: str
) -> Value | None:
    """Multiply rows by a matrix."""
    dtype = str(call.ty.dtype)
    if isinstance(weight, Known):
        if isinstance(data, Known):
            return None
        matrix = rewriter.in_shape(data, rows(data.viewed))
        layer = PendingLayer(call.op.name, matrix, weight.array, {}, rows(shape), dtype, layer_name(name, weight.name))
        return Pending(layer, layer.shape, dtype, name).reshaped(shape)
    flat = rows(viewed(data))
    matrix = constant(data.array.reshape(flat), dtype) if isinstance(data, Known) else rewriter.in_shape(data, flat)
    variable = rewriter.emit(relax.op.matmul(matrix, rewriter.plain(weight)), name)
    return Pending(variable, rows(shape), dtype, name).reshaped(shape)


def _matrix_times(
    rewriter: Rewriter, call: relax.Call, weight: Known | Pending, data: Known | Pending, shape: Shape, name: str
) -> Value | None:
    """Multiply a matrix by a batch of others: with transposed factors and the roles exchanged, it is a weight."""
    turned = (*shape[:-MATRIX_RANK], shape[-1], shape[-2])
    value = _times_matrix(rewriter, call, _turned(rewriter, data), _turned(rewriter, weight), turned, name)
    return _turned(rewriter, value) if isinstance(value, (Known, Pending)) else None


RULES: Mapping[str, Rule] = {"relax.matmul": matmul}
