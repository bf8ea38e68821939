"""Products of matrices, constant or computed, in batches or not, are layers, and compute what ONNX does."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

pytest.importorskip("tvm", reason="needs the extra [compile]")
pytest.importorskip("onnx", reason="needs the extra [onnx]")

from tests.conftest import some
from tests.frontends.nets import Net
from tests.gpu.cuda_on_cpu import run_modules
from tophub_registry.compiler.compiler import compile_model
from tophub_registry.frontends import Model, read_model
from tophub_registry.tasks.layers import Dense, MatrixProducts, Other
from tophub_registry.tasks.rules import workloads

GPU = "cuda -model=h100 -arch=sm_90"
PRODUCTS = {
    # What is multiplied: shapes, a capital for a constant. Then the layer, and the shapes of its factors.
    "two matrices": ((5, 3), (3, 4), "", Dense, (5, 3), (4, 3)),
    "two larger matrices": ((16, 32), (32, 24), "", Dense, (16, 32), (24, 32)),
    "a constant and a matrix": ((5, 3), (3, 4), "A", Dense, (5, 3), (4, 3)),
    "a constant and matrices": ((5, 3), (2, 3, 4), "A", Dense, (8, 3), (5, 3)),
    "a constant with a batch of one and matrices": ((1, 5, 3), (2, 2, 3, 4), "A", Dense, (16, 3), (5, 3)),
    "a matrix and matrices": ((5, 3), (2, 3, 4), "", Dense, (8, 3), (5, 3)),
    "constants and matrices": ((2, 5, 3), (2, 3, 4), "A", MatrixProducts, (2, 5, 3), (2, 4, 3)),
    "matrices and a constant": ((2, 6, 5, 3), (3, 4), "B", Dense, (60, 3), (4, 3)),
    "matrices and a constant with a batch of one": ((2, 5, 3), (1, 3, 4), "B", Dense, (10, 3), (4, 3)),
    "matrices and a matrix": ((2, 5, 3), (3, 4), "", Dense, (10, 3), (4, 3)),
    "matrices and constants": ((2, 5, 3), (2, 3, 4), "B", MatrixProducts, (2, 5, 3), (2, 4, 3)),
    "a batch of one by another": ((1, 5, 3), (1, 3, 4), "", MatrixProducts, (1, 5, 3), (1, 4, 3)),
    "batches that broadcast": ((2, 1, 5, 3), (6, 3, 4), "", MatrixProducts, (12, 5, 3), (12, 4, 3)),
    "batches that broadcast both ways": ((2, 1, 5, 3), (1, 2, 3, 4), "", MatrixProducts, (4, 5, 3), (4, 4, 3)),
    "constants that broadcast": ((2, 1, 5, 3), (3, 3, 4), "B", MatrixProducts, (6, 5, 3), (6, 4, 3)),
}


def product(name: str) -> Model:
    """Return a network that multiplies two constants or parts of its input."""
    first, second, known, *_ = PRODUCTS[name]
    net = Net((prod(first) * ("A" not in known) + prod(second) * ("B" not in known),))
    factors, begin = [], 0
    for letter, shape in zip("AB", (first, second), strict=True):
        if letter in known:
            factors.append(net.weight(*shape))
            continue
        part = net.add("Slice", "x", net.ints(begin), net.ints(begin + prod(shape)), net.ints(0))
        factors.append(net.add("Relu", net.add("Reshape", part, net.ints(*shape))))
        begin += prod(shape)
    return read_model(net.model(net.add("Tanh", net.add("MatMul", *factors))))


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_is_a_layer_and_computes_what_onnx_does(name):
    *_, kind, data, weight = PRODUCTS[name]
    model = product(name)
    (layer,) = model.layers
    assert (type(layer), layer.data, layer.weight) == (kind, data, weight)
    assert workloads(layer, "llvm")
    inputs = model.random_inputs()
    compiled = compile_model(model, "llvm", records=[])
    np.testing.assert_allclose(compiled.run(*inputs)[0], model.reference(*inputs)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", some(["float32", "tf32", "float16"], 1))
def test_their_code_for_a_gpu_agrees_too(precision):
    names = some([*PRODUCTS], 3) if precision == "float32" else ["two larger matrices", "a constant and matrices"]
    models = [product(name) for name in names]
    inputs = [model.random_inputs() for model in models]
    modules = [compile_model(model, GPU, records=[], precision=precision).scheduled.module for model in models]
    for model, given, outputs in zip(models, inputs, run_modules(list(zip(modules, inputs, strict=True))), strict=True):
        np.testing.assert_allclose(
            outputs[0], model.reference(*given)[0], atol=1e-5 if precision == "float32" else 1e-2
        )


def test_a_vector_is_no_matrix():
    net = Net((5, 3))
    model = read_model(net.model(net.add("MatMul", "x", net.add("ReduceSum", "x", net.ints(0), keepdims=0))))
    assert [type(layer) for layer in model.layers] == [Other]
