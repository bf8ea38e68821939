"""Each operator, in the forms that MXNet has of it, computes in Relax what it does in MXNet."""

from __future__ import annotations

import importlib.util

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

import numpy as np

from tests.compiler.agreement import assert_agrees, operators, run
from tophub_registry.frontends import read_model
from tophub_registry.frontends.mxnet import libraries

IMAGE = (2, 6, 9, 7)


@pytest.fixture(scope="module")
def mx():
    return libraries.mxnet()


def average(F, x, **attributes):
    return F.Pooling(x, pool_type="avg", kernel=(3, 2), stride=(2, 2), pad=(1, 0), **attributes)


ELEMENTWISE = {
    "relu": lambda F, x: F.relu(x),
    "sigmoid": lambda F, x: F.sigmoid(x),
    "tanh": lambda F, x: F.Activation(x, act_type="tanh"),
    "softrelu": lambda F, x: F.Activation(x, act_type="softrelu"),
    "softsign": lambda F, x: F.Activation(x, act_type="softsign"),
    "leaky": lambda F, x: F.LeakyReLU(x, slope=0.3),
    "leaky by default": lambda F, x: F.LeakyReLU(x),
    "elu": lambda F, x: F.LeakyReLU(x, act_type="elu", slope=0.7),
    "gelu": lambda F, x: F.LeakyReLU(x, act_type="gelu"),
    "hard sigmoid": lambda F, x: F.hard_sigmoid(x, alpha=0.3, beta=0.4),
    "relu6": lambda F, x: F.clip(x, 0, 6),
    "swish": lambda F, x: x * F.sigmoid(x),
    "unary": lambda F, x: F.sqrt(F.abs(F.exp(x) - F.square(x))) + F.log(F.abs(x) + 1) + F.erf(x),
    "rounding": lambda F, x: F.floor(x) + F.ceil(3 * x) + F.trunc(2 * x) + F.sign(x),
    "numbers": lambda _, x: ((1 - x) * 2 + 3 - 0.5) / 4 + 1 / (x + 9),
    "powers": lambda F, x: F.abs(x) ** 1.5 + 2**x,
    "bounds": lambda F, x: F.maximum(x, 0.1) + F.minimum(x, 0.2) + F.maximum(x, -x),
    "comparisons": lambda F, x: (x > 0.5) + (x <= 0.1) * 2 + F.broadcast_lesser(x, -x) * 4 + (x != 0),
    "where": lambda F, x: F.where(x > 0.3, x, F.zeros_like(x)) + F.where(F.relu(x), x, 2 * x),
    "broadcasts": lambda F, x: F.broadcast_mul(x, F.mean(x, axis=(2, 3), keepdims=True)),
    "products": lambda F, x: F.batch_dot(F.reshape(x, (-3, -2)), F.reshape(F.relu(x), (-3, -2)), transpose_b=True),
    "products, the other way": lambda F, x: F.batch_dot(
        F.reshape(x, (-3, -2)), F.reshape(x, (-3, -2)), transpose_a=True
    ),
    "sum of all": lambda F, x: F.add_n(x, 2 * x, F.relu(x)),
    "nothing": lambda F, x: F.Dropout(F.BlockGrad(F.identity(F.cast(x, "float32")))),
}

NORMALIZATIONS = {
    "softmax": lambda F, x: F.softmax(x, axis=1, temperature=2),
    "log softmax": lambda F, x: F.log_softmax(x),
    "softmax over channels": lambda F, x: F.SoftmaxActivation(x, mode="channel"),
    "softmax with its loss": lambda F, x: F.SoftmaxOutput(F.Flatten(x), F.sum(x, axis=(1, 2, 3))),
    "l2 of an instance": lambda F, x: F.L2Normalization(x),
    "l2 over channels": lambda F, x: F.L2Normalization(x, mode="channel"),
    "l2 over places": lambda F, x: F.L2Normalization(x, mode="spatial", eps=0.1),
}

POOLING = {
    "max": lambda F, x: F.Pooling(x, kernel=(3, 3), stride=(2, 2), pad=(1, 1)),
    "max, rounded up": lambda F, x: F.Pooling(x, kernel=(2, 2), stride=(2, 2), pooling_convention="full"),
    "average": average,
    "average without padding": lambda F, x: average(F, x, count_include_pad=False),
    "average, rounded up": lambda F, x: average(F, x, pooling_convention="full"),
    "average without padding, rounded up": lambda F, x: average(
        F, x, pooling_convention="full", count_include_pad=False
    ),
    "global average": lambda F, x: F.Pooling(x, kernel=(1, 1), global_pool=True, pool_type="avg"),
    "global maximum": lambda F, x: F.Pooling(x, kernel=(2, 2), global_pool=True, pool_type="max"),
    "adaptive average": lambda F, x: F.contrib.AdaptiveAvgPooling2D(x, output_size=(4, 3)),
    "adaptive average of all": lambda F, x: F.contrib.AdaptiveAvgPooling2D(x),
    "upsampling": lambda F, x: F.UpSampling(x, scale=3, sample_type="nearest"),
    "bilinear": lambda F, x: F.contrib.BilinearResize2D(x, height=18, width=11),
    "mean": lambda F, x: F.mean(x, axis=1),
    "mean of all": lambda F, x: F.mean(x),
    "sum, but for an axis": lambda F, x: F.sum(x, axis=1, exclude=True, keepdims=True),
    "maximum and minimum": lambda F, x: F.max(x, axis=-1) - F.min(x, axis=(3,)),
}

