"""Whole models compile for a processor and for a GPU, agree with MXNet, and leave nothing slow."""

from __future__ import annotations

import importlib.util

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import tirx
from tvm.ir.instrument import pass_instrument

from tests.compiler.agreement import assert_close, noise
from tests.compiler.writes import writes
from tests.conftest import some
from tests.frontends.mxnet import insightface
from tests.gpu.cuda_on_cpu import run_module
from tophub_registry.compiler.compiler import CompiledModel, compile_model
from tophub_registry.frontends import Model, read_model
from tophub_registry.records.lookup import Match

pytestmark = pytest.mark.slow

NATIVE, AVX2 = "llvm", "llvm -mcpu=x86-64-v3"
"""This machine's own code, and code that any processor with AVX2 runs."""

H100 = "cuda -model=h100 -arch=sm_90"
SMALL = {"data": (1, 3, 64, 64)}
MODELS = {
    "cifar_resnet20_v1": None,
    "resnet18_v1": None,
    "resnet50_v1": None,
    "mobilenet1.0": None,
    "mobilenetv2_1.0": SMALL,
    "squeezenet1.0": None,
    "se_resnext50_32x4d": SMALL,
    "densenet121": None,
    "inceptionv3": None,
    "vgg16": SMALL,
    "ssd_512_resnet50_v1_voc": None,
    "insightface": {"data": (1, 3, 112, 112)},
}
"""The models and the shapes of their inputs; None is the usual one, for which there are records or no smaller does."""

RECORDED = {"cifar_resnet20_v1", "resnet18_v1", "resnet50_v1", "mobilenet1.0", "ssd_512_resnet50_v1_voc"}
"""Those whose layers all have records in our packages."""

RUN_AS_CUDA = [
    "cifar_resnet20_v1",
    "mobilenetv2_1.0",
    "se_resnext50_32x4d",
    "insightface",
]
"""Those whose code for a GPU is run here too: small ones with plain, depthwise and grouped convolutions."""

LARGE = 4096
"""Writes that are worth several cores, and vectors."""

WARP = 32
"""Threads of a GPU that run together."""


@dataclass(frozen=True)
class Built:
    """A compiled model, and its functions as they were scheduled."""

    model: CompiledModel
    module: tvm.IRModule


@pass_instrument
class Scheduled:
    """Keeps the module that the last scheduling left."""

    module: Any = None

    def run_after_pass(self, module: Any, info: Any) -> None:
        if info.name == "ApplyDefaultSchedule":
            self.module = module


def build(model: Model, target: str, package: str, registry: Path) -> Built:
    seen = Scheduled()
    newest = max(registry.glob(f"{package}_v*.log"))
    with tvm.transform.PassContext(instruments=[seen]):
        compiled = compile_model(model, target, records=[newest])
    return Built(compiled, seen.module)


@pytest.fixture(scope="module", params=some(list(MODELS), 2))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def model(name, tmp_path_factory):
    """Import a model, once for all its tests."""
    shapes = MODELS[name]
    if name == "insightface":
        saved = insightface.checkpoint(tmp_path_factory.mktemp(name), shapes, channels=(32, 32, 64, 128), embedding=128)
        return read_model(saved, shapes=shapes)
    return read_model(name, shapes=shapes)


@pytest.fixture(scope="module", params=[NATIVE, AVX2], ids=["native", "AVX2"])
def on_processor(model, registry, request):
    return build(model, request.param, "llvm", registry)


@pytest.fixture(scope="module")
def on_gpu(model, registry):
    return build(model, H100, "cuda", registry)


@pytest.mark.slow
def test_it_computes_what_mxnet_computes(name, model, on_processor):
    inputs = noise(model) if name != "insightface" else insightface.images(MODELS[name])

    ours, theirs = on_processor.model.run(*inputs), model.reference(*inputs)

    assert_close(ours, theirs)
    if name.startswith("ssd"):
        np.testing.assert_array_equal(ours[0], theirs[0])
        assert (theirs[0] >= 0).sum() > 10


def test_on_a_processor_no_large_loop_is_serial_or_takes_one_number_at_a_time(on_processor):
    large = [write for write in writes(on_processor.module) if write.times >= LARGE]

    assert [write for write in large if not write.is_in("parallel")] == []
    # In the kernel of a layer it is the record that says which loop is a vector.
    others = [write for write in large if "conv2d" not in write.function and "dense" not in write.function]
    assert [write for write in others if write.along("vector") == 1] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", some(RUN_AS_CUDA, 1), indirect=True)
def test_its_code_for_a_gpu_computes_the_same(name, model, on_gpu):
    inputs = noise(model) if name != "insightface" else insightface.images(MODELS[name])

    ours, theirs = run_module(on_gpu.module, inputs), model.reference(*inputs)

    assert_close(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("model_name", some(["cifar_resnet20_v1", "mobilenetv2_1.0"], 1))
@pytest.mark.parametrize(("precision", "error"), some([("float16", 2e-3), ("tf32", 2e-3), ("3xtf32", 2e-6)], 1))
def test_on_tensor_cores_it_computes_the_same_as_exactly_as_promised(precision, model_name, error):
    model = read_model(model_name, shapes=MODELS[model_name])
    compiled = compile_model(model, H100, records=[], precision=precision)
    tasks = {layer.kernel.template.task for layer in compiled.layers}
    inputs = model.random_inputs()

    (ours,), (theirs,) = run_module(compiled.scheduled.module, inputs), model.reference(*inputs)

    assert f"conv2d_nchw_mma_{precision}.cuda" in tasks
    assert np.abs(ours - theirs).max() < error * np.abs(theirs).max()


@pytest.mark.slow
def test_on_a_gpu_every_kernel_is_bound_to_threads(on_gpu):
    """That no other code touches the device's memory is TVM's to refuse, when it compiles."""
    functions = {
        each.name_hint: function
        for each, function in on_gpu.module.functions_items()
        if isinstance(function, tirx.PrimFunc)
    }
    assert [each for each, function in functions.items() if not function.attrs.get("tirx.is_scheduled")] == []
    for write in writes(on_gpu.module):
        assert write.is_in("blockIdx.x"), write
        output = functions[write.function].params[-1]
        if write.buffer == output.name:
            size = np.prod([int(extent) for extent in output.shape])
            assert write.along("blockIdx") * write.along("threadIdx") >= min(WARP, size), write
            assert size < LARGE or write.along("threadIdx") > 1, f"one thread in a block of its own: {write}"


def test_every_layer_has_a_kernel_and_records_are_found_for_a_processor(name, on_processor):
    """For one of another family they are evidence at least."""
    assert all(layer.kernel is not None for layer in on_processor.model.layers)
    if name in RECORDED:
        assert all(layer.recorded or layer.kernel.evidence is not None for layer in on_processor.model.layers)


def test_every_layer_has_a_kernel_and_records_are_used_for_a_gpu(name, on_gpu):
    assert all(layer.kernel is not None for layer in on_gpu.model.layers)
    if name in RECORDED:
        others = [layer for layer in on_gpu.model.layers if layer.kernel.instead_of is None]
        assert min(layer.match for layer in others) > Match.FALLBACK  # of the rest a default is expected to beat them
