"""`tophub bench` as a user types it: every framework in its own process, the same answers, a table, files."""

import importlib.util
import json
import subprocess
import sys

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

from tophub_registry.bench import instructions
from tophub_registry.bench.comparison import PEERS, Comparison, FrameworkResult
from tophub_registry.bench.job import Job
from tophub_registry.bench.peer import Peer
from tophub_registry.devices.device import resolve
from tophub_registry.errors import EnvironmentFailure
from tophub_registry.records.families import FAMILIES, family_of


def tophub(*arguments):
    command = [sys.executable, "-m", "tophub_registry.cli", "bench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_model_is_timed_in_turns_and_what_is_not_installed_stops_nobody(registry, tmp_path):
    table, chart = tmp_path / "table.json", tmp_path / "chart.html"
    run = tophub(
        "cifar_resnet20_v1", "--against", "gluoncv,onnxruntime,pytorch,openvino,ncnn", "--rounds", 2, "--threads", 1,
        "--log", registry / "llvm_v0.05.log", "-o", table, "-o", chart,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    said = json.loads(table.read_text())
    assert (said["model"], said["threads"], said["bind_threads"]) == ("cifar_resnet20_v1", 1, True)
    rows = {row["framework"]: row for row in said["frameworks"]}
    assert [*rows] == ["tophub", "gluoncv", "onnxruntime", "pytorch", "openvino", "ncnn"]
    assert rows["tophub"]["ratio"] == 1
    for name in ("tophub", "gluoncv"):
        assert rows[name]["agrees"]
        assert len(rows[name]["times"]) == 2
        assert rows[name]["median"] > 0
    peers = {"onnxruntime": "onnx", "pytorch": "torch", "openvino": "bench", "ncnn": "bench"}
    for name, extra in peers.items():
        package = {"pytorch": "torch"}.get(name, name)
        if importlib.util.find_spec(package) is None:
            assert f"needs the extra [{extra}]" in rows[name]["failure"]
            assert f"{name}: {rows[name]['failure']}" in run.stdout
        else:
            assert rows[name]["agrees"]
    assert "; 1 thread each, " in run.stdout
    assert "TVM_BIND_THREADS=1" in run.stdout
    assert "gluoncv" in chart.read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["resnet18_v1", "--against", "caffe"],
            2,
            "no such framework: caffe (known: no-records, gluoncv, pytorch, onnxruntime, openvino, ncnn, tvm, ",
        ),
        (["resnet18_v1", "--python", "pytorch"], 2, "is not FRAMEWORK=PATH"),
        (["resnet18_v1", "--against", "metaschedule"], 2, "give its folder with --database"),
        (["resnet18_v1", "--prepare", "folder", "--log", "new.log"], 2, "--prepare only writes the model"),
        (["resnet18_v1", "-o", "table.csv"], 2, "table.csv: neither .json nor .html"),
        (["resnet18_v1", "-o", "{there}"], 2, "already exists"),
        (["resnet18_v1", "--target", "llvm -mcpu=diamondrapids"], 3, "it lacks"),
    ],
)
def test_what_can_not_be_done_is_said_before_anything_is_measured(arguments, code, message, tmp_path):
    there = tmp_path / "there.json"
    there.touch()
    run = tophub(*(argument.format(there=there) for argument in arguments))
    assert (run.returncode, run.stdout) == (code, "")
    assert message in run.stderr


def test_a_framework_that_ends_says_why(tmp_path):
    Job(str(tmp_path), "llvm", None, 1).write(tmp_path)
    peer = Peer("tophub", tmp_path, 1)
    with pytest.raises(EnvironmentFailure, match="no prepared model"):
        peer.load(60)
    peer.close()


@pytest.mark.slow
def test_a_model_is_written_once_and_measured_where_mxnet_is_not(registry, tmp_path):
    folder, table = tmp_path / "cifar", tmp_path / "table.json"
    done = tophub("cifar_resnet20_v1", "--prepare", folder)
    assert (done.returncode, "the weights are random" in done.stderr) == (0, True)
    again = tophub("cifar_resnet20_v1", "--prepare", folder)
    assert (again.returncode, "already exists" in again.stderr) == (2, True)
    without_mxnet = "import sys; sys.modules['mxnet'] = None; from tophub_registry.cli import main; main()"
    command = [sys.executable, "-c", without_mxnet, "bench", folder, "--against", "tvm", "--rounds", 1]
    command += ["--threads", 1, "--log", registry / "llvm_v0.05.log", "-o", table]
    run = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "the weights are random" in run.stderr
    rows = {row["framework"]: row for row in json.loads(table.read_text())["frameworks"]}
    assert rows["tophub"]["agrees"]
    assert rows["tvm"]["agrees"]


