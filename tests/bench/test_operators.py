"""Operators that no test of MXNet's brings compute in every framework what they do in TVM."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

if not importlib.util.find_spec("tvm"):
    pytest.skip("TVM is not installed", allow_module_level=True)

import tvm
from tvm import relax

from tests.compiler.agreement import noise
from tophub_registry.bench.agreement import difference
from tophub_registry.bench.network import Network
from tophub_registry.bench.relax_network import network_of
from tophub_registry.errors import UsageError
from tophub_registry.frontends import read_model

op = relax.op

COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn")
ROUNDINGS = ("", "round", "round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
RESIZES = [
    *({"method": "nearest_neighbor", "rounding_method": rounding} for rounding in ROUNDINGS),
    {"method": "linear"},
    {"method": "cubic"},
    {"method": "cubic", "cubic_alpha": -0.5},
]
SIZES = {"larger": (14, 18), "smaller": (3, 5), "larger and smaller": (8, 4), "other": (11, 13)}
REGION = {"roi": (0.1, -0.2, 1.2, 0.7), "coordinate_transformation_mode": "tf_crop_and_resize"}


def model_of(build, *shapes, dtype="float32"):
    """Return a model of one function of Relax variables; a list of shapes and dtypes."""
    variables = [relax.Var(f"x{index}", relax.TensorType(shape, dtype)) for index, shape in enumerate(shapes)]
    builder = relax.BlockBuilder()
    with builder.function("main", variables):
        with builder.dataflow():
            found = builder.emit_output(build(builder, *variables))
        builder.emit_func_output(found)
    return read_model(builder.get())


def check(model, framework, folder, inputs=None):
    inputs = inputs or noise(model)
    network = network_of(model.module)
    network.write(folder)
    outputs = framework(Network.read(folder), inputs, folder)
    assert difference(outputs, model.reference(*inputs)) < 1e-3


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_images_are_resized_alike(coordinates, size, framework, tmp_path):
    def resizes(builder, x):
        every = [{"coordinate_transformation_mode": coordinates, **how} for how in RESIZES]
        return relax.Tuple([builder.emit(op.image.resize2d(x, SIZES[size], **how)) for how in every])

    check(model_of(resizes, (1, 3, 7, 9)), framework, tmp_path)


@pytest.mark.parametrize("settings", [{"method": "nearest_neighbor"}, {"method": "linear"}, {"method": "cubic"}])
def test_a_region_is_resized_alike(settings, framework, tmp_path):
    settings = {**settings, **REGION, "rounding_method": "round_prefer_floor", "extrapolation_value": 7.0}
    check(model_of(lambda _, x: op.image.resize2d(x, (6, 11), **settings), (1, 3, 7, 9)), framework, tmp_path)


def test_images_with_their_channels_last_are_refused(framework, tmp_path):
    model = model_of(lambda _, x: op.image.resize2d(x, (6, 8), layout="NHWC"), (1, 3, 4, 5))
    with pytest.raises((UsageError, RuntimeError), match="NHWC"):
        framework(network_of(model.module), noise(model), tmp_path)


OPERATORS = {
    "rows repeated": lambda _, x: op.repeat(x, 2, 2),
    "columns repeated": lambda _, x: op.repeat(x, 3, -1),
    "channels repeated": lambda _, x: op.repeat(x, 2, 1),
    "all repeated": lambda _, x: op.repeat(x, 2),
    "tiled": lambda _, x: op.tile(x, (2, 1, 3, 1)),
    "tiled along the last axes": lambda _, x: op.tile(x, (2, 3)),
    "tiled into a new axis": lambda _, x: op.tile(x, (3, 1, 1, 2, 1)),
    "split in two": lambda b, x: _swapped(b, x, 2),
    "split at places": lambda b, x: _swapped(b, x, [1, 3]),
    "the last part is shorter": lambda b, x: _swapped(b, x, 3),
    "variance": lambda _, x: op.variance(x, [1, 3], keepdims=True),
    "variance of all": lambda _, x: op.reshape(op.variance(x), (1,)),
    "product": lambda _, x: op.prod(x, [1, 2]),
    "adaptive average": lambda _, x: op.nn.adaptive_avg_pool2d(x, (2, 3)),
    "adaptive average, windows of several sizes": lambda _, x: op.nn.adaptive_avg_pool2d(x, (4, 5)),
    "the best": lambda _, x: op.topk(x, 3, 2, "values"),
    "where the worst are": lambda _, x: op.astype(op.topk(x, 2, 1, "indices", largest=False), "float32"),
    "the best and where they are": lambda b, x: _sum_of_both(b, op.topk(x, 4)),
    "gelu": lambda _, x: op.nn.gelu(x),
    "gelu by tanh": lambda _, x: op.nn.gelu_tanh(x),
    "silu": lambda _, x: op.nn.silu(x),
    "cut off": lambda _, x: op.trunc(op.multiply(x, relax.const(3.0))),
    "flipped": lambda _, x: op.flip(x, 2),
    "added to numbers made there": lambda b, x: op.add(b.emit(op.full((9,), relax.const(2.5), "float32")), x),
    "some of them": lambda b, x: op.take(x, b.emit(op.arange(4, 0, -2, "int64")), 3),
    "not chosen": lambda b, x: op.where(b.emit(op.logical_not(b.emit(op.less(x, relax.const(0.0))))), x, op.exp(x)),
    "unequal": lambda _, x: op.astype(op.not_equal(op.floor(x), relax.const(0.0)), "float32"),
}


UNEVEN = {
    "maximum": lambda _, x: op.nn.max_pool2d(x, (3, 2), (2, 1), (0, 1, 1, 0)),
    "average": lambda _, x: op.nn.avg_pool2d(x, (3, 2), (2, 1), (0, 1, 1, 0), count_include_pad=True),
    "average without the padding": lambda _, x: op.nn.avg_pool2d(x, (3, 2), (2, 1), (0, 1, 1, 0)),
    "convolution": lambda _, x: op.nn.conv2d(x, _weight(4, 5, 3, 2), (2, 1), (0, 1, 1, 0)),
    "transposed": lambda _, x: op.nn.conv2d_transpose(x, _weight(5, 4, 3, 3), (2, 2), (1, 0, 0, 1)),
    "transposed, cut off": lambda _, x: op.nn.conv2d_transpose(x, _weight(5, 4, 3, 3), (2, 2), (0, 1, 1, 2), (1, 0)),
}


def _sum_of_both(builder, pair):
    both = builder.emit(pair)
    return op.add(both[0], op.astype(both[1], "float32"))


def _weight(*shape):
    return relax.const(np.random.default_rng(0).normal(size=shape).astype("float32"))


@pytest.mark.parametrize("name", UNEVEN)
def test_padding_may_differ_at_both_ends(name, framework, tmp_path):
    check(model_of(UNEVEN[name], (1, 5, 6, 9)), framework, tmp_path)


def _swapped(builder, x, sections):
    parts = builder.emit(op.split(x, sections, 1))
    count = sections if isinstance(sections, int) else len(sections) + 1
    return op.concat([parts[count - 1 - index] for index in range(count)], 1)


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_computes_the_same(name, framework, tmp_path):
    check(model_of(OPERATORS[name], (1, 5, 6, 9)), framework, tmp_path)


@pytest.mark.parametrize(("axes", "shape"), [([-1], (9,)), ([2, 3], (6, 9)), ([1], (4,))])
def test_layers_are_normalized_alike(axes, shape, framework, tmp_path):
    scale, shift = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    factors = [relax.const(array) for array in (scale, shift)]
    model = model_of(lambda _, x: op.nn.layer_norm(x, *factors, axes=axes, epsilon=1e-3), (2, 4, 6, 9))
    check(model, framework, tmp_path)


def test_attention_computes_the_same(framework, tmp_path):
    def attention(builder, tokens):
        def heads(index):
            weight = relax.const(np.random.default_rng(index).normal(0, 0.3, (32, 32)).astype("float32"))
            split = op.reshape(builder.emit(op.matmul(words, weight)), (1, 16, 4, 8))
            return builder.emit(op.permute_dims(builder.emit(split), (0, 2, 1, 3)))

        table = relax.const(np.random.default_rng(9).normal(size=(50, 32)).astype("float32"))
        words = builder.emit(op.take(table, tokens, 0))
        query, key, value = map(heads, range(3))
        scores = builder.emit(op.matmul(query, builder.emit(op.permute_dims(key, (0, 1, 3, 2)))))
        weighted = builder.emit(op.matmul(builder.emit(op.nn.softmax(scores, -1)), value))
        return op.reshape(builder.emit(op.permute_dims(weighted, (0, 2, 1, 3))), (1, 16, 32))

    model = model_of(attention, (1, 16), dtype="int64")
    tokens = np.random.default_rng(2).integers(0, 50, (1, 16))
    check(model, framework, tmp_path, [tokens])


def test_several_outputs_come_in_their_order(framework, tmp_path):
    def both(builder, x):
        return relax.Tuple([builder.emit(op.exp(x)), builder.emit(op.negative(x))])

    check(model_of(both, (2, 3)), framework, tmp_path)


def test_a_function_of_tvm_is_refused():
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 3), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            found = builder.emit_output(builder.call_te(tvm.topi.cumsum, x, 1))
        builder.emit_func_output(found)
    with pytest.raises(UsageError, match="a TVM function has no translation"):
        network_of(builder.get())
