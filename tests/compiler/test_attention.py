"""Transformers on a processor: products of activations, normalization and softmax compute what ONNX does."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tvm", reason="needs the extra [compile]")
pytest.importorskip("onnx", reason="needs the extra [onnx]")

from tests.frontends.nets import Net
from tophub_registry.compiler.compiler import compile_model
from tophub_registry.frontends import read_model
from tophub_registry.tasks.layers import BatchMatmul


def attention(rows: int, width: int, heads: int) -> tuple[Net, str]:
    """Return a net of one layer of self-attention, normalized and multiplied by its error function, and its output."""
    net = Net((1, rows, width))
    size = width // heads
    split = net.ints(1, rows, heads, size)

    def head(*axes: int) -> str:
        projected = net.add("MatMul", "x", net.weight(width, width))
        return net.add("Transpose", net.add("Reshape", projected, split), perm=list(axes))

    scores = net.add("MatMul", head(0, 2, 1, 3), head(0, 2, 3, 1))
    values = net.add("MatMul", net.add("Softmax", scores, axis=-1), head(0, 2, 1, 3))
    merged = net.add("Reshape", net.add("Transpose", values, perm=[0, 2, 1, 3]), net.ints(1, rows, width))
    normal = net.add("LayerNormalization", merged, net.weight(width), net.weight(width), axis=-1)
    return net, net.add("Mul", normal, net.add("Erf", normal))


@pytest.mark.parametrize("target", ["llvm -mcpu=x86-64-v3", "llvm"])
@pytest.mark.parametrize(("rows", "width", "heads"), [(16, 64, 2), (17, 48, 3), (1, 32, 4), (37, 30, 2)])
def test_attention_computes_what_onnx_does(rows, width, heads, target):
    net, output = attention(rows, width, heads)
    model = read_model(net.model(output))
    compiled = compile_model(model, target, records=[])
    inputs = model.random_inputs()
    np.testing.assert_allclose(compiled.run(*inputs)[0], model.reference(*inputs)[0], atol=1e-5)
    products = [layer for layer in compiled.layers if isinstance(layer.layer, BatchMatmul)]
    assert [layer.kernel.template.task for layer in products] == ["batch_matmul_tiled.x86"] * 2
