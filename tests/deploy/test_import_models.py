"""Imported models compute what MXNet does."""

from __future__ import annotations

import importlib.util

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

import numpy as np

from tophub_registry.deploy.importer import ImportedModel, import_model
from tophub_registry.models import libraries

libraries.gluoncv()

import tvm  # noqa: E402  # after MXNet
from tvm import relax  # noqa: E402

SMALL = {"data": (1, 3, 64, 64)}


def run(model: ImportedModel, *arrays: np.ndarray) -> list[np.ndarray]:
    """Compile the module as it is, untuned, and run it."""
    machine = relax.VirtualMachine(tvm.compile(model.module, target="llvm"), tvm.cpu())
    outputs = machine["main"](*map(tvm.runtime.tensor, arrays))
    return [output.numpy() for output in ([outputs] if len(model.outputs) == 1 else outputs)]


def images(model: ImportedModel) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.standard_normal(shape, dtype="float32") for shape, _ in model.inputs.values()]


def assert_agrees(model: ImportedModel) -> None:
    inputs = images(model)
    for ours, theirs in zip(run(model, *inputs), model.reference(*inputs), strict=True):
        assert theirs.std() > 0
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5 * np.abs(theirs).max())


def calls(model: ImportedModel) -> list[str]:
    """Return the operators of the module, in their order."""
    (block,) = model.module["main"].body.blocks
    return [binding.value.op.name for binding in block.bindings if isinstance(binding.value, relax.Call)]


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("cifar_resnet20_v1", {"data": (2, 3, 32, 32)}),
        ("resnet18_v1", SMALL),
        ("mobilenet1.0", SMALL),
    ],
)
def test_a_model_of_the_zoo_agrees_with_mxnet(name, shapes):
    assert_agrees(import_model(name, shapes=shapes))


def test_batch_norms_are_in_the_convolutions():
    found = calls(import_model("resnet18_v1", shapes=SMALL))

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
    model = import_model("cifar_resnet20_v1")

    assert [parameter.name for parameter in model.module["main"].params] == ["data"]
    assert model.inputs == {"data": ((1, 3, 32, 32), "float32")}
    assert model.outputs == ["cifarresnetv10_dense0_fwd_output"]
