"""Transposed convolutions, computed as plain ones."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import pytest

from tests.conftest import examples
from tests.tasks.modules import one_layer

tvm = pytest.importorskip("tvm", reason="needs the extra [compile]")
np = pytest.importorskip("numpy")


transposed = partial(one_layer, "conv2d_transpose")


@pytest.mark.slow
def test_random_transposed_convolutions_compute_the_same() -> None:
    from tophub_registry.frontends import read_model
    from tophub_registry.tasks.interleaved import interleaved

    rng = random.Random(5)
    for _ in range(examples(40)):
        strides = rng.choice([(2, 2), (2, 2), (3, 3), (1, 2), (4, 2)])
        taps = [rng.randint(1, 7) for _ in range(2)]
        size = [rng.randint(4, 9) for _ in range(2)]
        padding = [rng.randint(0, min(2, tap)) for tap in taps * 2]
        extra = [rng.randrange(stride) for stride in strides]
        data, kernel = (rng.choice([1, 2]), rng.choice([16, 17]), *size), (0, rng.choice([1, 5, 16]), *taps)
        kernel = data[1], *kernel[1:]
        window = {"strides": strides, "padding": padding, "output_padding": extra}
        model = read_model(transposed(data, kernel, **window))
        new = interleaved(model.module["main"])
        assert not new.same_as(model.module["main"])
        given = model.random_inputs()
        (before,) = model.reference(*given)
        (after,) = read_model(tvm.IRModule({"main": new})).reference(*given)
        assert after.shape == before.shape
        assert np.abs(after - before).max() <= 1e-4 * max(1, np.abs(before).max()), (data, kernel, window)


@pytest.mark.slow
def test_those_in_groups_too() -> None:
    from tophub_registry.frontends import read_model
    from tophub_registry.tasks.interleaved import interleaved_in_groups

    rng = random.Random(5)
    for strides in [(1, 1), (2, 2), (3, 1), (9, 9)]:
        groups, ins, outs = rng.choice([2, 3, 5]), rng.choice([1, 2, 4]), rng.choice([1, 3])
        taps, size = [rng.randint(1, 12) for _ in range(2)], [rng.randint(2, 6) for _ in range(2)]
        padding = [rng.randint(0, (tap - 1) // 2) for tap in taps * 2]
        window = {"strides": strides, "padding": padding, "groups": groups}
        data, kernel = (rng.choice([1, 2]), groups * ins, *size), (groups * ins, outs, *taps)
        model = read_model(transposed(data, kernel, **window))
        new = interleaved_in_groups(model.module["main"])
        assert not new.same_as(model.module["main"])
        given = model.random_inputs()
        (before,) = model.reference(*given)
        (after,) = read_model(tvm.IRModule({"main": new})).reference(*given)
        assert after.shape == before.shape
        assert np.abs(after - before).max() <= 1e-4 * max(1, np.abs(before).max()), (data, kernel, window)


@pytest.mark.parametrize(
    ("kernel", "window"),
    [
        ((16, 16, 3, 3), {"padding": [1, 1]}),
        ((16, 8, 4, 4), {"strides": 2, "groups": 2}),
        ((16, 16, 3, 3), {"strides": 2, "dilation": 2}),
        ((8, 16, 4, 4), {"strides": 2}),
    ],
)
def test_others_stay_as_they_are(kernel: tuple[int, ...], window: dict[str, Any]) -> None:
    from tophub_registry.tasks.interleaved import interleaved

    main = transposed((1, kernel[0], 6, 6), kernel, **window)["main"]
    assert interleaved(main).same_as(main)


@pytest.mark.slow
def test_a_gpu_computes_them_as_plain_ones_in_float32() -> None:
    from tests.gpu.cuda_on_cpu import run_module
    from tophub_registry.compiler.compiler import compile_model
    from tophub_registry.frontends import read_model

    model = read_model(transposed((1, 32, 8, 6), (32, 16, 4, 4), strides=2, padding=1))
    tasks = {(task.task, task.args[1][1][0]) for task in model.tasks("cuda", own=True).tasks}
    assert {("conv2d_transpose_nchw.cuda", 32), ("conv2d_nchw.cuda", 64)} <= tasks
    compiled = compile_model(model, "cuda -model=h100 -arch=sm_90", records=[])
    (layer,) = compiled.layers
    assert layer.layer.name == "layer"
    given = model.random_inputs()
    (ours,), (theirs,) = run_module(compiled.scheduled.module, given), model.reference(*given)
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()
