"""Networks of the kinds that MXNet's users bring agree with MXNet when compiled, and tuning covers all that they do."""

from __future__ import annotations

import importlib.util
import random

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

import numpy as np

from tests.conftest import some
from tests.frontends.mxnet.users import detection, pictures, recognition, sequences
from tophub_registry.compiler.compiler import compile_model
from tophub_registry.frontends import read_model
from tophub_registry.frontends.mxnet import libraries
from tophub_registry.tasks.layers import Other

KINDS = [*recognition.KINDS, *detection.KINDS, *pictures.KINDS, *sequences.KINDS]
SEEDS = 3
NETWORKS = [(kind, seed) for seed in range(SEEDS) for kind in KINDS]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:NTC layout detected")
@pytest.mark.parametrize(("kind", "seed"), some(NETWORKS, 9), ids=lambda each: getattr(each, "__name__", str(each)))
def test_a_network_agrees_with_mxnet(kind, seed, tmp_path):
    mx = libraries.mxnet()
    with mx.name.NameManager():
        network = kind(mx.sym, random.Random(seed))
    generator = np.random.default_rng(seed)
    network.output.save(str(tmp_path / "net-symbol.json"))
    weights = {name: mx.nd.array(array) for name, array in network.weights(generator).items()}
    mx.nd.save(str(tmp_path / "net-0000.params"), weights)

    model = read_model(tmp_path / "net-symbol.json", shapes=network.shapes)
    assert not model.untranslated
    assert not [layer for layer in model.layers if isinstance(layer, Other) and layer.operator != "conv3d_transpose"]
    inputs = [network.inputs(generator)[name] for name in model.inputs]
    theirs = model.reference(*inputs)
    ours = compile_model(model, "llvm", records=[]).run(*inputs)
    for mine, expected in zip(ours, theirs, strict=True):
        assert expected.size == 1 or expected.std() > 0
        np.testing.assert_allclose(mine, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
