"""The public API: lazy, complete, and what its docstrings show is true."""

from __future__ import annotations

import doctest
import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

import tophub_registry as tophub
from tests.records.rows import row
from tophub_registry.records.log import read_records

IMAGE = (1, 3, 8, 8)
FUNCTIONS = [name for name in tophub.__all__ if inspect.isfunction(getattr(tophub, name))]


@pytest.fixture
def world(tmp_path, monkeypatch, registry):
    """The files that the examples speak of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TOPHUB_LOCATION", str(registry))
    rng = np.random.default_rng(0)
    weights = {
        "conv.weight": rng.standard_normal((8, 3, 3, 3)).astype("float32"),
        "dense.weight": rng.standard_normal((10, 8)).astype("float32"),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "conv.weight"], ["a"], pads=[1, 1, 1, 1]),
            helper.make_node("GlobalAveragePool", ["a"], ["b"]),
            helper.make_node("Flatten", ["b"], ["c"]),
            helper.make_node("Gemm", ["c", "dense.weight"], ["scores"], transB=1),
        ],
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    save(model, tmp_path / "model.onnx")
    task = tophub.extract("model.onnx").tasks[0]
    tiles = {"tile_ic": 3, "tile_oc": 8, "tile_ow": 8}
    config = [*([knob, "sp", [-1, size]] for knob, size in tiles.items()), ["unroll_kw", "ot", True]]
    mine = row(costs=[0.0001])
    mine["input"][1:3] = [task.task, task.args]
    mine["config"] |= {"entity": config, "index": 0}
    Path("mine.log").write_text(json.dumps(mine) + "\n")
    Path("old.log").write_text(json.dumps(row()) + "\n")
    Path("new.log").write_text(json.dumps(row(channels=32)) + "\n")
    return {"tophub": tophub, "image": rng.standard_normal(IMAGE).astype("float32")}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_examples_are_true(name, world):
    import tvm

    module = tophub.read_model("model.onnx").module
    names = {**world, "tvm": tvm, "module": module, "target": tvm.target.Target("llvm")}
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(getattr(tophub, name)) or "", names, name, None, 0)
    assert test.examples
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    said: list[str] = []
    runner.run(test, out=said.append)
    assert "".join(said) == ""


@pytest.mark.slow
@pytest.mark.usefixtures("world")
def test_tuning_uses_the_threads_that_are_asked_for(monkeypatch):
    monkeypatch.setenv("TVM_NUM_THREADS", "2")
    tophub.tune("model.onnx", "llvm", trials=1, log="tuned.log", threads=1)
    assert [record.tophub.threads for record in read_records(Path("tuned.log"))] == [1]


@pytest.mark.usefixtures("world")
def test_one_log_needs_no_list():
    (first, *_) = tophub.extract("model.onnx", "llvm").tasks
    for records in ("mine.log", Path("mine.log"), ["mine.log"]):
        answer = tophub.lookup("llvm -mcpu=znver4", first.task, first.args, records=records)
        assert (answer.source, answer.match) == ("mine.log", tophub.Match.DEVICE)


def test_importing_costs_nothing():
    code = "import sys, tophub_registry; print([m for m in ('numpy', 'tvm', 'pydantic', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_star_import_takes_what_is_installed():
    program = (
        "import sys\n"
        "for missing in sys.argv[1:]: sys.modules[missing] = None\n"
        "import tophub_registry\n"
        "from tophub_registry import *\n"
        "print(sorted(set(dir(tophub_registry)) - set(dir())), callable(fetch))\n"
        "try: tophub_registry.CompiledModel\n"
        "except ImportError as error: print(error.remedy)\n"
    )
    for missing, left_out in {"": [], "pebble": ["TaskOutcome"], "numpy": sorted(tophub._NEEDS)}.items():
        done = subprocess.run([sys.executable, "-c", program, missing], capture_output=True, text=True, check=True)
        shown, *remedy = done.stdout.splitlines()
        assert shown.endswith("True")
        assert [name for name in sorted(tophub._NEEDS) if name in shown] == left_out
        assert bool(remedy) == (missing == "numpy")


def test_what_is_public_is_listed_and_typed():
    assert set(tophub.__all__) <= set(dir(tophub))
    for name in FUNCTIONS:
        assert inspect.signature(getattr(tophub, name)).return_annotation is not inspect.Signature.empty
    for name in set(tophub.__all__) - {"__version__"}:
        assert getattr(tophub, name).__name__ == name
        assert inspect.getdoc(getattr(tophub, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tophub.nothing  # noqa: B018


def test_a_missing_extra_is_an_import_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match="onnx"):
        tophub.read_model("model.onnx")
