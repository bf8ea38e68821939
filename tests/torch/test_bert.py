"""BERT with 128 tokens, from PyTorch and from ONNX: templates cover all of its products, and it computes the same."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.torch.bert import Bert  # noqa: E402
from tophub_registry.compiler.compiler import compile_model  # noqa: E402
from tophub_registry.frontends import read_model  # noqa: E402
from tophub_registry.tasks.layers import Dense, MatrixProducts  # noqa: E402
from tophub_registry.tasks.rules import workloads  # noqa: E402

LAYERS, WIDTH, HEADS, ROWS = 2, 64, 4, 128


def inputs():
    generator = np.random.default_rng(0)
    counts = (np.arange(ROWS) < 100).astype("int64")[None]
    return generator.integers(0, 500, (1, ROWS)), counts, generator.integers(0, 2, (1, ROWS))


@pytest.fixture(scope="module", params=["products", "one operator"])
def network(request):
    """Return BERT with its attention in this form."""
    torch.manual_seed(0)
    return Bert(LAYERS, WIDTH, HEADS, fused=request.param == "one operator").eval()


@pytest.fixture(scope="module", params=["torch.export", "ONNX"])
def model(request, network, tmp_path_factory):
    example = tuple(map(torch.from_numpy, inputs()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if request.param == "torch.export":
            return read_model(torch.export.export(network, example))
        file = tmp_path_factory.mktemp("models") / "bert.onnx"
        torch.onnx.export(network, example, file, dynamo=True, verbose=False)
        return read_model(file)


def test_templates_cover_every_product(model):
    assert not model.untranslated
    assert Counter(type(layer) for layer in model.layers) == {Dense: 6 * LAYERS + 1, MatrixProducts: 2 * LAYERS}
    products = [(layer.data, layer.weight) for layer in model.layers if isinstance(layer, MatrixProducts)]
    depth = WIDTH // HEADS
    scores, values = ((HEADS, ROWS, depth), (HEADS, ROWS, depth)), ((HEADS, ROWS, ROWS), (HEADS, depth, ROWS))
    assert products == [scores, values] * LAYERS
    for kind in ("llvm", "cuda"):
        assert all(workloads(layer, kind) for layer in model.layers)


def test_it_computes_what_pytorch_does(model, network):
    with torch.inference_mode():
        expected = [output.numpy() for output in network(*map(torch.from_numpy, inputs()))]
    compiled = compile_model(model, "llvm", records=[])
    for outputs in (compiled.run(*inputs()), model.reference(*inputs())):
        for mine, theirs in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
