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
from tests.conftest import examples
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


def numbers() -> np.ndarray:
    """Return numbers of which no two are alike, as sorting needs, then numbers in [0, 1)."""
    generator = np.random.default_rng(0)
    return np.concatenate([generator.permutation(SIZE) / 100 - 3.005, generator.random(SIZE)]).astype("float32")


def drawn_shape(draw: random.Random, least: int = 1, most: int = 4) -> tuple[int, ...]:
    """Return odd sizes, not too many numbers in all."""
    return tuple(draw.choice([1, 2, 3, 5]) for _ in range(draw.randint(least, most)))


def drawn(draw: random.Random, shape: Sequence[int]) -> Form:
    count = int(np.prod(shape))
    begin = draw.randrange(SIZE - count)
    return lambda F, x: F.reshape(F.slice_axis(x, axis=0, begin=begin, end=begin + count), shape)


def places(draw: random.Random, shape: Sequence[int], size: int, *, low: int = 0) -> Form:
    """Return computed indices in `[low, size)`."""
    begin = draw.randrange(SIZE, 2 * SIZE - int(np.prod(shape)))
    whole = lambda F, x: F.slice_axis(x, axis=0, begin=begin, end=begin + int(np.prod(shape)))
    return lambda F, x: F.reshape(F.floor(whole(F, x) * (size - low)) + low, shape)


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
        where = places(
            draw, others, *{"raise": [shape[axis]]}.get(mode, [2 * shape[axis]]), low=0 if mode == "raise" else -2
        )
        return lambda F, x: F.take(data(F, x), where(F, x), axis=axis, mode=mode)
    if kind == "pick":
        rest = list(shape)
        rest[axis] = 1
        keeps, mode = draw.random() < 0.5, draw.choice(["clip", "wrap"])
        where = places(draw, rest, 2 * shape[axis], low=-2)
        squeezed = draw.random() < 0.5
        return lambda F, x: F.pick(
            data(F, x),
            F.squeeze(where(F, x), axis=axis) if squeezed else where(F, x),
            axis=axis,
            keepdims=keeps,
            mode=mode,
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


def arithmetic(draw: random.Random) -> Form:
    """Operators on floats and on integers, which round in other ways."""
    shape = drawn_shape(draw)
    dtype = draw.choice(["float32", "int32", "int64"])
    first, second, number = (
        drawn(draw, shape),
        drawn(draw, [size if draw.random() < 0.7 else 1 for size in shape]),
        draw.choice([2, 3, -2]),
    )
    operator = draw.choice(
        ["mod", "rmod", "mod_number", "div", "mul", "sub", "maximum", "greater", "power", "logical_xor", "where"]
    )
    if dtype == "float32" and operator.endswith("mod_number") and draw.random() < 0.5:
        number = 0.7

    def form(F, x):
        a, b = F.cast(first(F, x) * 3, dtype), F.cast(second(F, x) * 2, dtype)
        if operator == "mod_number":
            return a % number
        if operator == "rmod":
            return number % a
        if operator == "power":
            return F.cast(F.abs(a), "float32") ** (number / 4)
        if operator == "where":
            return F.where(a > number, a, -a) + (a != b if a is b else a / number)
        if operator == "div":
            return F.broadcast_div(a, F.broadcast_add(b * b, F.cast(F.ones((1,)), dtype)))
        return getattr(F, f"broadcast_{operator}")(a, b)

    return form


UNARY = {
    "fix round rint floor ceil trunc sign": lambda v: v * 2,
    "log2 log10 log1p log reciprocal sqrt rsqrt cbrt rcbrt arccosh": lambda v: v.abs() + 1.01,
    "log1p expm1": lambda v: v * 1e-3,
    "expm1 sin cos arctan arcsinh sinh cosh tan degrees radians cbrt softsign smooth_l1 abs square": lambda v: v / 3,
    "arcsin arccos arctanh": lambda v: v / 8,
}


def unary(draw: random.Random) -> Form:
    of, names = drawn(draw, drawn_shape(draw)), draw.choice([*UNARY])
    name = draw.choice(names.split())
    attributes = {"scalar": draw.choice([1.0, 2.5])} if name == "smooth_l1" else {}
    return lambda F, x: getattr(F, name)(UNARY[names](of(F, x)), **attributes)


def normalization(draw: random.Random) -> Form:
    shape = (draw.choice([1, 2]), draw.choice([4, 6]), draw.choice([3, 5]), draw.choice([1, 7]))[: draw.choice([3, 4])]
    of, axis = drawn(draw, shape), draw.randrange(len(shape))
    kind = draw.choice(
        [
            "LRN",
            "InstanceNorm",
            "LayerNorm",
            "GroupNorm",
            "SoftmaxOutput",
            "SoftmaxActivation",
            "softmin",
            "norm",
            "cumsum",
        ]
    )
    if kind == "LRN" and len(shape) == 4:
        width, alpha, beta, knorm = (
            draw.choice([1, 3, 5]),
            draw.choice([1e-4, 0.1]),
            draw.choice([0.75, 0.5]),
            draw.choice([1, 2]),
        )
        return lambda F, x: F.LRN(of(F, x), nsize=width, alpha=alpha, beta=beta, knorm=knorm)
    if kind in {"InstanceNorm", "LayerNorm", "GroupNorm"}:
        axis = axis if kind == "LayerNorm" else 1
        gamma, beta = (drawn(draw, (2 if kind == "GroupNorm" else shape[axis],)) for _ in range(2))
        attributes = {"LayerNorm": {"axis": axis}, "GroupNorm": {"num_groups": 2}}.get(kind, {}) | {
            "eps": draw.choice([1e-5, 0.1])
        }
        return lambda F, x: getattr(F, kind)(of(F, x), gamma(F, x), beta(F, x), **attributes)
    if kind == "SoftmaxOutput":
        attributes = draw.choice([{}, {"multi_output": True}, {"preserve_shape": True}])
        return lambda F, x: F.SoftmaxOutput(of(F, x), **attributes)
    if kind == "SoftmaxActivation":
        mode = draw.choice(["instance", "channel"])
        return lambda F, x: F.SoftmaxActivation(of(F, x), mode=mode)
    if kind == "norm":
        order, keeps = draw.choice([1, 2]), draw.random() < 0.5
        return lambda F, x: F.norm(of(F, x), ord=order, axis=axis, keepdims=keeps)
    if kind == "cumsum":
        along = draw.choice([None, axis])
        return lambda F, x: F.cumsum(of(F, x), axis=along)
    return lambda F, x: F.softmin(of(F, x), axis=axis)


def shapes(draw: random.Random) -> Form:
    shape = tuple(draw.choice([2, 4, 6]) for _ in range(4))
    if np.prod(shape) > SIZE // 2:
        shape = (1, 4, *shape[2:])
    of, axis = drawn(draw, shape), draw.randrange(-4, 4)
    kind = draw.choice(
        [
            "Crop",
            "center",
            "crop to",
            "depth",
            "space",
            "split",
            "like",
            "size",
            "gather",
            "dot",
            "gemm2",
            "nearest",
            "mask",
            "last",
            "reversed",
            "condition",
        ]
    )
    rows, columns = (draw.randint(1, size) for size in shape[2:])
    top, left = draw.randint(0, shape[2] - rows), draw.randint(0, shape[3] - columns)
    like = drawn(draw, (1, 1, rows, columns))
    if kind == "Crop":
        return lambda F, x: F.Crop(of(F, x), like(F, x), offset=(top, left), num_args=2)
    if kind == "center":
        return lambda F, x: F.Crop(of(F, x), like(F, x), center_crop=True, num_args=2)
    if kind == "crop to":
        return lambda F, x: F.Crop(of(F, x), offset=(top, left), h_w=(rows, columns), num_args=1)
    if kind == "depth":
        wide = drawn(draw, (shape[0], 8, 3, 2))
        return lambda F, x: F.depth_to_space(wide(F, x), 2)
    if kind == "space":
        return lambda F, x: F.space_to_depth(of(F, x), 2)
    if kind == "split":
        how = draw.choice([{"indices_or_sections": 2}, {"indices_or_sections": (1,)}])

        def split(F, x):
            parts = F.split_v2(of(F, x), axis=axis, **how)
            return F.concat(parts[1], parts[0], dim=axis)

        return split
    if kind == "like":
        return lambda F, x: F.broadcast_add(F.contrib.arange_like(of(F, x), axis=axis), F.ones((1,)))
    if kind == "size":
        return lambda F, x: F.broadcast_add(
            F.cast(F.shape_array(of(F, x)), "float32"), F.cast(F.size_array(of(F, x)), "float32")
        )
    if kind == "dot":
        left, right = draw.random() < 0.5, draw.random() < 0.5
        a, b = drawn(draw, (5, 3) if left else (3, 5)), drawn(draw, (4, 5) if right else (5, 4))
        return lambda F, x: F.dot(a(F, x), b(F, x), transpose_a=left, transpose_b=right)
    if kind == "gemm2":
        turned, alpha = draw.random() < 0.5, draw.choice([1.0, 0.3])
        other = drawn(draw, (*shape[:2], 3, shape[3]) if turned else (*shape[:2], shape[3], 3))
        return lambda F, x: F.linalg.gemm2(of(F, x), other(F, x), transpose_b=turned, alpha=alpha)
    if kind == "nearest":
        small, mode = drawn(draw, (1, 3, 2, 1)), draw.choice(["concat", "sum"])
        large = drawn(draw, (1, 3, 4, 2))
        return lambda F, x: F.UpSampling(
            large(F, x), small(F, x), scale=2, sample_type="nearest", num_args=2, multi_input_mode=mode
        )
    if kind == "condition":
        return lambda F, x: F.where(
            F.slice_axis(F.reshape(of(F, x), (-1,)), axis=0, begin=0, end=shape[0]), of(F, x), -of(F, x)
        )
    lengths, along = places(draw, (shape[1],), shape[0] + 1, low=1), draw.choice([0, 1])
    if kind == "reversed":
        return lambda F, x: F.SequenceReverse(of(F, x), lengths(F, x), use_sequence_length=True)
    if along == 1:
        lengths = places(draw, (shape[0],), shape[1] + 1, low=1)
    name, value = {"last": ("SequenceLast", {})}.get(kind, ("SequenceMask", {"value": -2}))
    return lambda F, x: getattr(F, name)(of(F, x), lengths(F, x), use_sequence_length=True, axis=along, **value)


@pytest.mark.parametrize(
    "draw", [sorting, indexing, arithmetic, unary, normalization, shapes], ids=lambda draw: draw.__name__
)
def test_random_attributes(mx, draw):
    forms = [draw(random.Random(seed)) for seed in range(examples(60))]

    assert_forms_agree(mx, forms, numbers())
