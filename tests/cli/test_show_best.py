"""`tophub show --best`: the best record of each workload, and its kernel."""

import json
import subprocess
import sys

import pytest

from tests.records.rows import row, text


def tophub(*arguments):
    command = [sys.executable, "-m", "tophub_registry.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def cuda_row():
    value = row(target="cuda -model=h100", task="dense_small_batch.gpu", costs=[1e-5])
    value["input"][2] = [["TENSOR", [1, 512], "float32"], ["TENSOR", [1000, 512], "float32"], None, "float32"]
    value["config"] = {"index": 6, "code_hash": None, "entity": [["tile_k", "sp", [-1, 64]]]}
    return json.dumps(value)


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "new.log"
    said = {"device": "AMD EPYC, 2 cores", "threads": 2, "peak_gflops": 500.0, "tuner": "tophub-registry 0.1.0 model"}
    rows = [
        text(costs=[2e-3], tile_ow=4, tophub=said),
        text(costs=[1.1e-3, 1.0e-3, 1.3e-3], tophub=said),
        text(costs=[1e9], error_no=4, tile_ow=7, tophub=said),
        text(costs=[5e-4], channels=128, tophub=said),
        cuda_row(),
        text(costs=[1e-3], task="conv2d_nchw_spatial_pack.arm_cpu"),
    ]
    path.write_text("".join(f"{line}\n" for line in rows))
    return path


def test_each_workload_has_its_best_config_its_time_its_speed_and_its_device(log):
    run = tophub("show", log, "--best")
    assert run.returncode == 0, run.stderr
    first, second, *_ = run.stdout.split("\n\n")
    assert first.splitlines() == [
        "1. conv2d_NCHWc.x86 1x64x56x56 64x64x3x3",
        "   target   llvm -mcpu=znver4",
        "   time     1.13 ms (1 ms to 1.3 ms, 3 repeats)",
        "   speed    204 GFLOPS, 40.8% of the device's peak",
        "   device   AMD EPYC, 2 cores, 2 threads",
        "   measured 2026-01-01 by tophub-registry 0.1.0 model; best of 3 trials, 1 failed",
        "   rank     claimed",
        "   config   193",
        "     tile_ic   [-1, 16]",
        "     tile_oc   [-1, 32]",
        "     tile_ow   [-1, 8]",
        "     unroll_kw true",
    ]
    assert second.startswith("2. conv2d_NCHWc.x86 1x128x56x56")


def test_tasks_are_chosen_by_number_or_by_a_part_of_their_name(log):
    assert [value["number"] for value in json.loads(tophub("show", log, "--only", 2, "--json").stdout)] == [2]
    assert [value["number"] for value in json.loads(tophub("show", log, "--task", "DENSE", "--json").stdout)] == [3]
    (value,) = json.loads(tophub("show", log, "--best", "--task", "64x64x3x3", "--only", 1, "--json").stdout)
    assert value["record"]["result"][0] == [1.1e-3, 1.0e-3, 1.3e-3]
    assert (value["best"], value["trials"], value["failures"]) == (pytest.approx(3.4e-3 / 3), 3, {"run-time error": 1})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "9"], "no task 9: they are numbered from 1 to 4"),
        (["--task", "lstm"], "no task's name contains 'lstm'"),
        (["--source", "--asm"], "--source and --asm exclude each other"),
    ],
)
def test_what_is_not_there_is_a_misuse(log, arguments, message):
    run = tophub("show", log, *arguments)
    assert (run.returncode, run.stdout) == (2, "")
    assert message in run.stderr


def test_a_log_can_not_steer_the_terminal(tmp_path):
    log = tmp_path / "new.log"
    log.write_text(text(tophub={"device": "\x1b[31mred\x1b[0m\nline"}) + "\n")
    assert "\x1b" not in (said := tophub("show", log, "--best").stdout)
    assert len(said.splitlines()) == 12


def test_the_kernel_is_asked_for_with_the_rest_and_a_task_without_a_template_has_none(log):
    pytest.importorskip("tvm", reason="needs the extra [tune]")
    run = tophub("show", log, "--source", "--json")
    assert run.returncode == 0
    kernels = [value.get("kernel", "") for value in json.loads(run.stdout)]
    assert ["T.parallel(" in kernel for kernel in kernels] == [True, True, False, False]
    assert kernels[2].startswith('extern "C" __global__')
    assert "no kernel for task 4: no template for the task" in run.stderr
