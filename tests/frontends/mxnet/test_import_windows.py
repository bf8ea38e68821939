"""Convolution and pooling over one, two and three axes compute in Relax what they do in MXNet, with any attributes."""

from __future__ import annotations

import importlib.util
import random

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

from tests.conftest import examples
from tests.frontends.mxnet.agreement import assert_all_agree
from tophub_registry.frontends.mxnet import libraries

SIZES = {1: (13,), 2: (9, 7), 3: (5, 8, 7)}
LAYOUTS = {1: "NWC", 2: "NHWC", 3: "NDHWC"}


@pytest.fixture(scope="module")
def mx():
    return libraries.mxnet()


def pooling(draw, axes):
    """Return random attributes of a pooling whose windows all begin inside the image or its padding."""
    sizes = SIZES[axes]
    kernel = [draw.randint(1, 3) for _ in sizes]
    attributes = {
        "kernel": kernel,
        "stride": [draw.randint(1, k) for k in kernel],
        "pad": [draw.randint(0, k // 2) for k in kernel],
        "pool_type": draw.choice(["max", "avg", "sum", "lp"]),
        "pooling_convention": draw.choice(["valid", "full"]),
    }
    if attributes["pool_type"] == "lp":
        attributes["p_value"] = draw.choice([1, 2, 3])
    if attributes["pool_type"] == "avg":
        attributes["count_include_pad"] = draw.random() < 0.5
    if draw.random() < 0.2:
        attributes["global_pool"] = True
    return {key: tuple(value) if isinstance(value, list) else value for key, value in attributes.items()}


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_pooling_agrees_with_mxnet(mx, axes):
    draw = random.Random(axes)
    forms = [
        (attributes, (), lambda F, x, _, attributes=attributes: F.Pooling(x, **attributes))
        for attributes in (pooling(draw, axes) for _ in range(examples(60)))
    ]
    assert_all_agree(mx, (2, 3, *SIZES[axes]), forms)


def test_pooling_with_channels_last_agrees_with_mxnet(mx):
    for axes, layout in LAYOUTS.items():
        window = {"kernel": (2,) * axes, "stride": (2,) * axes, "layout": layout}
        forms = [
            ((kind, layout), (), lambda F, x, _, kind=kind, window=window: F.Pooling(x, pool_type=kind, **window))
            for kind in ("max", "avg")
        ]
        assert_all_agree(mx, (2, *SIZES[axes], 3), forms)


def convolution(draw, axes, *, transposed):
    sizes = SIZES[axes]
    groups = draw.choice([1, 1, 2, 4])
    filters = groups * draw.choice([1, 2, 3])
    kernel = [draw.randint(1, 3) for _ in sizes]
    stride = [draw.randint(1, 2) for _ in sizes]
    attributes = {
        "kernel": tuple(kernel),
        "stride": tuple(stride),
        "pad": tuple(draw.randint(0, k // 2) for k in kernel),
        # MXNet has no other transposed convolutions on a processor.
        "dilate": tuple(1 if transposed and axes > 1 else draw.randint(1, 2) for _ in sizes),
        "num_filter": filters,
        "num_group": groups,
        "no_bias": draw.random() < 0.5,
    }
    shape = (4, filters // groups, *kernel) if transposed else (filters, 4 // groups, *kernel)
    if transposed:
        adjusted = [draw.randint(0, step - 1) for step in stride]
        if draw.random() < 0.3:  # MXNet's library refuses shapes that mean another padding than the one given
            attributes["target_shape"] = tuple(
                (size - 1) * step + (k - 1) * dilate + 1 - 2 * pad + (more if pad else 0)
                for size, step, k, dilate, pad, more in zip(
                    sizes, stride, kernel, attributes["dilate"], attributes["pad"], adjusted, strict=True
                )
            )
        else:
            attributes["adj"] = tuple(adjusted)
    return attributes, [shape] if attributes["no_bias"] else [shape, (filters,)]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_convolutions_agree_with_mxnet(mx, axes, transposed):
    draw = random.Random(axes)
    forms = []
    for _ in range(examples(30)):
        attributes, shapes = convolution(draw, axes, transposed=transposed)

        def form(F, x, weights, attributes=attributes):
            return (F.Deconvolution if transposed else F.Convolution)(x, *weights, **attributes)

        forms.append((attributes, shapes, form))
    assert_all_agree(mx, (2, 4, *SIZES[axes]), forms)
