"""Models of any front end are brought into one form, and compute what they computed before."""

from __future__ import annotations

import numpy as np
import pytest

from tests.frontends.nets import Net, random_net
from tophub_registry.compiler.compiler import compile_model
from tophub_registry.frontends import read_model
from tophub_registry.tasks.layers import Convolution, Dense
from tophub_registry.tasks.reading import calls_of

SEEDS = [*range(6), *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(6, 200))]


def operators(model):
    return [call.op.name.removeprefix("relax.") for _, call in calls_of(model.module["main"])]


def untuned(module, *arrays):
    import tvm
    from tvm import relax

    main = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())["main"]
    outputs = main(*map(tvm.runtime.tensor, arrays))
    return [output.numpy() for output in ([outputs] if hasattr(outputs, "numpy") else outputs)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_random_networks_compute_what_onnx_runtime_does(seed):
    model = read_model(random_net(seed))
    inputs = model.random_inputs(seed)
    expected = model.reference(*inputs)
    compiled = compile_model(model, "llvm", records=[])
    for result in (untuned(model.module, *inputs), compiled.run(*inputs)):
        for mine, theirs in zip(result, expected, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


def test_a_batch_norm_is_in_the_weight_before_it():
    net = Net((1, 3, 8, 8))
    value = net.add("Conv", "x", net.weight(4, 3, 3, 3))
    value = net.add("BatchNormalization", value, *(net.weight(4, low=0.5) for _ in range(4)))
    assert operators(read_model(net.model(net.add("Relu", value)))) == ["nn.conv2d", "add", "nn.relu"]


def test_a_value_that_is_needed_before_the_batch_norm_keeps_its_weight():
    net = Net((1, 3, 8, 8))
    value = net.add("Conv", "x", net.weight(4, 3, 3, 3))
    scaled = net.add("Mul", value, net.weight(4, 1, 1, low=2, high=3))
    model = read_model(net.model(value, scaled))
    assert operators(model) == ["nn.conv2d", "multiply"]


def test_images_are_nchw_whatever_stands_around_them():
    net = Net((1, 8, 8, 3))
    value = net.add("Transpose", "x", perm=[0, 3, 1, 2])
    value = net.add("Conv", value, net.weight(4, 3, 3, 3))
    value = net.add("Relu", net.add("Add", net.add("Transpose", value, perm=[0, 2, 3, 1]), net.weight(4)))
    value = net.add("Transpose", value, perm=[0, 3, 1, 2])
    value = net.add("Conv", value, net.weight(4, 4, 3, 3))
    assert operators(read_model(net.model(value))) == ["permute_dims", "nn.conv2d", "add", "nn.relu", "nn.conv2d"]


def test_padding_is_part_of_the_convolution():
    net = Net((1, 3, 8, 8))
    padded = net.add("Pad", "x", net.ints(0, 0, 0, 1, 0, 0, 2, 1))
    (layer,) = read_model(net.model(net.add("Conv", padded, net.weight(4, 3, 3, 3)))).layers
    assert isinstance(layer, Convolution)
    assert layer.padding == (0, 1, 2, 1)


@pytest.mark.parametrize("attributes", [{"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}])
def test_automatic_padding_is_too(attributes):
    net = Net((1, 3, 8, 8))
    value = net.add("Conv", "x", net.weight(4, 3, 3, 3), strides=[2, 2], **attributes)
    model = read_model(net.model(value))
    assert operators(model) == ["nn.conv2d"]
    inputs = model.random_inputs()
    np.testing.assert_allclose(untuned(model.module, *inputs)[0], model.reference(*inputs)[0], atol=1e-5)


def test_rows_of_any_number_of_axes_are_a_dense_layer():
    net = Net((2, 3, 4, 8))
    value = net.add("Add", net.add("MatMul", "x", net.weight(8, 5)), net.weight(5))
    model = read_model(net.model(net.add("MatMul", net.add("Relu", value), net.weight(5, 6))))
    assert operators(model) == ["reshape", "matmul", "add", "nn.relu", "matmul", "reshape"]
    assert [layer.data for layer in model.layers if isinstance(layer, Dense)] == [(24, 8), (24, 5)]


def test_what_is_added_to_rows_is_added_before_they_are_reshaped():
    """Then the sum is computed in the dense layer's kernel."""
    net = Net((2, 3, 4, 8))
    value = net.add("Transpose", net.add("MatMul", "x", net.weight(8, 8)), perm=[0, 1, 2, 3])
    model = read_model(net.model(net.add("Add", net.add("Add", value, net.weight(8)), "x")))
    assert operators(model) == ["reshape", "matmul", "add", "reshape", "add", "reshape"]
    inputs = model.random_inputs()
    np.testing.assert_allclose(untuned(model.module, *inputs)[0], model.reference(*inputs)[0], atol=1e-5)


def test_axes_of_one_change_places_by_a_reshape():
    net = Net((1, 5, 8))
    rows = net.add("MatMul", "x", net.weight(8, 6))
    turned = net.add("Transpose", rows, perm=[1, 0, 2])
    model = read_model(net.model(net.add("Relu", turned)))
    assert operators(model) == ["reshape", "matmul", "nn.relu", "reshape"]
    inputs = model.random_inputs()
    np.testing.assert_allclose(untuned(model.module, *inputs)[0], model.reference(*inputs)[0], atol=1e-5)


def test_products_of_two_inputs_are_one_layer_with_the_second_factor_transposed():
    net = Net((1, 2, 3, 3))
    model = read_model(net.model(net.add("MatMul", "x", "x")))
    (layer,) = model.layers
    assert (layer.data, layer.weight) == ((2, 3, 3), (2, 3, 3))
    assert [task.task for task in model.tasks("llvm").tasks] == ["batch_matmul.x86"]


def test_a_convolution_over_one_axis_has_height_one():
    from onnx import TensorProto, helper

    net = Net((1, 3, 8, 8))
    net.inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 9))]
    model = read_model(net.model(net.add("Conv", "x", net.weight(4, 3, 5), pads=[1, 2])))
    (layer,) = model.layers
    assert (layer.data, layer.kernel, layer.padding) == ((1, 3, 1, 9), (4, 3, 1, 5), (0, 1, 0, 2))
    inputs = model.random_inputs()
    (output,) = compile_model(model, "llvm", records=[]).run(*inputs)
    np.testing.assert_allclose(output, model.reference(*inputs)[0], atol=1e-5)
