"""Small detectors of two stages compile for a processor and for a GPU, and agree with MXNet.

Their blocks are gluoncv's, with few channels and proposals.
"""

from __future__ import annotations

import importlib.util

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

import numpy as np
from tvm import tirx

from tests.compiler.agreement import assert_close
from tests.compiler.writes import writes
from tests.gpu.cuda_on_cpu import run_module
from tophub_registry.compiler.compiler import compile_model
from tophub_registry.frontends import read_model
from tophub_registry.frontends.mxnet import libraries

H100 = "cuda -model=h100 -arch=sm_90"
IMAGE = (1, 3, 64, 96)
LARGE = 4096


@pytest.fixture(scope="module")
def mx():
    libraries.gluoncv()
    return libraries.mxnet()


def mask_rcnn(mx):
    """Return a Mask R-CNN of four proposals for each of two classes; no scores of the chosen boxes are alike."""
    from gluoncv.model_zoo.rcnn.mask_rcnn import MaskRCNN

    nn = mx.gluon.nn
    features, top = nn.HybridSequential(), nn.HybridSequential()
    for channels in (8, 16):
        features.add(nn.Conv2D(channels, 3, strides=4, padding=1, activation="relu"))
    top.add(nn.Conv2D(16, 3, padding=1, activation="relu"))
    network = MaskRCNN(
        features,
        top,
        ["a", "b"],
        mask_channels=8,
        rcnn_max_dets=8,
        rpn_test_pre_nms=60,
        rpn_test_post_nms=12,
        rpn_channel=16,
        rpn_min_size=1,
        nms_topk=10,
        roi_size=(4, 4),
        strides=16,
        scales=(1, 2),
        alloc_size=(8, 8),
        minimal_opset=True,
    )
    mx.random.seed(5)
    network.initialize(mx.init.Normal(0.2))
    return read_model(network, shapes={"data": IMAGE})


def pooling(mx):
    """Return a network that pools regions in four ways."""

    def pool(F, x):
        rows = F.reshape(F.slice_axis(F.reshape(x, (-1,)), axis=0, begin=0, end=100), (20, 5))
        corners = F.abs(F.slice_axis(rows, axis=1, begin=1, end=5)) * 20
        corners = F.broadcast_add(corners, F.reshape(F.arange(0, 4), (1, 4)))
        zero = F.zeros_like(F.slice_axis(rows, axis=1, begin=0, end=1))
        rows, sorted_ = F.concat(zero, corners, dim=1), F.concat(zero, F.sort(corners, axis=1), dim=1)
        return (
            F.contrib.ROIAlign(x, rows, (3, 2), 0.7),
            F.contrib.ROIAlign(x, sorted_, (2, 3), 0.5, aligned=True),
            F.contrib.ROIAlign(x, rows, (2, 2), 0.7, sample_ratio=2),
            F.ROIPooling(x, F.concat(zero, F.round(corners) - 2, dim=1), (2, 3), 0.5),
        )

    return read_model(mx.gluon.nn.HybridLambda(pool), shapes={"data": IMAGE})


@pytest.mark.slow
def test_a_mask_rcnn_computes_what_mxnet_computes(mx):
    model = mask_rcnn(mx)
    compiled = compile_model(model, "llvm", records=[])

    inputs = model.random_inputs()
    ours, theirs = compiled.run(*inputs), model.reference(*inputs)

    assert (theirs[0] >= 0).sum() >= 4
    np.testing.assert_array_equal(ours[0], theirs[0])
    assert_close(ours[1:], theirs[1:])


@pytest.mark.slow
def test_kernels_pool_regions_as_mxnet_does(mx):
    model = pooling(mx)
    inputs = model.random_inputs()
    theirs = model.reference(*inputs)

    assert_close(compile_model(model, "llvm", records=[]).run(*inputs), theirs)
    assert_close(run_module(compile_model(model, H100, records=[]).scheduled.module, inputs), theirs)


@pytest.mark.slow
def test_on_a_gpu_a_mask_rcnn_computes_the_same_and_no_kernel_is_serial(mx):
    model = mask_rcnn(mx)
    module = compile_model(model, H100, records=[]).scheduled.module
    inputs = model.random_inputs()
    ours, theirs = run_module(module, inputs), model.reference(*inputs)

    np.testing.assert_array_equal(ours[0], theirs[0])
    assert_close(ours[1:], theirs[1:])

    kernels = [function for _, function in module.functions_items() if isinstance(function, tirx.PrimFunc)]
    assert all(function.attrs.get("tirx.is_scheduled") for function in kernels)
    for write in writes(module):
        assert write.is_in("blockIdx.x"), write
        assert write.times < LARGE or write.along("threadIdx") > 1, write
