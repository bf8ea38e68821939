"""Deformable convolutions compute in Relax what they do in MXNet, wherever their offsets point."""

from __future__ import annotations

import ctypes
import importlib.util
import mmap
import random
import re
from multiprocessing import get_context

import numpy as np
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


def between_forbidden_pages(shape):
    """Return an array of random numbers that fills its pages; who reads before or behind it ends by a signal."""
    size = 4 * int(np.prod(shape))
    assert size % mmap.PAGESIZE == 0
    memory = mmap.mmap(-1, size + 2 * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for page in (start, start + mmap.PAGESIZE + size):
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(page), mmap.PAGESIZE, 0) == 0
    array = np.frombuffer(memory, "float32", size // 4, mmap.PAGESIZE).reshape(shape)
    array[:] = np.random.default_rng(0).normal(size=shape)
    return array


def run_between_forbidden_pages(modulated):
    """Run a convolution that pads its data, which are their own pages, and exit with 0."""
    import tvm
    from tvm import relax

    mx = libraries.mxnet()
    kind = getattr(mx.gluon.contrib.cnn, f"{'Modulated' * modulated}DeformableConvolution")
    block, data = kind(8, 3, padding=1, in_channels=4), between_forbidden_pages((1, 4, 16, 16))
    block.initialize()
    compiled = compile_model(read_model(block, shapes={"data": data.shape}), "llvm", records=[])
    (expected,) = compiled.run(data)
    main = relax.VirtualMachine(compiled.executable, tvm.cpu())["main"]
    np.testing.assert_array_equal(main(tvm.runtime.from_dlpack(data)).numpy(), expected)


@pytest.mark.parametrize("modulated", [False, True])
def test_nothing_before_or_behind_the_data_is_read(modulated):
    process = get_context("spawn").Process(target=run_between_forbidden_pages, args=(modulated,))
    process.start()
    process.join()
    assert process.exitcode == 0


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
