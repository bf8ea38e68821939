"""`tophub misses`: what compiling a model adds to it, and what becomes of that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")

import numpy as np
import tvm
from tvm import relax

import tophub_registry as tophub
from tests.records.rows import record
from tophub_registry.cli.tasks_argument import tasks_of
from tophub_registry.devices.device import resolve
from tophub_registry.records.log import write_log
from tophub_registry.records.task import TaskFile
from tophub_registry.templates.registry import instantiate


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root of its own, and a model in `model.json`: two equal convolutions and a dense layer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TOPHUB_LOCATION", "NONE")
    monkeypatch.setenv("TVM_NUM_THREADS", "1")
    monkeypatch.delenv("TOPHUB_MISSES", raising=False)
    rng = np.random.default_rng(0)
    kernel, weight = (rng.standard_normal(shape).astype("float32") for shape in ((16, 16, 3, 3), (16, 10)))
    x = relax.Var("x", relax.TensorType((1, 16, 14, 14), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            image = builder.emit(relax.op.nn.relu(relax.op.nn.conv2d(x, relax.const(kernel), padding=1)))
            image = builder.emit(relax.op.nn.relu(relax.op.nn.conv2d(image, relax.const(kernel), padding=1)))
            mean = builder.emit(relax.op.mean(image, [2, 3]))
            scores = builder.emit_output(relax.op.matmul(mean, relax.const(weight)))
        builder.emit_func_output(scores)
    Path("model.json").write_text(tvm.ir.save_json(builder.get()))
    return tmp_path


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tophub_registry.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def kept() -> dict[str, int]:
    return {miss["task"]: miss["count"] for miss in json.loads(run("misses", "--json").stdout)["misses"]}


def test_compiling_writes_nothing_by_default(home: Path) -> None:
    tophub.compile("model.json", "llvm")
    assert not (home / ".tvm").exists()
    told = run("misses")
    assert (told.returncode, told.stdout) == (0, "no misses; misses are not kept: `tophub misses --on`\n")
    assert not (home / ".tvm").exists()


@pytest.mark.slow
def test_misses_are_counted_written_as_tasks_and_gone_once_they_have_records(home: Path) -> None:
    assert run("misses", "--on").stdout == "misses are kept\n"
    compiled = run("compile", "model.json", "-o", "model.so")
    assert (compiled.returncode, "misses" in compiled.stderr) == (0, False), compiled.stderr
    tophub.compile("model.json", "llvm")
    counts = kept()
    assert counts["conv2d_NCHWc.x86"] == 4  # two layers, compiled twice
    assert counts["dense_nopack.x86"] == 2
    told = run("misses")
    assert "conv2d_NCHWc.x86 1x16x14x14 16x16x3x3" in told.stdout

    told = run("misses", "-o", "tasks.json")
    assert "tophub tune tasks.json --target llvm" in told.stdout
    tasks = TaskFile.read("tasks.json")
    assert {task.task: task.count for task in tasks.tasks} == counts
    assert run("misses", "-o", "tasks.json").returncode == 2  # it exists
    assert tasks_of("tasks.json", "llvm") == tasks  # as `tophub tune` reads it
    here = resolve("llvm")
    records = []
    for task in tasks.tasks:
        if task.task in ("conv2d_NCHWc.x86", "dense_nopack.x86"):
            like = record(target=str(here), task=task.task)
            config = instantiate(task.task, task.args).default(here)
            records.append(like.model_copy(update={"input": like.input._replace(args=task.args), "config": config}))
    write_log(home / ".tvm" / "tophub" / "own" / "llvm.log", records)

    assert run("misses", "--clear").stdout == "all misses are forgotten; from now on misses are kept\n"
    tophub.compile("model.json", "llvm")
    assert kept() == {}


@pytest.mark.slow
def test_logs_that_are_given_and_the_variable_switch_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    run("misses", "--on")
    Path("empty.log").write_text("# nothing\n")
    tophub.compile("model.json", "llvm", records=["empty.log"])
    assert kept() == {}
    monkeypatch.setenv("TOPHUB_MISSES", "0")
    tophub.compile("model.json", "llvm")
    assert kept() == {}


@pytest.mark.slow
def test_what_can_not_be_kept_is_a_note_and_compiling_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TOPHUB_MISSES", "maybe")
    told = run("compile", "model.json", "-o", "model.so")
    assert told.returncode == 0
    assert "misses are not kept: $TOPHUB_MISSES is 'maybe' (it can be 1 or 0)" in told.stderr
    tophub.compile("model.json", "llvm")
    assert "misses are not kept" in caplog.text


def test_options_that_exclude_each_other_are_one_error() -> None:
    told = run("misses", "--on", "--clear")
    assert told.returncode == 2
    assert len(told.stderr.splitlines()) == 1
    told = run("misses", "-o", "tasks.json", "--json")
    assert told.returncode == 2
    assert "no misses are kept" in json.loads(told.stdout)["error"]["message"]


def test_an_environment_that_says_otherwise_is_told() -> None:
    told = run("misses", "--on", TOPHUB_MISSES="0")
    assert told.stdout == "misses are not kept\n"
    assert "TOPHUB_MISSES=0 in the environment comes first" in told.stderr