SHAPE = {
    "reshape with 0 and -1": lambda F, x: F.reshape(x, (0, -1, 7)),
    "reshape with -2": lambda F, x: F.reshape(x, (-1, 3, -2)),
    "reshape with -3": lambda F, x: F.reshape(x, (-3, -3)),
    "reshape with -4": lambda F, x: F.reshape(x, (0, -4, 3, -1, 0, 0)),
    "reshape, reversed": lambda F, x: F.reshape(x, (-1, 0, 0), reverse=True),
    "flatten": lambda F, x: F.flatten(x),
    "expand, squeeze": lambda F, x: F.squeeze(F.expand_dims(F.expand_dims(x, 1), -1), axis=1),
    "transpose": lambda F, x: F.transpose(x, (0, 2, 3, 1)),
    "transpose of all axes": lambda F, x: F.transpose(x),
    "swap": lambda F, x: F.swapaxes(x, 1, 3),
    "concatenation": lambda F, x: F.concat(x, F.relu(x), x, dim=-2),
    "stack": lambda F, x: F.stack(x, F.relu(x), axis=2),
    "split": lambda F, x: F.split(x, 3, axis=1)[1] + F.split(x, 3, axis=1)[2],
    "split, squeezed": lambda F, x: F.split(x, 7, axis=-1, squeeze_axis=True)[3],
    "slice": lambda F, x: F.slice(x, begin=(None, 1, -4), end=(None, 5, None), step=(1, 2, 1)),
    "slice of an axis": lambda F, x: F.slice_axis(x, axis=-2, begin=1, end=-2),
    "slice to the end": lambda F, x: F.slice_axis(x, axis=1, begin=2, end=None),
    "slice like": lambda F, x: F.slice_like(x, F.slice_axis(x, axis=2, begin=0, end=4), axes=(2,)),
    "tile, repeat": lambda F, x: F.repeat(F.tile(x, (1, 2, 1, 1)), 2, axis=3),
    "broadcasts": lambda F, x: F.broadcast_like(F.slice_axis(x, axis=1, begin=0, end=1), x),
    "reverse": lambda F, x: F.reverse(x, axis=1),
    "pad": lambda F, x: F.pad(x, mode="constant", pad_width=(0, 0, 0, 0, 1, 2, 3, 0), constant_value=2),
    "pad by reflection": lambda F, x: F.pad(x, mode="reflect", pad_width=(0, 0, 0, 0, 1, 2, 3, 0)),
    "pad with the edge": lambda F, x: F.pad(x, mode="edge", pad_width=(0, 0, 0, 0, 1, 2, 3, 0)),
    "shuffle of channels": lambda F, x: F.reshape(F.swapaxes(F.reshape(x, (0, -4, 2, -1, -2)), 1, 2), (0, -3, -2)),
    "a constant": lambda F, x: F.broadcast_add(F.reshape(F.arange(0, 7) * 2, (1, 1, 1, -1)), x),
    "rows": lambda F, x: F.take(x, F.reshape(F.arange(5, 0, -2), (3,)), axis=1),
}


@pytest.mark.parametrize(
    "forms", [ELEMENTWISE, NORMALIZATIONS, POOLING, SHAPE], ids=["elementwise", "normalization", "pooling", "shape"]
)
def test_the_forms_of_a_family_agree_with_mxnet(mx, forms):
    class All(mx.gluon.HybridBlock):
        def hybrid_forward(self, F, x):
            return [form(F, x) for form in forms.values()]

    model = read_model(All(), shapes={"data": IMAGE})
    image = np.random.default_rng(0).standard_normal(IMAGE).astype("float32")

    for name, ours, theirs in zip(forms, run(model, image), model.reference(image), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5, err_msg=name)


def layers(mx, *blocks):
    network = mx.gluon.nn.HybridSequential()
    network.add(*blocks)
    network.initialize(mx.init.Normal(0.5))
    network(mx.nd.zeros(IMAGE))
    generator = np.random.default_rng(1)
    for name, parameter in network.collect_params().items():
        if name.endswith(("gamma", "beta", "mean", "var", "alpha", "bias")):
            parameter.set_data(mx.nd.array(generator.uniform(0.3, 2, parameter.shape)))
    return network


