"""Networks from symbol files, their weights, blocks, and what is said where something is wrong with them."""

from __future__ import annotations

import importlib.util

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

import numpy as np

from tests.compiler.agreement import assert_agrees, operators
from tests.frontends.mxnet import insightface
from tophub_registry.errors import InputError, UsageError
from tophub_registry.frontends import read_for_timing, read_model
from tophub_registry.frontends.mxnet import libraries

SHAPES = {"data": (2, 3, 28, 28)}


@pytest.fixture(scope="module")
def mx():
    return libraries.mxnet()


@pytest.fixture
def checkpoint(tmp_path):
    return insightface.checkpoint(tmp_path, SHAPES)


def test_a_checkpoint_of_insightface_agrees_with_mxnet(checkpoint):
    model = read_model(checkpoint, shapes=SHAPES)

    assert_agrees(model, *insightface.images(SHAPES))
    assert operators(model).count("relax.multiply") == 1 + 3 + 2  # scaling, pre-activation norms, excitation
    assert model.outputs == ["fc1_output"]


def test_the_last_epoch_is_taken_unless_another_file_is_named(mx, checkpoint):
    first = checkpoint.with_name("model-0000.params")
    changed = {name: array * 1.5 for name, array in mx.nd.load(str(first)).items()}
    mx.nd.save(str(checkpoint.with_name("model-0012.params")), changed)

    last = read_model(checkpoint, shapes=SHAPES).original.weights["conv0_weight"]
    named = read_model(str(checkpoint), shapes=SHAPES, params=first).original.weights["conv0_weight"]

    np.testing.assert_allclose(last, named * 1.5)


def test_a_block_keeps_its_weights(mx):
    block = mx.gluon.nn.HybridSequential()
    block.add(mx.gluon.nn.Conv2D(4, 3, activation="relu"), mx.gluon.nn.Dense(5))
    block.initialize(mx.init.Normal(1))

    model = read_model(block, shapes={"data": (1, 3, 8, 8)})  # the first call gives the weights their shapes

    image = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype("float32")
    assert_agrees(model, image)
    np.testing.assert_allclose(model.reference(image)[0], block(mx.nd.array(image)).asnumpy(), rtol=1e-5)


def test_weights_that_gluon_saved_are_read(mx, tmp_path):
    block = libraries.gluoncv().model_zoo.get_model("cifar_resnet20_v1")
    block.initialize(mx.init.Normal(1))
    block(mx.nd.zeros((1, 3, 32, 32)))
    saved, exported = tmp_path / "saved.params", tmp_path / "exported"
    block.save_parameters(str(saved))
    block.hybridize()
    block(mx.nd.zeros((1, 3, 32, 32)))
    block.export(str(exported))

    by_name = read_model("cifar_resnet20_v1", params=saved)
    by_file = read_model(tmp_path / "exported-symbol.json", shapes={"data": (1, 3, 32, 32)})

    image = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype("float32")
    expected = block(mx.nd.array(image)).asnumpy()
    for model in (by_name, by_file):
        np.testing.assert_allclose(model.reference(image)[0], expected, rtol=1e-4)


def test_random_weights_are_the_same_each_time():
    one, other = (read_model("cifar_resnet20_v1") for _ in range(2))

    assert one.random_weights
    assert one.original.weights.keys() == other.original.weights.keys()
    assert all((one.original.weights[name] == other.original.weights[name]).all() for name in one.original.weights)


def test_operators_that_are_missing_are_named_with_their_layers(mx):
    def forward(F, x):
        return F.gamma(F.relu(F.gamma(x, name="gamma1")), name="gamma2") + F.erfinv(x)

    with pytest.raises(UsageError) as caught:
        read_model(mx.gluon.nn.HybridLambda(forward), shapes={"data": (1, 3, 8, 8)}).check_translated()

    message = str(caught.value)
    assert "gamma (layers: " in message
    assert "gamma1" in message
    assert "gamma2" in message
    assert "erfinv" in message


def test_a_form_that_is_missing_is_named_with_its_layer(mx):
    def forward(F, x):
        return F.Pooling(x, kernel=(2, 2), pool_type="lp", p_value=4, name="odd_pool")

    with pytest.raises(UsageError, match=r"Pooling of the kind lp .*odd_pool"):
        read_model(mx.gluon.nn.HybridLambda(forward), shapes={"data": (1, 3, 8, 8)}).check_translated()


def test_a_missing_weight_is_named_with_its_layer(mx, checkpoint):
    path = checkpoint.with_name("model-0000.params")
    mx.nd.save(str(path), {name: a for name, a in mx.nd.load(str(path)).items() if name != "arg:conv0_weight"})

    with pytest.raises(InputError, match=r"model-0000.params: the weight 'conv0_weight' of the layer 'conv0'"):
        read_model(checkpoint, shapes=SHAPES)


def test_weights_for_another_input_do_not_fit(checkpoint):
    with pytest.raises(InputError, match=r"'pre_fc1_weight' has the shape 12x3136, and .* takes 12x1024"):
        read_model(checkpoint, shapes={"data": (1, 3, 16, 16)})


def test_a_symbol_without_weights_is_refused(checkpoint):
    checkpoint.with_name("model-0000.params").unlink()

    with pytest.raises(
        InputError, match=r"there is no weights file beside it \(it needs a file such as model-0000.params"
    ):
        read_model(checkpoint, shapes=SHAPES)


def test_a_symbol_without_weights_is_confirmed_after_tuning_as_it_was_tuned(checkpoint):
    tuned = read_model(checkpoint, shapes=SHAPES).tasks("llvm", own=True)
    checkpoint.with_name("model-0000.params").unlink()

    assert read_for_timing(checkpoint, shapes=SHAPES).tasks("llvm", own=True).tasks == tuned.tasks


def test_what_is_no_file_of_weights_is_refused(checkpoint):
    path = checkpoint.with_name("model-0000.params")
    path.write_bytes(b"conv0")

    with pytest.raises(InputError, match=r"model-0000.params: not a file of MXNet weights"):
        read_model(checkpoint, shapes=SHAPES)


def test_what_is_no_model_is_refused(mx):
    with pytest.raises(UsageError, match="a list is not a model"):
        read_model([1])
    with pytest.raises(UsageError, match="can't be read"):
        read_model(mx.gluon.nn.Dense(3))  # never initialized


def test_the_reference_checks_its_arguments():
    with pytest.raises(UsageError, match="the model takes"):
        read_model("cifar_resnet20_v1").reference(np.zeros((1, 3, 8, 8), "float32"))
