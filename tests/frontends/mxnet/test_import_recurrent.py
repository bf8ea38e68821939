"""Recurrent layers of gluon compute in Relax what they do in MXNet."""

from __future__ import annotations

import importlib.util

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

import numpy as np

from tests.compiler.agreement import assert_agrees
from tophub_registry.errors import UsageError
from tophub_registry.frontends import read_model
from tophub_registry.frontends.mxnet import libraries

TIME, BATCH, WIDTH = 2, 3, 5


def layer(kind: str, **attributes):
    mx = libraries.mxnet()
    mx.random.seed(0)
    block = getattr(mx.gluon.rnn, kind)(4, input_size=WIDTH, prefix="layer_", **attributes)
    block.initialize(mx.init.Normal(0.5))
    generator = np.random.default_rng(0)
    for name, parameter in block.collect_params().items():
        if name.endswith("bias"):
            parameter.set_data(mx.nd.array(generator.uniform(-0.5, 0.5, parameter.shape)))
    return block


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("LSTM", {"num_layers": 2, "bidirectional": True}),
        ("GRU", {"bidirectional": True}),
        ("RNN", {"activation": "relu", "num_layers": 2}),
        ("RNN", {"activation": "tanh", "layout": "NTC"}),
    ],
)
def test_a_recurrent_layer_agrees_with_mxnet(kind, attributes):
    first = (BATCH, TIME) if attributes.get("layout") == "NTC" else (TIME, BATCH)

    assert_agrees(read_model(layer(kind, **attributes), shapes={"data": (*first, WIDTH)}))


def test_states_are_outputs_too():
    mx = libraries.mxnet()
    size = 2 * 4 * 4 * (WIDTH + 4 + 2)  # directions, gates, numbers in a state; columns and biases

    class Stateful(mx.gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            with self.name_scope():
                self.weights = self.params.get("weights", shape=(size,), init=mx.init.Normal(0.5))

        def hybrid_forward(self, F, x, weights):
            start = [F.zeros((2, BATCH, 4)) for _ in range(2)]
            return F.RNN(
                x, weights, *start, state_size=4, num_layers=1, mode="lstm", bidirectional=True, state_outputs=True
            )

    block = Stateful()
    block.initialize()

    assert_agrees(read_model(block, shapes={"data": (TIME, BATCH, WIDTH)}))


def test_too_many_steps_are_refused():
    model = read_model(layer("GRU"), shapes={"data": (2000, 1, WIDTH)})

    with pytest.raises(UsageError, match="RNN of 2000 steps"):
        model.check_translated()
