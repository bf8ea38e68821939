"""Deformable convolutions compute in Relax what they do in MXNet, wherever their offsets point."""

from __future__ import annotations

import importlib.util
import random
import re

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

from tests.conftest import examples
from tests.frontends.mxnet.agreement import assert_all_agree
from tophub_registry.compiler.compiler import compile_model
from tophub_registry.frontends import read_model
from tophub_registry.frontends.mxnet import libraries
from tophub_registry.tasks.layers import Convolution

CHANNELS, SIZE = 4, (9, 7)
FAR = 4  # the offsets reach beyond the image


@pytest.fixture(scope="module")
def mx():
    return libraries.mxnet()


def deformable(draw):
    """Return random attributes, and the shapes of the offsets, of the mask and of the weights."""
    groups, deformed = draw.choice([1, 2]), draw.choice([1, 2, 4])
    filters = groups * deformed * draw.choice([1, 3])
    kernel, pad = [draw.randint(1, 3) for _ in SIZE], [draw.randint(0, 2) for _ in SIZE]
    stride, dilate = [draw.randint(1, 2) for _ in SIZE], [draw.randint(1, 2) for _ in SIZE]
    outs = [
        (size + 2 * before - (k - 1) * gap - 1) // step + 1
        for size, before, k, gap, step in zip(SIZE, pad, kernel, dilate, stride, strict=True)
    ]
    attributes = {
        "kernel": tuple(kernel),
        "stride": tuple(stride),
        "pad": tuple(pad),
        "dilate": tuple(dilate),
        "num_filter": filters,
        "num_group": groups,
        "num_deformable_group": deformed,
        "no_bias": draw.random() < 0.5,
    }
    samples = deformed * kernel[0] * kernel[1]
    weights = [(filters, CHANNELS // groups, *kernel), *([] if attributes["no_bias"] else [(filters,)])]
    return attributes, (2, 2 * samples, *outs), (2, samples, *outs), weights


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DeformableConvolution", "ModulatedDeformableConvolution"])
def test_deformable_convolutions_agree_with_mxnet(mx, name):
    draw, forms = random.Random(0), []
    for _ in range(examples(40)):
        attributes, offsets, mask, weights = deformable(draw)
        shapes = [offsets, *([mask] if name.startswith("Modulated") else []), *weights]

        def form(F, x, given, attributes=attributes):
            return getattr(F.contrib, name)(x, FAR * given[0], *given[1:], **attributes)

        forms.append((attributes, shapes, form))
    assert_all_agree(mx, (2, CHANNELS, *SIZE), forms)


def test_the_samples_are_computed_in_parallel_and_the_rest_is_a_layer(mx):
    block = mx.gluon.contrib.cnn.ModulatedDeformableConvolution(16, 3, padding=1, in_channels=8)
    block.initialize()
    model = read_model(block, shapes={"data": (1, 8, 12, 12)})
    layers = [layer for layer in model.layers if isinstance(layer, Convolution)]
    assert [layer.kernel for layer in layers] == [(27, 8, 3, 3), (16, 72, 1, 1)]
    scheduled = compile_model(model, "cuda -model=h100 -arch=sm_90", records=[]).scheduled.module
    (code,) = (function.script() for name, function in scheduled.functions_items() if name.name_hint == "sampled")
    threads = dict(re.findall(r'thread_binding\((\d+), thread="(\w+)Idx\.x"', code)[::-1])
    assert int(threads and max(threads, key=int)) >= 64
