"""Models of the zoo compute in Relax what they do in MXNet."""

from __future__ import annotations

import importlib.util

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

import numpy as np

from tests.deploy.agreement import assert_agrees, noise, operators, run
from tophub_registry.deploy.importer import import_model

SMALL = {"data": (1, 3, 64, 64)}


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("cifar_resnet20_v1", {"data": (2, 3, 32, 32)}),
        ("resnet18_v1", SMALL),
        ("mobilenet1.0", SMALL),
        ("mobilenetv2_1.0", SMALL),
        ("squeezenet1.0", {"data": (1, 3, 224, 224)}),
        pytest.param("densenet121", {"data": (1, 3, 224, 224)}, marks=pytest.mark.slow),
        pytest.param("inceptionv3", {"data": (1, 3, 299, 299)}, marks=pytest.mark.slow),
        pytest.param("resnet50_v1", SMALL, marks=pytest.mark.slow),
        pytest.param("se_resnext50_32x4d", SMALL, marks=pytest.mark.slow),
        pytest.param("vgg16", {"data": (1, 3, 32, 32)}, marks=pytest.mark.slow),
    ],
)
def test_a_classifier_agrees_with_mxnet(name, shapes):
    assert_agrees(import_model(name, shapes=shapes))


@pytest.mark.slow
def test_a_detector_finds_the_same_boxes():
    model = import_model("ssd_512_resnet50_v1_voc", shapes={"data": (1, 3, 128, 128)})

    image = noise(model)
    (ids, scores, boxes), (their_ids, their_scores, their_boxes) = run(model, *image), model.reference(*image)

    assert (their_ids >= 0).sum() > 10
    np.testing.assert_array_equal(ids, their_ids)
    np.testing.assert_allclose(scores, their_scores, rtol=1e-4)
    np.testing.assert_allclose(boxes, their_boxes, rtol=1e-3, atol=1e-2)


def test_batch_norms_are_in_the_convolutions():
    found = operators(import_model("resnet18_v1", shapes=SMALL))

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
    model = import_model("cifar_resnet20_v1", batch=3)

    assert [parameter.name for parameter in model.module["main"].params] == ["data"]
    assert model.inputs == {"data": ((3, 3, 32, 32), "float32")}
    assert model.outputs == ["cifarresnetv10_dense0_fwd_output"]
