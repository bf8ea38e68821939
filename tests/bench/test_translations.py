"""ONNX Runtime and PyTorch compute what Relax and MXNet do, operator by operator and as a network."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

from tests.compiler.agreement import noise
from tophub_registry.bench.agreement import difference
from tophub_registry.bench.relax_network import network_of
from tophub_registry.frontends import read_model
from tophub_registry.frontends.mxnet import libraries


def check(model, framework, folder):
    inputs = noise(model)
    outputs = framework(network_of(model.module), inputs, folder)
    assert difference(outputs, model.reference(*inputs)) < 1e-3


def block(*layers):
    """Return layers one after the other, with random weights."""
    mx = libraries.mxnet()
    mx.random.seed(0)
    whole = mx.gluon.nn.HybridSequential()
    whole.add(*layers)
    whole.initialize(mx.init.Normal(0.5))
    return whole


def image():
    return {"data": (1, 4, 9, 9)}


def blocks():
    mx = libraries.mxnet()
    nn, F = mx.gluon.nn, mx.sym

    def function(calls):
        return nn.HybridLambda(lambda _, data: calls(F if isinstance(data, mx.sym.Symbol) else mx.nd, data))

    return {
        "dilated and grouped": [nn.Conv2D(8, 3, 2, 1, 2, groups=2, activation="relu")],
        "transposed": [nn.Conv2DTranspose(6, 3, 2, 1, 1)],
        "max, rounded up": [nn.MaxPool2D(3, 2, 1, ceil_mode=True)],
        "max, the last padding unread": [nn.MaxPool2D(2, 2, 1)],
        "average, the last padding unread": [nn.AvgPool2D(4, 3, 1, count_include_pad=False)],
        "average without the padding": [nn.AvgPool2D(3, 2, 1, count_include_pad=False)],
        "average": [nn.AvgPool2D(3, 2, 1)],
        "activations": [nn.PReLU(), nn.LeakyReLU(0.1), nn.Swish(), nn.Activation("softrelu")],
        "exponential": [nn.ELU(0.5)],
        "padded": [
            function(lambda F, x: F.pad(x, mode="constant", pad_width=(0, 0, 0, 0, 1, 2, 3, 0), constant_value=2))
        ],
        "reflected": [function(lambda F, x: F.pad(x, mode="reflect", pad_width=(0, 0, 0, 0, 1, 2, 3, 1)))],
        "cut": [function(lambda F, x: F.slice(x, begin=(0, 1, 1, 0), end=(1, 4, 8, 9), step=(1, 1, 2, 3)))],
        "joined": [function(lambda F, x: F.concat(x, F.softmax(x, axis=1), F.clip(x, -0.5, 0.5), dim=1))],
        "stacked": [function(lambda F, x: F.stack(x, F.tanh(x), axis=1))],
        "reduced": [function(lambda F, x: F.broadcast_sub(x, F.sum(x, axis=(1, 2), keepdims=True)))],
        "normalized": [function(lambda F, x: F.L2Normalization(x, mode="channel")), nn.Flatten(), nn.Dense(5)],
        "chosen": [function(lambda F, x: F.where(x > 0.1, x, F.exp(x)))],
        "transposed axes": [function(lambda F, x: F.transpose(x, (0, 2, 3, 1)))],
    }


@pytest.mark.parametrize("name", blocks())
def test_an_operator_computes_the_same(name, framework, tmp_path):
    check(read_model(block(*blocks()[name]), shapes=image()), framework, tmp_path)


def rows_and_volumes():
    """Return networks over one and three axes: the input's shape, and the layers."""
    nn = libraries.mxnet().gluon.nn
    return {
        "rows": (
            (2, 4, 25),
            [
                nn.Conv1D(8, 3, 2, 2, 2, groups=2, activation="relu"),
                nn.MaxPool1D(3, 2, ceil_mode=True),
                nn.Conv1DTranspose(6, 3, 2, 1, 1, in_channels=8),
                nn.AvgPool1D(3, 2, 1, count_include_pad=False),
            ],
        ),
        "volumes": (
            (1, 4, 6, 11, 9),
            [
                nn.Conv3D(8, (3, 3, 1), (1, 2, 1), (1, 0, 0), (1, 1, 2), groups=2, activation="relu"),
                nn.MaxPool3D((1, 2, 2), (1, 1, 2), ceil_mode=True),
                nn.BatchNorm(),
                nn.Conv3DTranspose(6, (3, 2, 2), 2, (1, 0, 0), in_channels=8),
                nn.AvgPool3D((2, 2, 2), padding=(0, 1, 0), count_include_pad=False),
                nn.GlobalAvgPool3D(),
                nn.Dense(5),
            ],
        ),
    }