def test_layers_with_weights_agree_with_mxnet(mx):
    nn = mx.gluon.nn
    network = layers(
        mx,
        nn.BatchNorm(),
        nn.Conv2D(8, (3, 1), strides=(2, 1), padding=(1, 0), dilation=(2, 1), use_bias=True),
        nn.BatchNorm(scale=False, epsilon=0.1),
        nn.BatchNorm(center=False),
        nn.PReLU(),
        nn.Conv2D(8, 3, padding=1, groups=8, use_bias=False),
        nn.Activation("relu"),
        nn.BatchNorm(),
        nn.Conv2DTranspose(4, 4, strides=2, padding=1, output_padding=1, in_channels=8),
        nn.BatchNorm(),
        nn.Dense(6, flatten=False),
        nn.BatchNorm(axis=-1),
        nn.Dense(5, use_bias=False),
        nn.BatchNorm(),
    )

    model = read_model(network, shapes={"data": IMAGE})

    assert_agrees(model)
    assert operators(model).count("relax.multiply") == 2  # the first batch norm, and that after the activation


def test_a_grouped_transposed_convolution_takes_up_its_batch_norm(mx):
    nn = mx.gluon.nn
    model = read_model(
        layers(mx, nn.Conv2DTranspose(4, 3, groups=2, in_channels=6), nn.BatchNorm()), shapes={"data": IMAGE}
    )

    assert_agrees(model)
    assert "relax.multiply" not in operators(model)


def test_a_convolution_that_others_need_keeps_its_batch_norm_apart(mx):
    class Shared(mx.gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            with self.name_scope():
                self.convolution, self.norm = mx.gluon.nn.Conv2D(4, 3), mx.gluon.nn.BatchNorm()

        def hybrid_forward(self, F, x):
            convolved = self.convolution(x)
            return convolved + self.norm(convolved)

    model = read_model(layers(mx, Shared()), shapes={"data": IMAGE})

    assert_agrees(model)
    assert operators(model).count("relax.multiply") == 1


def test_a_batch_norm_with_its_activation_agrees_with_mxnet(mx):
    nn = mx.gluon.nn
    assert_agrees(
        read_model(
            layers(mx, nn.BatchNormReLU(), nn.Conv2D(4, 3), nn.BatchNormReLU(scale=False, epsilon=0.1)),
            shapes={"data": IMAGE},
        )
    )


@pytest.mark.parametrize("center", [True, False])
def test_boxes_are_decoded_and_suppressed_as_by_mxnet(mx, center):
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 20, (1, 60, 2))
    anchors = np.concatenate([corners, corners + generator.uniform(1, 8, (1, 60, 2))], axis=-1)

    class Detector(mx.gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            with self.name_scope():
                self.anchors = self.params.get_constant("anchors", anchors.astype("float32"))

        def hybrid_forward(self, F, x, anchors):
            offsets, scores, ids = (F.slice_axis(x, axis=-1, begin=b, end=e) for b, e in ((0, 4), (4, 5), (5, 6)))
            boxes = F.contrib.box_decode(
                offsets, anchors, 0.1, 0.1, 0.2, 0.2, clip=1.5, format="center" if center else "corner"
            )
            found = F.concat(F.floor(F.abs(ids)), scores, boxes, dim=-1)
            return F.contrib.box_nms(
                found, overlap_thresh=0.3, valid_thresh=0.1, topk=20, id_index=0, score_index=1, coord_start=2
            ), F.contrib.box_nms(found, overlap_thresh=0.4, id_index=0, force_suppress=True)

    block = Detector()
    block.initialize()
    model = read_model(block, shapes={"data": (2, 60, 6)})

    data = generator.standard_normal((2, 60, 6)).astype("float32")
    for ours, theirs in zip(run(model, data), model.reference(data), strict=True):
        assert (theirs[..., 0] < 0).any()
        assert (theirs[..., 0] > 0).any()
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)


@pytest.mark.parametrize("batch", [1, 2])
def test_boxes_of_each_class_are_suppressed_as_by_mxnet(mx, batch):
    def detect(F, x):
        boxes, ids, scores = (
            F.slice_axis(x, axis=-1, begin=begin, end=end) for begin, end in ((0, 4), (4, 7), (7, 10))
        )
        low = F.slice_axis(boxes, axis=-1, begin=0, end=2) * 5
        boxes = F.concat(low, low + 3 + F.abs(F.slice_axis(boxes, axis=-1, begin=2, end=4)), dim=-1)
        ids = F.broadcast_add(F.zeros_like(ids), F.reshape(F.arange(3), (1, 1, 3)))
        ids = F.where(scores > 0.2, ids, F.ones_like(ids) * -1)
        columns = [[F.slice_axis(y, axis=-1, begin=i, end=i + 1) for y in (ids, scores)] for i in range(3)]
        found = F.concat(*[F.concat(*column, boxes, dim=-1) for column in columns], dim=1)
        return F.contrib.box_nms(found, overlap_thresh=0.3, valid_thresh=0.1, topk=25, id_index=0)

    model = read_model(mx.gluon.nn.HybridLambda(detect), shapes={"data": (batch, 30, 10)})

    data = np.random.default_rng(0).standard_normal((batch, 30, 10)).astype("float32")
    (ours,), (theirs,) = run(model, data), model.reference(data)
    assert set(theirs[..., 0].flat) == {-1, 0, 1, 2}
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    assert operators(model).count("relax.concat") == 2  # the boxes, and the best rows; none for each class
