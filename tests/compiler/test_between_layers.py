"""Random networks whose convolutions have other operators between them: these work on channels in blocks too."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import examples

if not importlib.util.find_spec("tvm"):
    pytest.skip("TVM is not installed", allow_module_level=True)

import numpy as np
import tvm
from tvm import relax
from tvm.relax import op

from tophub_registry.compiler.compiler import compile_model
from tophub_registry.frontends import read_model
from tophub_registry.tasks.reading import calls_of

Operator = Callable[[relax.BlockBuilder, Any], Any]

CHANNELS = 32


def padded(mode: str) -> Operator:
    return lambda _, x: op.nn.pad(x, [0, 0, 0, 0, 1, 2, 0, 3], mode, 0.0)


def resized(method: str, factor: float, mode: str = "half_pixel") -> Operator:
    def resize(_: relax.BlockBuilder, x: Any) -> Any:
        size = tuple(int(length * factor) for length in map(int, [*x.ty.shape][2:]))
        return op.image.resize2d(x, size, layout="NCHW", method=method, coordinate_transformation_mode=mode)

    return resize


def exponential(builder: relax.BlockBuilder, x: Any) -> Any:
    """Return ELU, as front ends write it."""
    positive = builder.emit(op.greater(x, relax.const(0.0)))
    return op.where(positive, x, builder.emit(op.subtract(builder.emit(op.exp(x)), relax.const(1.0))))


def by_channel(builder: relax.BlockBuilder, x: Any) -> Any:
    limits = relax.const(np.linspace(-1, 1, CHANNELS, dtype="float32").reshape(1, CHANNELS, 1, 1))
    return op.multiply(x, builder.emit(op.astype(builder.emit(op.less_equal(x, limits)), "float32")))


def channels_of(x: Any, begin: int, end: int) -> Any:
    return op.strided_slice(x, [1], [begin], [end])


def images_of(x: Any, begin: int, end: int) -> Any:
    return op.strided_slice(x, [0], [begin], [end])


OPERATORS: dict[str, Operator] = {
    "zeros around": padded("constant"),
    "reflected around": padded("reflect"),
    "repeated around": padded("replicate"),
    "wrapped around": padded("circular"),
    "cut": lambda _, x: op.strided_slice(x, [2, 3], [1, 0], [100, 5]),
    "every other column": lambda _, x: op.strided_slice(x, [3], [0], [100], [2]),
    "half of the channels, twice": lambda b, x: op.concat(
        [b.emit(channels_of(x, 16, 32)), b.emit(channels_of(x, 0, 16))], 1
    ),
    "frames, moved": lambda b, x: op.concat([b.emit(images_of(x, 1, 2)), b.emit(images_of(x, 0, 1))], 0),
    "doubled": resized("nearest_neighbor", 2, "asymmetric"),
    "larger": resized("linear", 1.5),
    "smaller": resized("linear", 0.6),
    "cubic": resized("cubic", 1.3),
    "elu": exponential,
    "only small ones": by_channel,
    "remainder": lambda _, x: op.floor_mod(x, relax.const(0.75)),
}


def module(chosen: list[Operator], *, rng: random.Random) -> tvm.IRModule:
    """Return a network of these operators, a convolution before each and after all."""
    numbers = np.random.default_rng(rng.randrange(1000))

    def convolution(x: Any, channels: int) -> Any:
        kernel = rng.choice([1, 3])
        weight = numbers.standard_normal((CHANNELS, channels, kernel, kernel)) / (channels**0.5 * kernel)
        return op.nn.conv2d(x, relax.const(weight.astype("float32")), padding=kernel // 2)

    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType((2, 8, 13, 12), "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            value, channels = data, 8
            for operator in chosen:
                value = builder.emit(convolution(value, channels))
                value, channels = builder.emit(operator(builder, value)), CHANNELS
            output = builder.emit_output(convolution(value, channels))
        builder.emit_func_output(output)
    return builder.get()


def check(chosen: list[Operator], rng: random.Random) -> None:
    model = read_model(module(chosen, rng=rng))
    compiled = compile_model(model, "llvm", records=[])
    given = model.random_inputs()
    (ours,), (theirs,) = compiled.run(*given), model.reference(*given)
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()
    names = [call.args[0].name_hint for _, call in calls_of(compiled.scheduled.module["main"])]
    changes = [name for name in names if "to_plain" in name or "to_blocks" in name]
    assert len(changes) <= 2, names  # of the input and of the output


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_between_convolutions_changes_no_layout(name: str) -> None:
    check([OPERATORS[name]] * 2, random.Random(name))


def test_random_operators_between_convolutions() -> None:
    rng = random.Random(7)
    for _ in range(examples(12)):
        check(rng.choices([*OPERATORS.values()], k=4), rng)


def test_equal_operators_are_computed_once() -> None:
    numbers = np.random.default_rng(0)

    def branch(builder: relax.BlockBuilder, x: Any) -> Any:
        weight = relax.const(numbers.standard_normal((32, 32, 3, 3)).astype("float32"))
        return builder.emit(op.nn.conv2d(builder.emit(op.nn.relu(x)), weight, padding=1))

    model = read_model(module([lambda b, x: op.add(x, op.add(branch(b, x), branch(b, x)))], rng=random.Random(0)))
    compiled = compile_model(model, "llvm", records=[])
    given = model.random_inputs()
    (ours,), (theirs,) = compiled.run(*given), model.reference(*given)
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()
    names = [call.args[0].name_hint for _, call in calls_of(compiled.scheduled.module["main"])]
    assert sum("relu" in name for name in names) == 1, names
