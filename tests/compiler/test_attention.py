"""Transformers on a processor: products of activations, normalization and softmax compute what ONNX does."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("tvm", reason="needs the extra [compile]")
pytest.importorskip("onnx", reason="needs the extra [onnx]")

from tests.frontends.nets import Net
from tophub_registry.compiler.compiler import compile_model
from tophub_registry.frontends import read_model
from tophub_registry.records.lookup import Match
from tophub_registry.tasks.layers import MatrixProducts
from tophub_registry.templates.registry import instantiate


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
    products = [layer for layer in compiled.layers if isinstance(layer.layer, MatrixProducts)]
    assert [layer.kernel.template.task for layer in products] == ["batch_matmul_tiled.x86"] * 2


def test_records_of_products_are_used(tmp_path):
    net, output = attention(17, 48, 3)
    model = read_model(net.model(output))
    log = tmp_path / "log"
    for task in model.tasks("llvm", own=True).tasks:
        if task.task.startswith("batch_matmul"):
            config = instantiate(task.task, task.args).space.config(1)
            row = {
                "input": ["llvm -mcpu=x86-64-v3", task.task, task.args, {}],
                "config": {"index": 1, "code_hash": None, "entity": [list(knob) for knob in config.entity]},
                "result": [[1e-9 if task.task == "batch_matmul.x86" else 1e-3], 0, 0.1, 1e9],
                "version": 0.2,
                "tvm_version": "0.16.0",
            }
            with log.open("a") as rows:
                rows.write(json.dumps(row) + "\n")

    compiled = compile_model(model, "llvm -mcpu=x86-64-v3", records=[log])

    products = [layer for layer in compiled.layers if isinstance(layer.layer, MatrixProducts)]
    assert [(layer.kernel.template.task, layer.match) for layer in products] == [("batch_matmul.x86", Match.DEVICE)] * 2
    inputs = model.random_inputs()
    np.testing.assert_allclose(compiled.run(*inputs)[0], model.reference(*inputs)[0], atol=1e-5)


@pytest.mark.parametrize("place", [1, -1])
def test_what_is_taken_at_one_index_is_read_where_it_lies(place):
    net = Net((3, 50, 40))
    net.weights["place"] = np.array(place, "int64")
    model = read_model(net.model(net.add("Relu", net.add("Gather", "x", "place", axis=0))))
    compiled = compile_model(model, "llvm", records=[])
    assert [kernel.calls for kernel in compiled.profile()] == [1]
    inputs = model.random_inputs()
    np.testing.assert_array_equal(compiled.run(*inputs)[0], model.reference(*inputs)[0])
