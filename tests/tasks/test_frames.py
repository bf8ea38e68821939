"""Convolutions of volumes, computed as convolutions of their frames."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.tasks.modules import one_layer

tvm = pytest.importorskip("tvm", reason="needs the extra [compile]")
np = pytest.importorskip("numpy")


def assert_computes_the_same(module: Any, *, by_tap: bool = True) -> Any:
    """Compare a module with what it is in frames, and return that function."""
    from tophub_registry.frontends import read_model
    from tophub_registry.tasks.frames import framed

    model = read_model(module)
    new = framed(model.module["main"], by_tap=by_tap)
    assert not new.same_as(model.module["main"])
    given = model.random_inputs()
    (before,) = model.reference(*given)
    (after,) = read_model(tvm.IRModule({"main": new})).reference(*given)
    assert after.shape == before.shape
    assert np.abs(after - before).max() < 1e-5 * np.abs(before).max()
    return new


def operators(function: Any) -> list[str]:
    from tophub_registry.tasks.reading import calls_of

    return [call.op.name.removeprefix("relax.") for _, call in calls_of(function)]


@pytest.mark.slow
@pytest.mark.parametrize("transposed", [False, True])
def test_random_convolutions_compute_the_same_in_frames(transposed: bool) -> None:
    draw = random.Random(0)
    for _ in range(8):
        groups = draw.choice([1, 1, 2, 4])
        filters = groups * draw.choice([1, 3])
        kernel = [draw.randint(1, 3) for _ in range(3)]
        stride = [draw.randint(1, 2) for _ in range(3)]
        window: dict[str, Any] = {
            "strides": stride,
            "padding": [draw.randint(0, k // 2) for k in (*kernel, *kernel)],
            "groups": groups,
        }
        if transposed:
            window["output_padding"] = [draw.randint(0, step - 1) for step in stride]
        else:
            window["dilation"] = [draw.randint(1, 2) for _ in range(3)]
        weight = (4, filters // groups, *kernel) if transposed else (filters, 4 // groups, *kernel)
        data = (draw.choice([1, 2]), 4, draw.randint(5, 8), 7, 8)
        operator = "conv3d_transpose" if transposed else "conv3d"
        new = assert_computes_the_same(one_layer(operator, data, weight, **window))
        assert operator.replace("3", "2") in "".join(operators(new))


def test_values_stay_frames_from_one_convolution_to_the_next() -> None:
    from tvm import relax

    numbers = np.random.default_rng(0)

    def known(*shape: int) -> Any:
        return relax.const(numbers.standard_normal(shape).astype("float32"))

    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType((2, 4, 6, 9, 9), "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            first = builder.emit(relax.op.nn.conv3d(data, known(8, 4, 3, 3, 3), padding=1))
            biased = builder.emit(relax.op.nn.relu(builder.emit(relax.op.add(first, known(1, 8, 1, 1, 1)))))
            pooled = builder.emit(relax.op.nn.max_pool3d(biased, (1, 2, 2), (1, 2, 2), (0, 1, 1)))
            second = builder.emit(relax.op.nn.conv3d(pooled, known(8, 8, 1, 1, 1)))
            joined = builder.emit(relax.op.concat([builder.emit(relax.op.add(second, pooled)), pooled], 1))
            output = builder.emit_output(relax.op.nn.max_pool3d(joined, (2, 2, 2)))
        builder.emit_func_output(output)

    found = operators(assert_computes_the_same(builder.get()))
    assert found.count("permute_dims") == 2  # before the first convolution, and behind the last pooling
    assert [name for name in found if name.startswith("nn.")] == [
        *("nn.conv2d", "nn.relu", "nn.max_pool2d", "nn.conv2d", "nn.max_pool2d")
    ]
    assert found.count("take") == 1  # the second kernel reads each frame where it is


@pytest.mark.slow
def test_random_convolutions_over_time_add_up_what_each_tap_makes_of_a_frame() -> None:
    draw = random.Random(1)
    for _ in range(8):
        taps, filters = draw.randint(2, 4), draw.randint(1, 6)
        window: dict[str, Any] = {
            "padding": [draw.randint(0, 1), 1, 0, draw.randint(0, 1), 1, 0],
            "dilation": [draw.randint(1, 2), 1, 1],
            "strides": [1, draw.randint(1, 2), 1],
        }
        module = one_layer(
            "conv3d", (draw.choice([1, 2]), 6, draw.randint(7, 9), 7, 8), (filters, 6, taps, 3, 1), **window
        )
        apart, together = (operators(assert_computes_the_same(module, by_tap=by_tap)) for by_tap in (True, False))
        assert apart.count("nn.conv2d") == together.count("nn.conv2d") == 1
        assert ("add" in apart, "take" in apart) == (True, False), window
        assert ("add" in together, "take" in together) == (False, True), window


@pytest.mark.slow
def test_random_poolings_over_time() -> None:
    from tvm import relax

    draw, numbers = random.Random(2), np.random.default_rng(0)
    for kind in 6 * ["max"] + 2 * ["avg"]:
        pool = [draw.randint(1, 3) for _ in range(3)]
        window = {
            "pool_size": pool,
            "strides": [draw.randint(1, 2) for _ in range(3)],
            "padding": [draw.randint(0, size // 2) for size in (*pool, *pool)],
            "dilation": [draw.randint(1, 2) for _ in range(3)] if kind == "max" else [1, 1, 1],
            "ceil_mode": draw.choice([True, False]),
        }
        builder = relax.BlockBuilder()
        data = relax.Var("data", relax.TensorType((draw.choice([1, 2]), 3, draw.randint(5, 8), 8, 9), "float32"))
        weight = relax.const(numbers.standard_normal((4, 3, 1, 1, 1)).astype("float32"))
        with builder.function("main", [data]):
            with builder.dataflow():
                layer = builder.emit(relax.op.nn.conv3d(data, weight))
                output = builder.emit_output(getattr(relax.op.nn, f"{kind}_pool3d")(layer, **window))
            builder.emit_func_output(output)
        names = operators(assert_computes_the_same(builder.get()))
        within = pool[0] == window["strides"][0] == 1
        assert (f"nn.{kind}_pool2d" in names) == (kind == "max" or within), window


def test_a_weight_that_is_an_argument_is_rearranged() -> None:
    from tvm import relax

    from tophub_registry.tasks.frames import framed

    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType((1, 4, 6, 9, 9), "float32"))
    weight = relax.Var("weight", relax.TensorType((8, 2, 3, 3, 3), "float32"))
    with builder.function("main", [data, weight]):
        with builder.dataflow():
            output = builder.emit_output(relax.op.nn.conv3d(data, weight, padding=1, groups=2))
        builder.emit_func_output(output)
    found = operators(framed(builder.get()["main"]))
    assert found[-1] == "nn.conv2d" or "nn.conv2d" in found
    assert_computes_the_same(builder.get())


@pytest.mark.parametrize(
    ("kind", "target"), [("llvm", "llvm -mcpu=x86-64-v3"), ("cuda", "cuda -model=h100 -arch=sm_90")]
)
def test_autotvms_task_and_those_of_frames_are_extracted_and_compiled(kind: str, target: str) -> None:
    from tophub_registry.compiler.compiler import compile_model
    from tophub_registry.frontends import read_model

    model = read_model(one_layer("conv3d", (1, 16, 8, 14, 14), (32, 16, 3, 3, 3), padding=1))
    names = [task.task for task in model.tasks(kind).tasks]
    assert {name.split(".")[0] for name in names} <= {"conv3d_ncdhw", "conv3d_ncdhw_winograd"}
    added = [task for task in model.tasks(kind, own=True).tasks if task.task not in names]
    assert {tuple(task.args[0][1]) for task in added} == {(8, 48, 14, 14)}
    (layer,) = compile_model(model, target, records=[]).layers
    assert (layer.layer.name, layer.kernel is not None) == ("layer", True)


def test_frames_are_computed_in_other_precisions_too() -> None:
    from tophub_registry.compiler.compiler import compile_model
    from tophub_registry.frontends import read_model

    model = read_model(one_layer("conv3d", (1, 16, 8, 14, 14), (32, 16, 3, 3, 3), padding=1))
    tasks = [task.task for task in model.tasks("cuda", own=True, precision="tf32").tasks]
    (layer,) = compile_model(model, "cuda -model=h100 -arch=sm_90", records=[], precision="tf32").layers
    assert layer.kernel is not None
    assert "tf32" in layer.kernel.template.task
    assert layer.kernel.template.task in tasks
