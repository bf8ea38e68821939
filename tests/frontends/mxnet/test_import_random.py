"""Operators with random attributes and sizes compute in Relax what they do in MXNet."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

import numpy as np

from tests.compiler.agreement import run
from tophub_registry.frontends import read_model
from tophub_registry.frontends.mxnet import libraries

Form = Callable[[Any, Any], Any]
Draw = Callable[[random.Random], Form]

SIZE = 720
"""Numbers in the input, of which each form takes some."""


@pytest.fixture(scope="module")
def mx():
    return libraries.mxnet()


def assert_forms_agree(mx, forms: Sequence[Form], data: np.ndarray, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """Compile all forms of a test as one network."""

    class All(mx.gluon.HybridBlock):
        def hybrid_forward(self, F, x):
            return [form(F, x) for form in forms]

    model = read_model(All(), shapes={"data": data.shape})
    assert not model.untranslated
    for name, ours, theirs in zip(model.outputs, run(model, data), model.reference(data), strict=True):
        assert ours.dtype == theirs.dtype, name
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol, err_msg=name)


def distinct(seed: int) -> np.ndarray:
    """Return numbers of which no two are alike, as sorting needs, the smaller ones first on average."""
    generator = np.random.default_rng(seed)
    return (generator.permutation(SIZE) / 100 - 3).astype("float32")


def drawn_shape(draw: random.Random, least: int = 1, most: int = 4) -> tuple[int, ...]:
    """Return odd sizes, not too many numbers in all."""
    return tuple(draw.choice([1, 2, 3, 5]) for _ in range(draw.randint(least, most)))


def drawn(draw: random.Random, shape: Sequence[int]) -> Form:
    count = int(np.prod(shape))
    begin = draw.randrange(SIZE - count)
    return lambda F, x: F.reshape(F.slice_axis(x, axis=0, begin=begin, end=begin + count), shape)


def places(draw: random.Random, shape: Sequence[int], size: int, *, low: int = 0) -> Form:
    """Return computed indices in `[low, size)`."""
    of = drawn(draw, shape)
    return lambda F, x: F.floor(F.broadcast_mod(F.abs(of(F, x)) * 37, F.ones((1,)) * (size - low))) + low


def sorting(draw: random.Random) -> Form:
    shape = drawn_shape(draw)
    data, axis = drawn(draw, shape), draw.choice([None, *range(-len(shape), len(shape))])
    ascend = draw.random() < 0.5
    dtype = draw.choice(["float32", "int32", "int64"])
    size = int(np.prod(shape)) if axis is None else shape[axis]
    kind = draw.choice(["sort", "argsort", "value", "indices", "both", "mask"])
    if kind == "sort":
        return lambda F, x: F.sort(data(F, x), axis=axis, is_ascend=ascend)
    if kind == "argsort":
        return lambda F, x: F.argsort(data(F, x), axis=axis, is_ascend=ascend, dtype=dtype)
    k = draw.randint(0, size)
    def form(F, x):
        best = F.topk(data(F, x), axis=axis, k=k, ret_typ=kind, is_ascend=ascend, dtype=dtype)
        return best[0] * 2 + F.cast(best[1], "float32") if kind == "both" else best
    return form


def indexing(draw: random.Random) -> Form:
    shape = drawn_shape(draw, 2)
    data = drawn(draw, shape)
    kind = draw.choice(["gather_nd", "take", "pick", "one_hot", "Embedding", "batch_take", "argmax", "argmin"])
    axis = draw.randrange(-len(shape), len(shape))
    others = drawn_shape(draw, 1, 2)
    if kind == "gather_nd":
        rows = [places(draw, (1, *others), size, low=-size) for size in shape[: draw.randint(1, len(shape))]]
        return lambda F, x: F.gather_nd(data(F, x), F.concat(*(row(F, x) for row in rows), dim=0))
    if kind == "take":
        mode = draw.choice(["clip", "wrap", "raise"])
        where = places(draw, others, *{"raise": [shape[axis]]}.get(mode, [2 * shape[axis]]), low=0 if mode == "raise" else -2)
        return lambda F, x: F.take(data(F, x), where(F, x), axis=axis, mode=mode)
    if kind == "pick":
        rest = list(shape)
        rest[axis] = 1
        keeps, mode = draw.random() < 0.5, draw.choice(["clip", "wrap"])
        where = places(draw, rest, 2 * shape[axis], low=-2)
        squeezed = draw.random() < 0.5
        return lambda F, x: F.pick(
            data(F, x), F.squeeze(where(F, x), axis=axis) if squeezed else where(F, x), axis=axis, keepdims=keeps, mode=mode
        )
    if kind == "one_hot":
        where, dtype = places(draw, others, 7, low=-2), draw.choice(["float32", "int32"])
        return lambda F, x: F.one_hot(where(F, x), depth=5, on_value=2, off_value=-1, dtype=dtype)
    if kind == "Embedding":
        where = places(draw, others, shape[0])
        table = drawn(draw, (shape[0], shape[1]))
        return lambda F, x: F.Embedding(where(F, x), table(F, x), input_dim=shape[0], output_dim=shape[1])
    if kind == "batch_take":
        matrix = drawn(draw, shape[:2])
        where = places(draw, shape[:1], shape[1])
        return lambda F, x: F.batch_take(matrix(F, x), F.cast(where(F, x), "int32"))
    function, keeps = kind, draw.random() < 0.5
    return lambda F, x: getattr(F, function)(data(F, x), axis=axis, keepdims=keeps)


@pytest.mark.parametrize("draw", [sorting, indexing], ids=lambda draw: draw.__name__)
def test_random_attributes(mx, draw):
    forms = [draw(random.Random(seed)) for seed in range(40)]

    assert_forms_agree(mx, forms, distinct(0))
