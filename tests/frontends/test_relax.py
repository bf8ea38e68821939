"""Relax modules: in memory and saved, their weights constants, parameters or in the function's own attribute."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax, tirx

from tophub_registry.compiler.compiler import compile_model
from tophub_registry.errors import InputError, UsageError
from tophub_registry.frontends import read_model

RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_normal((8, 3, 3, 3)).astype("float32")
ROWS = RNG.standard_normal((8, 5)).astype("float32")


def module(*, bound=True, batch=1, carried=False):
    """A convolution and a dense layer, its weight transposed as PyTorch's."""
    x = relax.Var("x", relax.TensorType((batch, 3, 8, 8), "float32"))
    weights = [relax.Var("stem.weight", relax.TensorType(WEIGHT.shape, "float32"))]
    weights.append(relax.Var("head.weight", relax.TensorType(ROWS.T.shape, "float32")))
    builder = relax.BlockBuilder()
    stem, head = (relax.const(WEIGHT), relax.const(ROWS.T.copy())) if bound else weights
    with builder.function("main", [x] if bound else [x, *weights], attrs={"num_input": 1}):
        with builder.dataflow():
            image = builder.emit(relax.op.nn.relu(relax.op.nn.conv2d(x, stem, padding=1)))
            rows = builder.emit(relax.op.mean(image, [2, 3]))
            result = builder.emit_output(relax.op.matmul(rows, relax.op.permute_dims(head)))
        builder.emit_func_output(result)
    found = builder.get()
    if carried:
        arrays = [tvm.runtime.tensor(array) for array in (WEIGHT, ROWS.T.copy())]
        found["main"] = found["main"].with_attr("params", arrays)
    return found


def expected(image):
    model = read_model(module())
    return model.reference(image)[0]


IMAGE = RNG.standard_normal((1, 3, 8, 8)).astype("float32")


@pytest.mark.parametrize("carried", [False, True], ids=["constants", "carried"])
def test_a_module_computes_what_tvm_does(carried):
    model = read_model(module(bound=not carried, carried=carried))
    assert [layer.operator for layer in model.layers] == ["convolution", "dense layer"]
    assert list(model.inputs) == ["x"]
    (output,) = compile_model(model, "llvm", records=[]).run(IMAGE)
    np.testing.assert_allclose(output, expected(IMAGE), rtol=1e-4, atol=1e-5)


def test_weights_that_stay_parameters_are_inputs():
    model = read_model(module(bound=False))
    assert [*model.inputs] == ["x", "stem.weight", "head.weight"]
    assert [layer.name for layer in model.layers] == ["stem", "head"]
    (output,) = compile_model(model, "llvm", records=[]).run(IMAGE, WEIGHT, ROWS.T)
    np.testing.assert_allclose(output, expected(IMAGE), rtol=1e-4, atol=1e-5)


def test_weights_from_a_file(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, **{"stem.weight": WEIGHT, "head.weight": ROWS.T})
    model = read_model(module(bound=False), params=path)
    assert [*model.inputs] == ["x"]
    (output,) = compile_model(model, "llvm", records=[]).run(IMAGE)
    np.testing.assert_allclose(output, expected(IMAGE), rtol=1e-4, atol=1e-5)


def test_a_saved_module_has_the_same_tasks(tmp_path):
    path = tmp_path / "module.json"
    path.write_text(tvm.ir.save_json(module()))
    assert read_model(path).tasks("cuda").tasks == read_model(module()).tasks("cuda").tasks


def test_symbolic_sizes_are_fixed():
    size = tirx.Var("n", "int64")
    assert read_model(module(batch=size), batch=2).inputs["x"][0] == (2, 3, 8, 8)
    assert read_model(module(batch=size), shapes={"x": (5, 3, 8, 8)}).inputs["x"][0] == (5, 3, 8, 8)


def test_images_that_count_channels_last_have_the_same_tasks():
    x = relax.Var("x", relax.TensorType((1, 8, 8, 3), "float32"))
    kernel = WEIGHT.transpose(2, 3, 1, 0).copy()
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            image = relax.op.nn.conv2d(x, relax.const(kernel), padding=1, data_layout="NHWC", kernel_layout="HWIO")
            pooled = relax.op.nn.max_pool2d(relax.op.nn.relu(builder.emit(image)), (2, 2), (2, 2), layout="NHWC")
            result = builder.emit_output(relax.op.mean(builder.emit(pooled), [1, 2]))
        builder.emit_func_output(result)
    model = read_model(builder.get())
    assert model.layers[0].data == (1, 3, 8, 8)
    image = IMAGE.transpose(0, 2, 3, 1).copy()
    (output,) = compile_model(model, "llvm", records=[]).run(image)
    np.testing.assert_allclose(output, model.reference(image)[0], rtol=1e-4, atol=1e-5)


def test_a_module_without_main():
    found = module()
    with pytest.raises(UsageError, match="no Relax function 'main'"):
        read_model(tvm.IRModule({tvm.ir.GlobalVar("other"): found["main"]}))


@pytest.mark.parametrize("text", ['{"root_index":0,"nodes":[]}', '{"root_index":1,"nodes":[{"type":"None"}'])
def test_a_file_that_is_no_module(tmp_path, text):
    path = tmp_path / "module.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"module.json: "):
        read_model(path)
