"""OpenVINO and ncnn compute in float32 what a model does, and say what they can't compute."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

if not all(map(importlib.util.find_spec, ("tvm", "onnx", "onnxruntime"))):
    pytest.skip("TVM, onnx and ONNX Runtime are not all installed", allow_module_level=True)

import tvm
from tvm import relax

from tests.bench.test_operators import model_of
from tophub_registry.bench import comparison
from tophub_registry.bench.agreement import difference
from tophub_registry.bench.comparison import default_peers
from tophub_registry.bench.job import Job
from tophub_registry.bench.ncnn_model import ncnn_model, pnnx_program
from tophub_registry.bench.onnx_model import onnx_model
from tophub_registry.bench.peer import Peer
from tophub_registry.bench.prepared import Prepared, prepare, read_arrays
from tophub_registry.bench.relax_network import network_of
from tophub_registry.errors import EnvironmentFailure, UsageError

MODULES = {"openvino": ("openvino",), "ncnn": ("ncnn", "pnnx")}
SMALL_ERROR = 1e-4  # bfloat16 and float16 are at least ten times worse


@pytest.fixture(params=MODULES)
def framework(request):
    if not all(map(importlib.util.find_spec, MODULES[request.param])):
        pytest.skip(f"needs {request.param}: pip install '.[bench]'")
    return request.param


def loaded(framework, prepared: Prepared, folder, *, target="llvm"):
    """Return a framework's outputs and its note."""
    Job(str(prepared.folder), target, [], 1).write(folder)
    peer = Peer(framework, folder, 1)
    try:
        _, note = peer.load(600)
        assert len(peer.seconds(3)) == 3
    finally:
        peer.close()
    return read_arrays(folder / f"{framework}.npz"), note


def convolutions(builder, image):
    """A deep network, in which small errors would add up, after a pooling whose last padding no window reads."""
    pool = {"pool_size": (3, 3), "strides": (2, 2), "padding": (1, 1, 0, 0)}
    image = builder.emit(relax.op.nn.max_pool2d(image, **pool))
    random = np.random.default_rng(0)
    for channels in (3, *[16] * 11):
        weight = random.normal(0, (2 / (9 * channels)) ** 0.5, (16, channels, 3, 3)).astype("float32")
        image = builder.emit(relax.op.nn.relu(builder.emit(relax.op.nn.conv2d(image, relax.const(weight), padding=1))))
    return relax.op.mean(image, [2, 3])


@pytest.fixture(scope="module")
def onnx_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    (folder / "deep.onnx").write_bytes(onnx_model(network_of(model_of(convolutions, (1, 3, 48, 48)).module)))
    return prepare(str(folder / "deep.onnx"), folder / "prepared")


@pytest.fixture(scope="module")
def translated(tmp_path_factory):
    """A network that is translated to ONNX."""
    folder = tmp_path_factory.mktemp("relax")
    module = model_of(convolutions, (1, 3, 48, 48)).module
    (folder / "deep.json").write_text(tvm.ir.save_json(module), encoding="utf-8")
    return prepare(str(folder / "deep.json"), folder / "prepared")


def test_an_onnx_file_is_computed_alike(framework, onnx_folder, tmp_path):
    outputs, note = loaded(framework, onnx_folder, tmp_path)
    assert difference(outputs, onnx_folder.references()) < SMALL_ERROR
    assert note.startswith("float32")


def test_a_translated_network_is_computed_in_float32(framework, translated, tmp_path):
    outputs, _ = loaded(framework, translated, tmp_path)
    assert difference(outputs, translated.references()) < SMALL_ERROR


def test_a_gpu_is_refused(framework, onnx_folder, tmp_path):
    with pytest.raises(EnvironmentFailure, match="is compared on CPUs only"):
        loaded(framework, onnx_folder, tmp_path, target="cuda")


def test_what_pnnx_can_not_translate_is_named(tmp_path):
    if not all(map(importlib.util.find_spec, MODULES["ncnn"])):
        pytest.skip("needs ncnn: pip install '.[bench]'")
    model = model_of(
        lambda b, x: relax.op.where(b.emit(relax.op.less(x, relax.const(0.5))), x, relax.op.exp(x)), (1, 9)
    )
    with pytest.raises(UsageError, match=r"ncnn has no layer for .*where"):
        ncnn_model(onnx_model(network_of(model.module)), pnnx_program(), tmp_path)
    with pytest.raises(UsageError, match="pnnx can't translate this model: exit code"):
        ncnn_model(b"nothing", pnnx_program(), tmp_path)


def test_what_is_not_installed_is_named(framework, onnx_folder, tmp_path, monkeypatch):
    """A module that fails to import stands for one that is not there."""
    (tmp_path / "hidden").mkdir()
    for module in MODULES[framework][:1]:
        (tmp_path / "hidden" / f"{module}.py").write_text(f"raise ModuleNotFoundError(name={module!r})\n")
    path = str(tmp_path / "hidden")
    monkeypatch.setenv("PYTHONPATH", path, prepend=":")
    with pytest.raises(EnvironmentFailure, match=rf"needs the extra \[bench\]: '{framework}' is not installed"):
        loaded(framework, onnx_folder, tmp_path)


def test_by_default_those_are_chosen_that_can_read_the_model(onnx_folder, translated, monkeypatch):
    everything = ["onnxruntime", "openvino", "ncnn", "pytorch"]
    none = "no-records"
    assert default_peers(onnx_folder, everything) == [none, *everything]
    assert default_peers(onnx_folder, everything, target="cuda -model=h100") == [none, "onnxruntime", "pytorch"]
    assert default_peers(replace(onnx_folder, untranslated="no"), everything) == [none, *everything[:3]]
    assert default_peers(replace(translated, untranslated="no"), everything) == [none, "tvm"]
    monkeypatch.setattr(comparison, "find_spec", lambda _: None)
    assert default_peers(translated, ["ncnn"]) == [none, "tvm", "ncnn"]
