"""Models of the zoo in Relax; that all of them compute what MXNet does is held by `test_whole_models`."""

from __future__ import annotations

import importlib.util

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

from tests.compiler.agreement import assert_agrees, operators
from tophub_registry.frontends import read_model

SMALL = {"data": (1, 3, 64, 64)}


def test_a_batch_of_images_agrees_with_mxnet():
    assert_agrees(read_model("cifar_resnet20_v1", batch=2))


def test_batch_norms_are_in_the_convolutions():
    found = operators(read_model("resnet18_v1", shapes=SMALL))

    assert found.count("relax.nn.conv2d") == 20
    assert found.count("relax.add") == 20 + 8 + 1  # biases, residuals, the dense layer's bias
    assert set(found) == {
        "relax.nn.conv2d",
        "relax.add",
        "relax.nn.relu",
        "relax.nn.max_pool2d",
        "relax.mean",
        "relax.reshape",
        "relax.matmul",
    }


def test_the_module_has_no_weights_among_its_parameters():
    model = read_model("cifar_resnet20_v1", batch=3)

    assert [parameter.name for parameter in model.module["main"].params] == ["data"]
    assert model.inputs == {"data": ((3, 3, 32, 32), "float32")}
    assert model.outputs == ["cifarresnetv10_dense0_fwd_output"]
