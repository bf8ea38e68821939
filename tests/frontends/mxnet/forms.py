"""Operators of MXNet with attributes and sizes drawn at random.

A form is a function of MXNet's module of operators and of the network's input, a vector of `2 * SIZE` numbers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

Form = Callable[[Any, Any], Any]
Draw = Callable[[random.Random], Form]

SIZE = 720


def numbers() -> np.ndarray:
    """Return the input: numbers of which no two are alike, as sorting needs, then numbers in [0, 1)."""
    generator = np.random.default_rng(0)
    return np.concatenate([generator.permutation(SIZE) / 100 - 3.005, generator.random(SIZE)]).astype("float32")


def drawn_shape(draw: random.Random, least: int = 1, most: int = 4) -> tuple[int, ...]:
    return tuple(draw.choice([1, 2, 3, 5]) for _ in range(draw.randint(least, most)))


def drawn(draw: random.Random, shape: Sequence[int]) -> Form:
    """Return a tensor of different numbers, positive and negative."""
    begin = draw.randrange(SIZE - prod(shape))
    return lambda F, x: F.reshape(F.slice_axis(x, axis=0, begin=begin, end=begin + prod(shape)), shape)


def places(draw: random.Random, shape: Sequence[int], size: int, *, low: int = 0) -> Form:
    """Return indices in `[low, size)`."""
    begin = draw.randrange(SIZE, 2 * SIZE - prod(shape))

    def form(F, x):
        fractions = F.slice_axis(x, axis=0, begin=begin, end=begin + prod(shape))
        return F.reshape(F.floor(fractions * (size - low)) + low, shape)

    return form


def sort_axis(draw: random.Random, shape: Sequence[int]) -> int | None:
    return draw.choice([None, *range(-len(shape), len(shape))])


def sort(draw):
    shape = drawn_shape(draw)
    data, axis, ascend = drawn(draw, shape), sort_axis(draw, shape), draw.random() < 0.5
    return lambda F, x: F.sort(data(F, x), axis=axis, is_ascend=ascend)


def argsort(draw):
    shape = drawn_shape(draw)
    data, axis, ascend = drawn(draw, shape), sort_axis(draw, shape), draw.random() < 0.5
    dtype = draw.choice(["float32", "int32", "int64"])
    return lambda F, x: F.argsort(data(F, x), axis=axis, is_ascend=ascend, dtype=dtype)


def topk(draw):
    shape = drawn_shape(draw)
    data, axis = drawn(draw, shape), sort_axis(draw, shape)
    attributes = {
        "axis": axis,
        "k": draw.randint(0, prod(shape) if axis is None else shape[axis]),
        "is_ascend": draw.random() < 0.5,
        "dtype": draw.choice(["float32", "int32", "int64"]),
    }
    kind = draw.choice(["value", "indices", "both", "mask"])

    def form(F, x):
        best = F.topk(data(F, x), ret_typ=kind, **attributes)
        return best[0] * 2 + F.cast(best[1], "float32") if kind == "both" else best

    return form


def best(draw):
    shape = drawn_shape(draw)
    data, axis, keeps = drawn(draw, shape), draw.randrange(-len(shape), len(shape)), draw.random() < 0.5
    name = draw.choice(["argmax", "argmin"])
    return lambda F, x: getattr(F, name)(data(F, x), axis=axis, keepdims=keeps)


def gather_nd(draw):
    shape, others = drawn_shape(draw, 2), drawn_shape(draw, 1, 2)
    data = drawn(draw, shape)
    rows = [places(draw, (1, *others), size, low=-size) for size in shape[: draw.randint(1, len(shape))]]
    return lambda F, x: F.gather_nd(data(F, x), F.concat(*(row(F, x) for row in rows), dim=0))


def take(draw):
    shape, axis, mode = drawn_shape(draw), 0, draw.choice(["clip", "wrap", "raise"])
    axis = draw.randrange(-len(shape), len(shape))
    low, high = (0, shape[axis]) if mode == "raise" else (-2, 2 * shape[axis])
    data, where = drawn(draw, shape), places(draw, drawn_shape(draw, 1, 2), high, low=low)
    return lambda F, x: F.take(data(F, x), where(F, x), axis=axis, mode=mode)


def pick(draw):
    shape = drawn_shape(draw, 2)
    axis, keeps, mode = draw.randrange(-len(shape), len(shape)), draw.random() < 0.5, draw.choice(["clip", "wrap"])
    rest = [1 if place == axis % len(shape) else size for place, size in enumerate(shape)]
    data, where, squeezed = drawn(draw, shape), places(draw, rest, 2 * shape[axis], low=-2), draw.random() < 0.5

    def form(F, x):
        index = F.squeeze(where(F, x), axis=axis) if squeezed else where(F, x)
        return F.pick(data(F, x), index, axis=axis, keepdims=keeps, mode=mode)

    return form


def one_hot(draw):
    where, dtype = places(draw, drawn_shape(draw, 1, 2), 7, low=-2), draw.choice(["float32", "int32"])
    return lambda F, x: F.one_hot(where(F, x), depth=5, on_value=2, off_value=-1, dtype=dtype)


def embedding(draw):
    rows, columns = draw.randint(1, 9), draw.randint(1, 5)
    where, table = places(draw, drawn_shape(draw, 1, 2), rows), drawn(draw, (rows, columns))
    return lambda F, x: F.Embedding(where(F, x), table(F, x), input_dim=rows, output_dim=columns)


def batch_take(draw):
    shape = (draw.randint(1, 7), draw.randint(1, 5))
    matrix, where = drawn(draw, shape), places(draw, shape[:1], shape[1])
    return lambda F, x: F.batch_take(matrix(F, x), F.cast(where(F, x), "int32"))


def pairs(draw) -> tuple[Form, Form, str]:
    """Return two tensors that broadcast, in one of three types, and the type."""
    shape, dtype = drawn_shape(draw), draw.choice(["float32", "int32", "int64"])
    first, second = drawn(draw, shape), drawn(draw, [size if draw.random() < 0.7 else 1 for size in shape])
    return lambda F, x: F.cast(first(F, x) * 3, dtype), lambda F, x: F.cast(second(F, x) * 2, dtype), dtype


def arithmetic(draw):
    first, second, _ = pairs(draw)
    name = draw.choice(
        ["mod", "mul", "sub", "maximum", "minimum", "greater", "not_equal", "logical_xor", "logical_and"]
    )
    return lambda F, x: getattr(F, f"broadcast_{name}")(first(F, x), second(F, x))


def division(draw):
    first, second, _ = pairs(draw)
    return lambda F, x: F.broadcast_div(first(F, x), second(F, x) * second(F, x) + 1)


def with_number(draw):
    first, _, dtype = pairs(draw)
    number = draw.choice([2, 3, -2] if "int" in dtype else [2, 0.7, -1.3])
    of = {
        "mod": lambda a: a % number,
        "rmod": lambda a: number % a,
        "div": lambda a: a / number,
        "rminus": lambda a: number - a,
        "less": lambda a: a < number,
    }[draw.choice(["mod", "rmod", "div", "rminus", "less"])]
    return lambda F, x: of(first(F, x))


def chosen(draw):
    first, _, _ = pairs(draw)
    return lambda F, x: F.where(first(F, x) > 1, first(F, x), -first(F, x)) + F.logical_not(first(F, x))


UNARY: Sequence[tuple[str, Callable[[Any], Any]]] = (
    ("fix round rint floor ceil trunc sign", lambda v: v * 2),
    ("log2 log10 log1p log reciprocal sqrt rsqrt cbrt rcbrt arccosh", lambda v: v.abs() + 1.01),
    ("log1p expm1", lambda v: v * 1e-3),
    ("expm1 sin cos arctan arcsinh sinh cosh tan degrees radians cbrt softsign abs square", lambda v: v / 3),
    ("arcsin arccos arctanh", lambda v: v / 8),
)


def unary(draw):
    """Return all functions of the same three numbers."""
    of = drawn(draw, (3,))
    return lambda F, x: F.concat(
        *(getattr(F, name)(change(of(F, x))) for names, change in UNARY for name in names.split()), dim=0
    )


def smooth_l1(draw):
    of, scalar = drawn(draw, drawn_shape(draw)), draw.choice([1.0, 2.5])
    return lambda F, x: F.smooth_l1(of(F, x), scalar=scalar)


def image(draw) -> tuple[int, ...]:
    return draw.choice([1, 2]), draw.choice([4, 6]), draw.choice([3, 5]), draw.choice([1, 7])


def local_response(draw):
    of = drawn(draw, image(draw))
    attributes = {
        "nsize": draw.choice([1, 3, 5]),
        "alpha": draw.choice([1e-4, 0.1]),
        "beta": draw.choice([0.75, 0.5]),
        "knorm": draw.choice([1, 2]),
    }
    return lambda F, x: F.LRN(of(F, x), **attributes)


def normalized(draw):
    shape, kind = image(draw)[: draw.choice([3, 4])], draw.choice(["InstanceNorm", "LayerNorm", "GroupNorm"])
    axis = draw.randrange(len(shape)) if kind == "LayerNorm" else 1
    gamma, beta = (drawn(draw, (2 if kind == "GroupNorm" else shape[axis],)) for _ in range(2))
    attributes = {"LayerNorm": {"axis": axis}, "GroupNorm": {"num_groups": 2}}.get(kind, {})
    of, epsilon = drawn(draw, shape), draw.choice([1e-5, 0.1])
    return lambda F, x: getattr(F, kind)(of(F, x), gamma(F, x), beta(F, x), eps=epsilon, **attributes)


def heads(draw):
    of = drawn(draw, image(draw)[: draw.choice([2, 3, 4])])
    name, attributes = draw.choice(
        [
            ("SoftmaxOutput", {}),
            ("SoftmaxOutput", {"multi_output": True}),
            ("SoftmaxOutput", {"preserve_shape": True}),
            ("SoftmaxActivation", {}),
            ("SoftmaxActivation", {"mode": "channel"}),
            ("LinearRegressionOutput", {}),
            ("LogisticRegressionOutput", {}),
            ("MAERegressionOutput", {}),
            ("make_loss", {}),
            ("softmin", {"axis": 1}),
        ]
    )
    return lambda F, x: getattr(F, name)(of(F, x), **attributes)


def sums(draw):
    shape = image(draw)
    of, axis, order, keeps = drawn(draw, shape), draw.randrange(4), draw.choice([1, 2]), draw.random() < 0.5
    if draw.random() < 0.5:
        return lambda F, x: F.cumsum(of(F, x), axis=axis)
    return lambda F, x: F.norm(of(F, x), ord=order, axis=axis, keepdims=keeps)


def crop(draw):
    shape = (1, 2, draw.randint(1, 9), draw.randint(1, 9))
    rows, columns = (draw.randint(1, size) for size in shape[2:])
    offset = draw.randint(0, shape[2] - rows), draw.randint(0, shape[3] - columns)
    of, like = drawn(draw, shape), drawn(draw, (1, 1, rows, columns))
    kind = draw.choice(["at", "center", "to"])
    if kind == "to":
        return lambda F, x: F.Crop(of(F, x), offset=offset, h_w=(rows, columns), num_args=1)
    attributes = {"offset": offset} if kind == "at" else {"center_crop": True}
    return lambda F, x: F.Crop(of(F, x), like(F, x), num_args=2, **attributes)


def blocks(draw):
    size, channels = draw.choice([2, 3]), draw.choice([1, 2])
    deep, wide = drawn(draw, (1, channels * size**2, 3, 2)), drawn(draw, (2, channels, 3 * size, size))
    if draw.random() < 0.5:
        return lambda F, x: F.depth_to_space(deep(F, x), size)
    return lambda F, x: F.space_to_depth(wide(F, x), size)


def split_at(draw):
    shape = tuple(draw.choice([2, 4]) for _ in range(3))
    of, axis, at = drawn(draw, shape), draw.randrange(-3, 3), draw.choice([2, (1,)])

    def form(F, x):
        parts = F.split_v2(of(F, x), axis=axis, indices_or_sections=at)
        return F.concat(parts[1], parts[0], dim=axis)

    return form


def by_shape(draw):
    shape = drawn_shape(draw)
    of, axis = drawn(draw, shape), draw.choice([None, *range(len(shape))])

    def form(F, x):
        sizes = F.broadcast_add(F.shape_array(of(F, x)), F.size_array(of(F, x)))
        return F.concat(F.reshape(F.contrib.arange_like(of(F, x), axis=axis), (-1,)), F.cast(sizes, "float32"), dim=0)

    return form


def product(draw):
    turned, other_turned, alpha = draw.random() < 0.5, draw.random() < 0.5, draw.choice([1.0, 0.3])
    a, b = drawn(draw, (5, 3) if turned else (3, 5)), drawn(draw, (4, 5) if other_turned else (5, 4))
    cube = drawn(draw, (2, 3, 5))
    how = {"transpose_a": turned, "transpose_b": other_turned}

    def form(F, x):
        batched = F.linalg.gemm2(
            F.expand_dims(a(F, x), 0),
            F.expand_dims(b(F, x), 0),
            alpha=alpha,
            transpose_a=turned,
            transpose_b=other_turned,
        )
        whole = F.dot(cube(F, x), b(F, x), transpose_b=other_turned)
        return F.concat(F.dot(a(F, x), b(F, x), **how), F.reshape(batched, (3, 4)), F.reshape(whole, (6, 4)), dim=0)

    return form


def matrices(draw):
    batch = [(), (2,), (2, 3)][draw.randrange(3)]
    turned, other_turned, alpha, beta = draw.random() < 0.5, draw.random() < 0.5, draw.choice([1.0, 0.3]), 0.5
    a, b = (
        drawn(draw, (*batch, *((5, 3) if turned else (3, 5)))),
        drawn(draw, (*batch, *((4, 5) if other_turned else (5, 4)))),
    )
    c, how = drawn(draw, (*batch, 3, 4)), {"transpose_a": turned, "transpose_b": other_turned}
    if draw.random() < 0.5:
        return lambda F, x: F.linalg.syrk(a(F, x), transpose=turned, alpha=alpha)
    return lambda F, x: F.linalg.gemm(a(F, x), b(F, x), c(F, x), alpha=alpha, beta=beta, **how)


def moments(draw):
    shape = drawn_shape(draw)
    of, axes = drawn(draw, shape), tuple(draw.sample(range(-len(shape), 0), draw.randint(1, len(shape))))
    keeps = draw.random() < 0.5

    def form(F, x):
        mean, variance = F.moments(of(F, x), axes=axes, keepdims=keeps)
        return mean * 2 + variance

    return form


def first_softmax(draw):
    shape = drawn_shape(draw, 2, 3)
    axis, temperature = len(shape) - 1, draw.choice([None, 2.0])  # MXNet fails along other axes
    of, lengths = drawn(draw, shape), places(draw, shape[:-1], shape[-1] + 1, low=1)

    def form(F, x):
        numbers = F.cast(lengths(F, x), "int32")
        return F.softmax(of(F, x), numbers, axis=axis, use_length=True, temperature=temperature)

    return form


def overlaps(draw):
    first, second = drawn(draw, (*drawn_shape(draw, 1, 2), 4)), drawn(draw, (*drawn_shape(draw, 1, 2), 4))
    kind = draw.choice(["corner", "center"])

    def boxes(F, numbers):
        low = F.slice_axis(numbers, axis=-1, begin=0, end=2)
        return F.concat(low, F.slice_axis(numbers, axis=-1, begin=2, end=4) + (low if kind == "corner" else 0), dim=-1)

    return lambda F, x: F.contrib.box_iou(boxes(F, first(F, x)), boxes(F, F.abs(second(F, x))), format=kind)


def upsampling(draw):
    scale, mode = draw.choice([2, 3, 4]), draw.choice(["concat", "sum"])
    small, large = drawn(draw, (1, 3, 2, 1)), drawn(draw, (1, 3, 4, 2))

    def form(F, x):
        images = large(F, x), small(F, x)
        return F.UpSampling(*images, scale=scale, sample_type="nearest", num_args=2, multi_input_mode=mode)

    return form


def sequence(draw):
    shape, axis = drawn_shape(draw, 3, 4), draw.choice([0, 1])
    name, attributes = draw.choice(
        [("SequenceMask", {"value": -2, "axis": axis}), ("SequenceLast", {"axis": axis}), ("SequenceReverse", {})]
    )
    axis = attributes.get("axis", 0)
    of, lengths = drawn(draw, shape), places(draw, (shape[1 - axis],), shape[axis] + 1, low=1)
    if draw.random() < 0.2:
        return lambda F, x: getattr(F, name)(of(F, x), **attributes)
    return lambda F, x: getattr(F, name)(of(F, x), lengths(F, x), use_sequence_length=True, **attributes)


def rows(draw):
    shape = drawn_shape(draw, 2)
    of, mask = drawn(draw, shape), places(draw, shape[:1], 2)
    return lambda F, x: F.where(mask(F, x), of(F, x), -of(F, x))


def transformer(draw):
    height, width = draw.randint(2, 5), draw.randint(2, 5)
    shape = (draw.choice([1, 2]), 3, height, width)
    of, maps, flow = drawn(draw, shape), drawn(draw, (shape[0], 6)), drawn(draw, (shape[0], 2, height, width))
    size, kind = (draw.randint(2, 5), draw.randint(2, 5)), draw.choice(["warp", "affine", "both"])

    def form(F, x):
        if kind == "both":
            return F.SpatialTransformer(of(F, x), maps(F, x) / 4, size, "affine", "bilinear")
        if kind == "affine":
            return F.BilinearSampler(of(F, x), F.GridGenerator(maps(F, x) / 3, "affine", size))
        return F.BilinearSampler(of(F, x), F.GridGenerator(flow(F, x), "warp"))

    return form


def preprocessing(draw):
    batch = [(), (2,)][draw.randrange(2)]
    height, width = draw.randint(1, 5), draw.randint(1, 5)
    of, rows, columns = drawn(draw, (*batch, height, width, 3)), draw.randint(1, height), draw.randint(1, width)
    y, x0 = draw.randint(0, height - rows), draw.randint(0, width - columns)
    mean, deviation = draw.choice([((0.4, 0.5, 0.6), (0.2, 0.3, 0.1)), (0.5, 0.25), ((0.1,), (2.0,))])

    def form(F, x):
        part = F.image.crop(of(F, x), x=x0, y=y, width=columns, height=rows)
        return F.image.normalize(F.image.to_tensor(part), mean=mean, std=deviation)

    return form


def attention(draw):
    time, batch, heads, size = (draw.randint(1, 3) for _ in range(4))
    projections = drawn(draw, (time, batch, heads * 3 * size))

    def form(F, x):
        scores = F.contrib.interleaved_matmul_selfatt_qk(projections(F, x), heads=heads)
        weights = F.softmax(scores, axis=-1)
        return F.contrib.interleaved_matmul_selfatt_valatt(projections(F, x), weights, heads=heads)

    return form


FAMILIES: Mapping[str, Sequence[Draw]] = {
    "sorting": (sort, argsort, topk, best),
    "indexing": (gather_nd, take, pick, one_hot, embedding, batch_take),
    "arithmetic": (arithmetic, division, with_number, chosen),
    "functions": (unary, smooth_l1),
    "normalization": (local_response, normalized, heads, sums, moments, first_softmax),
    "shapes": (
        crop,
        blocks,
        split_at,
        by_shape,
        product,
        matrices,
        overlaps,
        upsampling,
        sequence,
        rows,
        transformer,
        attention,
        preprocessing,
    ),
}


def forms_of(family: str, count: int) -> list[Form]:
    """Return so many forms of each operator of a family, the same ones every time."""
    return [draw(random.Random(f"{draw.__name__} {seed}")) for draw in FAMILIES[family] for seed in range(count)]