@pytest.mark.slow
def test_frameworks_use_the_instructions_of_a_lesser_processor_or_say_that_they_do_not(registry, tmp_path):
    own = family_of(resolve("llvm"))
    lesser, table = FAMILIES[FAMILIES.index(own) - 1], tmp_path / "table.json"
    run = tophub(
        "cifar_resnet20_v1", "--processor", lesser, "--against", "no-records,gluoncv,onnxruntime", "--rounds", 1,
        "--threads", 1, "--log", registry / "llvm_v0.09.log", "-o", table,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    notes = {row["framework"]: row["note"] for row in json.loads(table.read_text())["frameworks"]}
    assert "restricted" not in notes["no-records"]
    assert notes["gluoncv"] == instructions.note("gluoncv", lesser)
    assert notes["onnxruntime"] == f"not restricted to {lesser}"


@pytest.mark.slow
def test_a_log_without_records_for_the_model_fails_alone(registry, tmp_path):
    """The row of the log fails; the one without records, which needs none, does not."""
    log, table = registry / "cuda_v0.11.log", tmp_path / "table.json"
    run = tophub(
        "cifar_resnet20_v1", "--against", "no-records", "--rounds", 2, "--threads", 1, "--log", log, "-o", table
    )  # fmt: skip
    assert run.returncode == 3
    assert "no record for any layer of this model" in run.stderr
    ours, bare = json.loads(table.read_text())["frameworks"]
    assert (ours["median"], bare["framework"], bare["failure"], bare["agrees"]) == (None, "no-records", None, True)
    assert len(bare["times"]) == 2
    assert bare["note"].startswith("0 of ")


def test_a_folder_without_a_model_is_named(tmp_path):
    run = tophub(tmp_path)
    assert run.returncode == 1
    assert f"{tmp_path}: no prepared model" in run.stderr


def test_a_framework_that_is_never_ready_is_ended(tmp_path):
    sleeper = tmp_path / "python"
    sleeper.write_text("#!/bin/sh\nexec sleep 60\n")
    sleeper.chmod(0o755)
    peer = Peer("pytorch", tmp_path, 1, str(sleeper))
    with pytest.raises(EnvironmentFailure, match="pytorch ended: no answer in 0 s"):
        peer.load(0.2)
    peer.close()


def test_an_interpreter_that_is_not_there_is_named(tmp_path):
    with pytest.raises(EnvironmentFailure, match="nowhere/python: can't be started"):
        Peer("pytorch", tmp_path, 1, "nowhere/python")


def test_ratios_are_of_times_in_the_same_round():
    ours, theirs = FrameworkResult("tophub", times=(1.0, 2.0, 4.0)), FrameworkResult("tvm", times=(2.0, 4.0))
    comparison = Comparison(
        "m", "llvm", "cpu", 1, bind_threads=True, rows=(ours, theirs, FrameworkResult("pytorch", failure="no"))
    )
    assert [comparison.ratio(row) for row in comparison.rows] == [1.0, 2.0, None]


def test_the_peers_are_known():
    assert set(PEERS) == {
        "no-records", "gluoncv", "pytorch", "onnxruntime", "openvino", "ncnn", "tvm", "metaschedule", "pytorch-compile"
    }  # fmt: skip


@pytest.mark.slow
def test_an_onnx_model_is_held_against_onnx_runtime(tmp_path):
    import onnx

    from tests.frontends.nets import random_net

    path, table = tmp_path / "small.onnx", tmp_path / "table.json"
    onnx.save(random_net(3), path)
    run = tophub(path, "--rounds", 1, "--threads", 1, "-o", table)
    assert run.returncode == 0, run.stderr
    rows = {row["framework"]: row for row in json.loads(table.read_text())["frameworks"]}
    assert rows.keys() >= {"tophub", "no-records", "onnxruntime"}
    assert rows["tophub"]["agrees"]
    assert rows["no-records"]["agrees"]
    assert rows["onnxruntime"]["agrees"]
    assert "random" not in run.stderr
