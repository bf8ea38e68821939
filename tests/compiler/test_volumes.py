"""Networks of volumes, of rows and of deformed images, compiled for a processor and for a GPU, agree with MXNet."""

from __future__ import annotations

import importlib.util

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

from tests.compiler.agreement import assert_close, noise
from tests.gpu.cuda_on_cpu import run_module
from tophub_registry.compiler.compiler import compile_model
from tophub_registry.frontends import Model, read_model
from tophub_registry.frontends.mxnet import libraries


@pytest.fixture(scope="module")
def mx():
    return libraries.mxnet()


def volumes(mx) -> tuple:
    nn = mx.gluon.nn
    return (1, 3, 6, 14, 14), [
        nn.Conv3D(16, (3, 3, 3), padding=1, strides=(1, 2, 1)),
        nn.BatchNorm(),
        nn.Activation("relu"),
        nn.MaxPool3D((1, 2, 2), (1, 1, 2)),
        nn.Conv3D(16, (3, 1, 1), groups=4, dilation=(2, 1, 1), padding=(2, 0, 0)),
        nn.AvgPool3D((2, 2, 2), ceil_mode=True, padding=(0, 1, 0), count_include_pad=False),
        nn.Conv3DTranspose(6, (3, 2, 2), strides=2, padding=(1, 0, 0), in_channels=16),
        nn.GlobalAvgPool3D(),
        nn.Dense(5),
    ]


def rows(mx) -> tuple:
    nn = mx.gluon.nn
    return (2, 3, 40), [
        nn.Conv1D(16, 5, padding=2, strides=2),
        nn.BatchNorm(),
        nn.Activation("relu"),
        nn.MaxPool1D(3, 2, ceil_mode=True),
        nn.Conv1DTranspose(8, 4, strides=2, padding=1, in_channels=16),
        nn.AvgPool1D(2),
    ]


def deformed(mx) -> tuple:
    nn, cnn = mx.gluon.nn, mx.gluon.contrib.cnn
    return (1, 3, 14, 14), [
        nn.Conv2D(16, 3),
        cnn.DeformableConvolution(16, (3, 3), padding=(1, 1), num_deformable_group=2, in_channels=16),
        nn.Activation("relu"),
        cnn.ModulatedDeformableConvolution(8, (3, 3), strides=(2, 2), dilation=(2, 2), in_channels=16),
    ]


@pytest.fixture(scope="module", params=[volumes, rows, deformed], ids=lambda network: network.__name__)
def model(mx, request) -> Model:
    shape, blocks = request.param(mx)
    network = mx.gluon.nn.HybridSequential()
    network.add(*blocks)
    network.initialize(mx.init.Normal(0.3))
    return read_model(network, shapes={"data": shape})


def test_they_agree_with_mxnet_on_a_processor(model):
    compiled = compile_model(model, "llvm", records=[])
    inputs = noise(model)
    assert_close(compiled.run(*inputs), model.reference(*inputs))


@pytest.mark.slow
def test_they_agree_with_mxnet_on_a_gpu(model):
    compiled = compile_model(model, "cuda -model=h100 -arch=sm_90", records=[])
    assert all(layer.kernel is not None for layer in compiled.layers)
    inputs = noise(model)
    assert_close(run_module(compiled.scheduled.module, inputs), model.reference(*inputs))


@pytest.mark.slow
def test_a_tracker_correlates_the_features_of_two_images():
    model = read_model("siamrpn_alexnet_v2_otb15")
    compiled = compile_model(model, "llvm", records=[])
    assert [*model.inputs] == ["template", "search"]
    assert all(layer.kernel is not None for layer in compiled.layers)
    inputs = noise(model)
    assert_close(compiled.run(*inputs), model.reference(*inputs))
