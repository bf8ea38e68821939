"""Dilated convolutions, computed phase by phase."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import pytest

from tests.conftest import examples
from tests.tasks.modules import one_layer

tvm = pytest.importorskip("tvm", reason="needs the extra [compile]")
np = pytest.importorskip("numpy")


convolved = partial(one_layer, "conv2d")


@pytest.mark.slow
def test_random_convolutions_compute_the_same_in_phases() -> None:
    from tophub_registry.frontends import read_model
    from tophub_registry.tasks.phases import undilated

    rng, changed, count = random.Random(3), 0, examples(60)
    for _ in range(count):
        dilation, taps = rng.choice([2, 2, 3, 4]), rng.choice([2, 3, 3, 5])
        padding = [rng.randint(0, 9) for _ in range(4)]
        size = [dilation * (taps - 1) + rng.randint(1, 9) for _ in range(2)]
        channels, filters = rng.choice([64, 66]), rng.choice([64, 70, 8])
        data, kernel = (rng.choice([1, 2]), channels, *size), (filters, channels, taps, taps)
        module = convolved(data, kernel, padding=padding, dilation=dilation)
        model = read_model(module)
        new = undilated(model.module["main"])
        if new.same_as(model.module["main"]):
            continue
        changed += 1
        given = model.random_inputs()
        (before,) = model.reference(*given)
        (after,) = read_model(tvm.IRModule({"main": new})).reference(*given)
        assert after.shape == before.shape
        assert np.abs(after - before).max() < 1e-4 * np.abs(before).max(), (data, kernel, padding, dilation)
    assert changed > 5 * count // 12


@pytest.mark.parametrize(
    "window",
    [
        {"padding": 1},
        {"padding": 2, "dilation": 2, "strides": 2},
        {"padding": [2, 4], "dilation": [2, 4]},
        {"padding": 2, "dilation": 2, "groups": 2},
    ],
)
def test_other_convolutions_stay_as_they_are(window: dict[str, Any]) -> None:
    from tophub_registry.tasks.phases import undilated

    main = convolved((1, 64, 12, 12), (64, 64 // window.get("groups", 1), 3, 3), **window)["main"]
    assert undilated(main).same_as(main)


@pytest.mark.slow
def test_a_gpu_computes_phases_by_winograds_algorithm_in_float32() -> None:
    from tests.gpu.cuda_on_cpu import run_module
    from tophub_registry.compiler.compiler import compile_model
    from tophub_registry.frontends import read_model

    model = read_model(convolved((1, 64, 14, 14), (64, 64, 3, 3), padding=2, dilation=2))
    tasks = {(task.task, task.args[0][1][0]) for task in model.tasks("cuda", own=True).tasks}
    assert {("conv2d_nchw.cuda", 1), ("conv2d_nchw.cuda", 4), ("conv2d_nchw_winograd.cuda", 4)} <= tasks
    compiled = compile_model(model, "cuda -model=h100 -arch=sm_90", records=[])
    (layer,) = compiled.layers
    assert layer.layer.name == "layer"
    assert layer.layer.data == (4, 64, 9, 9)
    given = model.random_inputs()
    (ours,), (theirs,) = run_module(compiled.scheduled.module, given), model.reference(*given)
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()
    precise = compile_model(model, "cuda -model=h100 -arch=sm_90", records=[], precision="tf32")
    assert precise.layers[0].layer.dilation == (2, 2)
