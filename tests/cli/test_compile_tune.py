"""`tophub compile --tune`: tuned once, used from then on, and interrupted without a loss."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")

import numpy as np
import tvm
from tvm import relax

import tophub_registry as tophub
from tophub_registry.compiler.compiler import CompiledModel
from tophub_registry.records.log import read_records


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root of its own, and a model in `model.json`: a convolution, an activation and a dense layer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TOPHUB_LOCATION", "NONE")
    rng = np.random.default_rng(0)
    kernel, weight = (rng.standard_normal(shape).astype("float32") for shape in ((32, 16, 3, 3), (32, 10)))
    x = relax.Var("x", relax.TensorType((1, 16, 14, 14), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            image = builder.emit(relax.op.nn.relu(relax.op.nn.conv2d(x, relax.const(kernel), padding=1)))
            mean = builder.emit(relax.op.mean(image, [2, 3]))
            scores = builder.emit_output(relax.op.matmul(mean, relax.const(weight)))
        builder.emit_func_output(scores)
    Path("model.json").write_text(tvm.ir.save_json(builder.get()))
    return tmp_path


def own_log(home: Path) -> Path:
    return home / ".tvm" / "tophub" / "own" / "llvm.log"


def compiled(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tophub_registry.cli", "compile", "model.json", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def configs(model: CompiledModel) -> list[str]:
    return [repr(layer.kernel and (layer.kernel.template.task, layer.kernel.config)) for layer in model.layers]


@pytest.mark.slow
def test_the_second_time_measures_nothing_and_gives_the_same_kernels(home: Path) -> None:
    image = np.random.default_rng(1).standard_normal((1, 16, 14, 14)).astype("float32")
    (before,) = tophub.compile("model.json").run(image)
    tuned = tophub.compile("model.json", tune="24")
    rows = own_log(home).read_bytes()
    assert sum(1 for _ in read_records(own_log(home))) == 24
    np.testing.assert_allclose(tuned.run(image)[0], before, rtol=1e-4, atol=1e-5)
    for again in (tophub.compile("model.json", tune="24"), tophub.compile("model.json")):
        assert configs(again) == configs(tuned)
    assert own_log(home).read_bytes() == rows


@pytest.mark.slow
def test_the_command_says_what_tuning_gave_and_keeps_to_its_time(home: Path) -> None:
    assert "tophub compile model.json --target 'llvm" in (told := compiled().stdout)
    assert "-o model.so --force --tune 3m\n" in told
    began = time.monotonic()
    done = compiled("--tune", "3s", "--force")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 90
    assert "tophub: model.so is written; a run takes " in done.stderr
    assert all(line.startswith("tophub: ") for line in done.stderr.splitlines()), done.stderr
    trials = sum(1 for _ in read_records(own_log(home)))
    kept = f"{trials} configs were measured, and are kept in {own_log(home)}. Whole runs, timed in turns, took "
    assert kept in done.stdout
    assert "--tune" not in done.stdout
    tuned = json.loads(compiled("--tune", "3s", "--force", "--json").stdout)["tuned"]
    assert tuned == {"log": str(own_log(home)), "trials": 0, "before": None, "after": None}


@pytest.mark.slow
def test_ctrl_c_keeps_the_library_and_what_was_measured(home: Path) -> None:
    temporary = home / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-m", "tophub_registry.cli", "compile", "model.json", "--tune", "1h"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(temporary)}, **pipes)
    while not (own_log(home).exists() and own_log(home).read_bytes().count(b"\n") > 9):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    last = (
        "tophub: interrupted; what was measured is kept, and the same command goes on; model.so is the model as it was"
    )
    assert said.splitlines()[-1] == f"{last} before"
    assert Path("model.so").stat().st_size > 10_000
    assert list(temporary.iterdir()) == []
    rows = sum(1 for _ in read_records(own_log(home)))
    done = compiled("--tune", str(rows + 3), "--force")
    assert "3 configs were measured" in done.stdout


@pytest.mark.parametrize("arguments", [("--tune", "soon"), ("--tune", "-1"), ("--tune", "3m", "--log", "a.log")])
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...]) -> None:
    done = compiled(*arguments)
    assert done.returncode == 2
    assert "--tune takes" in done.stderr or "neither a time nor a number of trials" in done.stderr
    assert not Path("model.so").exists()