@pytest.mark.parametrize("name", ["rows", "volumes"])
def test_a_network_over_other_than_two_axes_computes_the_same(name, framework, tmp_path):
    shape, layers = rows_and_volumes()[name]
    check(read_model(block(*layers), shapes={"data": shape}), framework, tmp_path)


@pytest.mark.parametrize("model", ["cifar_resnet20_v1", "mobilenetv2_0.25"])
def test_a_classifier_computes_the_same(model, framework, tmp_path):
    shapes = {"data": (2, 3, 32, 32)} if "cifar" in model else {"data": (1, 3, 64, 64)}
    check(read_model(model, shapes=shapes), framework, tmp_path)


@pytest.mark.parametrize(
    "model", ["yolo3_mobilenet1.0_voc", pytest.param("fcn_resnet50_voc", marks=pytest.mark.exhaustive)]
)
def test_a_detector_and_a_segmenter_compute_the_same(model, framework, tmp_path):
    check(read_model(model, shapes={"data": (1, 3, 96, 96)}), framework, tmp_path)


def boxes(generator, among):
    """Return candidates of the given classes, those of -1 invalid, many on top of each other, the first far away."""
    corners = generator.uniform(0, 60, (2, 90, 2))
    classes, scores = generator.choice(among, (2, 90, 1)), generator.permutation(180).reshape(2, 90, 1) / 180
    rows = np.concatenate([classes, scores, corners, corners + generator.uniform(20, 60, (2, 90, 2))], 2)
    rows[0, 0, 2:] += 1e6
    return rows.astype("float32")


@pytest.mark.parametrize("among", [[-1, 0, 1, 2], [-1, 77, 78, 79]])
@pytest.mark.parametrize("forced", [False, True])
def test_the_same_boxes_are_suppressed(framework, forced, among, tmp_path):
    mx = libraries.mxnet()
    settings = {"overlap_thresh": 0.4, "valid_thresh": 0.1, "id_index": 0, "score_index": 1, "coord_start": 2}
    settings |= {"topk": 60, "force_suppress": forced}
    suppression = mx.gluon.nn.HybridLambda(lambda F, data: F.contrib.box_nms(data, **settings))
    model = read_model(suppression, shapes={"data": (2, 90, 6)})
    rows = boxes(np.random.default_rng(1), among)
    (expected,) = model.reference(rows)
    (found,) = framework(network_of(model.module), [rows], tmp_path)
    assert 5 < (expected[0, :, 0] >= 0).sum() < 50
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("ascending", [False, True])
def test_numbers_are_put_in_the_same_order(framework, ascending, tmp_path):
    mx = libraries.mxnet()
    order = mx.gluon.nn.HybridLambda(lambda F, data: F.argsort(data, axis=1, is_ascend=ascending))
    check(read_model(order, shapes={"data": (2, 9, 3)}), framework, tmp_path)


@pytest.mark.parametrize("framework", ["onnxruntime"], indirect=True)
@pytest.mark.parametrize(("aligned", "samples"), [(False, 2), (False, -1), (True, 3)])
def test_regions_are_pooled_in_the_same_way(framework, aligned, samples, tmp_path):
    mx, draw = libraries.mxnet(), np.random.default_rng(0)
    corners = draw.uniform(-8, 40, (12, 2))
    regions = np.concatenate([draw.integers(0, 2, (12, 1)), corners, corners + draw.uniform(0, 50, (12, 2))], 1)
    how = {"pooled_size": (3, 4), "spatial_scale": 0.25, "sample_ratio": samples, "aligned": aligned}
    pooling = mx.gluon.nn.HybridLambda(lambda F, data, regions: F.contrib.ROIAlign(data, regions, **how))
    model = read_model(pooling, shapes={"data0": (2, 4, 12, 10), "data1": regions.shape})
    inputs = [draw.normal(size=(2, 4, 12, 10)).astype("float32"), regions.astype("float32")]
    outputs = framework(network_of(model.module), inputs, tmp_path)
    assert difference(outputs, model.reference(*inputs)) < 1e-3


def test_outputs_of_other_shapes_or_no_numbers_never_agree():
    ones = [np.ones((2, 2), "float32")]
    assert difference(ones, ones) == 0
    assert difference([np.ones((1, 4), "float32")], ones) == float("inf")
    assert difference([np.full((2, 2), np.nan, "float32")], ones) == float("inf")
    assert difference([1.01 * ones[0]], ones) == pytest.approx(0.01)
