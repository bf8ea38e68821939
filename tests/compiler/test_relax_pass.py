"""Records inside one's own Relax pipeline: the same outputs and signatures, kernels that later passes leave alone."""

from __future__ import annotations

import json
import logging
import random

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.relax.frontend import nn

import tophub_registry as tophub
from tests.compiler.random_logs import random_log
from tophub_registry.devices.processor import processor
from tophub_registry.frontends import read_model


class Network(nn.Module):
    """What TVM's own `nn` makes of a network: its weights are parameters, those of linear layers transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2D(3, 8, 3, padding=1)
        self.linear = nn.Linear(8, 10)

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        image = nn.op.relu(self.conv(x))
        return self.linear(nn.op.reshape(nn.op.sum(image, [2, 3]), (1, 8)))


@pytest.fixture(scope="module")
def exported():
    module, params = Network().export_tvm({"forward": {"x": nn.spec.Tensor((1, 3, 8, 8), "float32")}})
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal([*map(int, param.shape)]).astype("float32") for _, param in params]
    return module, [rng.standard_normal((1, 3, 8, 8)).astype("float32"), *arrays]


def run(module, *arrays, name="main", **how):
    target = tvm.target.Target({"kind": "llvm", "mcpu": processor()})
    with target:
        executable = tvm.compile(module, target, **how)
    outputs = relax.VirtualMachine(executable, tvm.cpu())[name](*map(tvm.runtime.tensor, arrays))
    return (outputs if hasattr(outputs, "numpy") else outputs[0]).numpy()


def test_weights_that_are_parameters_stay_so(exported, caplog):
    module, arrays = exported
    expected = run(module, *arrays, name="forward")

    with caplog.at_level(logging.INFO, "tophub_registry"):
        applied = tophub.apply_records(module, "llvm", records=[])

    assert [param.name for param in applied["forward"].params] == [param.name for param in module["forward"].params]
    assert [record.getMessage().split(",")[0] for record in caplog.records] == [
        "conv: conv2d_NCHWc.x86",
        "linear: dense_nopack.x86",
    ]
    np.testing.assert_allclose(run(applied, *arrays, name="forward"), expected, rtol=1e-4, atol=1e-5)


def test_parameters_can_be_lifted_out_afterwards(exported):
    module, _ = exported
    applied = tophub.apply_records(module, "llvm", records=[])
    lifted = relax.transform.LiftTransformParams()(applied)
    assert "forward_transform_params" in {name.name_hint for name in lifted.get_global_vars()}


@pytest.mark.parametrize("passes", [[], [relax.get_pipeline("zero")]], ids=["default", "zero"])
def test_pipelines_of_tvm_leave_the_kernels_as_they_are(tmp_path, passes):
    model = read_model("cifar_resnet20_v1")
    log = tmp_path / "mine.log"
    random_log(model, f"llvm -mcpu={processor()}", random.Random(0), log)
    applied = tophub.apply_records(model.module, "llvm", records=[log])
    image = model.random_inputs()
    for each in passes:
        applied = each(applied)
    np.testing.assert_allclose(run(applied, *image), model.reference(*image)[0], rtol=1e-3, atol=1e-4)


def test_the_pipeline_is_one_for_tvm_compile(tmp_path):
    model = read_model("cifar_resnet20_v1")
    log = tmp_path / "mine.log"
    rows = random_log(model, f"llvm -mcpu={processor()}", random.Random(1), log)
    assert rows == len({json.dumps(json.loads(line)["input"]) for line in log.read_text().splitlines()})
    image = model.random_inputs()
    result = run(model.module, *image, relax_pipeline=tophub.pipeline("llvm", records=[log]))
    np.testing.assert_allclose(result, model.reference(*image)[0], rtol=1e-3, atol=1e-4)


def test_functions_with_branches_or_open_sizes_stay_as_they_are():
    from tvm import tirx

    size = tirx.Var("n", "int64")
    x = relax.Var("x", relax.TensorType((size, 4), "float32"))
    weight = np.random.default_rng(0).standard_normal((4, 5)).astype("float32")
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            product = builder.emit(relax.op.matmul(x, relax.const(weight)))
            result = builder.emit_output(relax.op.nn.relu(product))
        builder.emit_func_output(result)
    applied = tophub.apply_records(builder.get(), "llvm", records=[])
    rows = np.random.default_rng(1).standard_normal((3, 4)).astype("float32")
    np.testing.assert_allclose(run(applied, rows), np.maximum(rows @ weight, 0), rtol=1e-5, atol=1e-6)


def test_functions_that_call_each_other_still_do():
    x, y = (relax.Var(name, relax.TensorType((2, 4), "float32")) for name in "xy")
    rng = np.random.default_rng(0)
    first, second = (rng.standard_normal((4, 4)).astype("float32") for _ in range(2))
    builder = relax.BlockBuilder()
    with builder.function("part", [y], private=True):
        with builder.dataflow():
            result = builder.emit_output(relax.op.matmul(y, relax.const(first)))
        builder.emit_func_output(result)
    part = builder.get().get_global_var("part")
    with builder.function("main", [x]):
        with builder.dataflow():
            inner = builder.emit(relax.Call(part, [x]))
            result = builder.emit_output(relax.op.matmul(inner, relax.const(second)))
        builder.emit_func_output(result)
    rows = rng.standard_normal((2, 4)).astype("float32")
    applied = tophub.apply_records(builder.get(), "llvm", records=[])
    np.testing.assert_allclose(run(applied, rows), rows @ first @ second, rtol=1e-4, atol=1e-5)


def test_a_module_that_was_legalized_before_is_told(caplog):
    model = read_model("cifar_resnet20_v1")
    tophub.apply_records(relax.transform.LegalizeOps()(model.module), "llvm", records=[])
    assert "apply_records must come before LegalizeOps" in caplog.text
