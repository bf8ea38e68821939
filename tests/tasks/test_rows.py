"""Transposed convolutions of rows, computed as those of images of height 1."""

from __future__ import annotations

import random

import pytest

from tests.tasks.modules import one_layer

tvm = pytest.importorskip("tvm", reason="needs the extra [compile]")
np = pytest.importorskip("numpy")


def test_random_transposed_convolutions_compute_the_same_as_images() -> None:
    from tophub_registry.frontends import read_model
    from tophub_registry.tasks.reading import calls_of
    from tophub_registry.tasks.rows import heightened

    draw = random.Random(0)
    for _ in range(8):
        groups, taps, stride = draw.choice([1, 2]), draw.randint(1, 4), draw.randint(1, 3)
        window = {
            "strides": stride,
            "padding": [draw.randint(0, taps // 2) for _ in range(2)],
            "output_padding": draw.randint(0, stride - 1),
            "groups": groups,
        }
        model = read_model(one_layer("conv1d_transpose", (2, 4, 9), (4, 3, taps), **window))
        new = heightened(model.module["main"])
        assert [call.op.name for _, call in calls_of(new)].count("relax.nn.conv2d_transpose") == 1
        given = model.random_inputs()
        (before,) = model.reference(*given)
        (after,) = read_model(tvm.IRModule({"main": new})).reference(*given)
        assert after.shape == before.shape
        assert np.abs(after - before).max() < 1e-5 * np.abs(before).max(), window


def test_other_layers_stay_as_they_are() -> None:
    from tophub_registry.tasks.rows import heightened

    main = one_layer("conv2d_transpose", (1, 4, 9, 9), (4, 3, 2, 2))["main"]
    assert heightened(main).same_as(main)
