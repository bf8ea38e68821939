"""What the importer made of a model reaches other frameworks as it is: operations, weights, names."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

from tophub_registry.bench.network import Network, Operation
from tophub_registry.bench.relax_network import network_of
from tophub_registry.errors import UsageError
from tophub_registry.frontends import read_model


@pytest.fixture(scope="module")
def cifar():
    return network_of(read_model("cifar_resnet20_v1").module)


def test_a_network_is_read_as_it_was_written(cifar, tmp_path):
    cifar.write(tmp_path)
    read = Network.read(tmp_path)
    assert (read.inputs, read.operations, read.outputs) == (cifar.inputs, cifar.operations, cifar.outputs)
    assert [*read.weights] == [*cifar.weights]
    for name, array in read.weights.items():
        np.testing.assert_array_equal(array, cifar.weights[name])


def test_biases_are_inputs_of_their_convolutions(cifar):
    convolutions = [operation for operation in cifar.operations if operation.kind == "nn.conv2d"]
    assert {len(operation.inputs) for operation in convolutions} == {3}
    residuals_and_dense = [operation for operation in cifar.operations if operation.kind == "add"]
    assert len(residuals_and_dense) == 9 + 1


def test_a_bias_that_is_added_to_what_others_need_too_stays_an_addition():
    convolution = Operation("nn.conv2d", ("data", "w"), "c", (1, 2, 4, 4), "float32", {})
    addition = Operation("add", ("c", "b"), "a", (1, 2, 4, 4), "float32", {})
    weights = {"w": np.zeros((2, 3, 1, 1), "float32"), "b": np.zeros((1, 2, 1, 1), "float32")}
    network = Network({"data": (1, 3, 4, 4)}, (convolution, addition), ("a", "c"), weights)
    assert network.with_biases() == network


def test_operations_have_names_of_their_own_and_come_in_order(cifar):
    known = {*cifar.inputs, *cifar.weights}
    for operation in cifar.operations:
        assert known.issuperset(operation.inputs)
        assert operation.output not in known
        known.add(operation.output)
    assert known.issuperset(cifar.outputs)


def test_what_a_framework_has_no_word_for_is_named(cifar):
    with pytest.raises(UsageError, match=r"not translated to Abacus yet: matmul, mean"):
        cifar.check_kinds({"nn.conv2d": 1, "nn.relu": 1, "add": 1, "reshape": 1}, "Abacus")
