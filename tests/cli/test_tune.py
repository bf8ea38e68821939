"""`tophub tune` as a user types it; killed at random moments, it goes on without measuring anything twice."""

import json
import subprocess
import sys

import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")

from tests.killing import kill_at_random_moments
from tests.screen import screen_after
from tophub_registry.cli import main, tasks_argument, tune
from tophub_registry.devices.device import at_hand
from tophub_registry.devices.threads import VARIABLES, thread_count
from tophub_registry.errors import UsageError
from tophub_registry.records.log import read_records
from tophub_registry.records.task import Task, TaskFile, tensor

TRIALS = 24


@pytest.fixture
def tophub(capsys, monkeypatch):
    """Return a function that runs a command in this process, which has TVM imported already."""
    monkeypatch.setenv(VARIABLES[0], "1")  # restores it afterwards, whatever --threads has set
    monkeypatch.delenv(VARIABLES[0])

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, arguments)))
        return subprocess.CompletedProcess(arguments, ended.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture
def tasks(tmp_path):
    path = tmp_path / "tasks.json"
    args = [tensor([1, 64]), tensor([36, 64]), None, "float32"]
    task = Task(task="dense_nopack.x86", args=args, layers=["dense0"])
    TaskFile(model="tiny", kind="llvm", shapes={"data": [1, 64]}, tasks=[task]).write(path)
    return path


def test_a_file_of_tasks_has_its_own_precision(tmp_path):
    path = tmp_path / "tasks.json"
    TaskFile(model="tiny", kind="cuda", shapes={}, tasks=[]).write(path)
    with pytest.raises(UsageError, match="already has its precision"):
        tasks_argument.tasks_of(str(path), "cuda", precision="tf32")


@pytest.mark.slow
def test_a_file_of_tasks_is_tuned_and_its_gain_shown(tasks, tmp_path, tophub):
    log = tmp_path / "new.log"
    run = tophub("tune", tasks, "--trials", 6, "-o", log, "--json")
    assert run.returncode == 0, run.stderr
    assert f"tophub: measuring on {at_hand('llvm').where}\n" in run.stderr
    threads = {record.tophub.threads for record in read_records(log)}
    assert threads == {thread_count()}
    (outcome,) = json.loads(run.stdout)
    assert outcome["trials"] == 6
    assert outcome["best"] <= outcome["default"]
    (started,) = {record.tophub.started for record in read_records(log)}
    assert all(0 < record.result.timestamp - started < 60 for record in read_records(log))
    gain = tophub("gain", tasks, "--log", log, "--json", "--rounds", 3, "--threads", 1)
    assert gain.returncode == 0, gain.stderr
    said = json.loads(gain.stdout)
    assert said["threads"] == 1
    assert said["after"] > 0
    assert said["tasks"][0]["tuned"] > 0


@pytest.mark.slow
def test_a_pipe_gets_a_line_of_progress_now_and_then(tasks, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tune, "_EVERY", 0)
    with pytest.raises(SystemExit):
        main(["tune", str(tasks), "--total-trials", "6", "-o", str(tmp_path / "new.log")])
    told = capsys.readouterr()
    lines = [line for line in told.err.splitlines() if "configs measured" in line]
    assert lines[0] == "tophub: task 1/1, 0 of 6 configs measured"
    assert lines[-1].startswith("tophub: task 1/1, 6 of 6 configs measured")
    assert lines[-1].endswith("about 0 min left")
    assert told.out.startswith("6 records of 1 task for")


@pytest.mark.slow
def test_the_bars_are_gone_when_tuning_is_done(tasks, tmp_path):
    command = [sys.executable, "-m", "tophub_registry.cli", "tune", tasks, "--trials", "4", "-o", tmp_path / "new.log"]
    lines = screen_after(command, columns=300)
    *results, whole, successor = lines
    assert [line.split()[0] for line in results] == ["tophub:", "task", "4"]
    assert "is not a whole model" in whole
    assert successor.startswith("tophub: next:")


@pytest.mark.slow
def test_only_autotvms_templates_where_that_is_wanted(tmp_path, tophub):
    tensors = tensor([1, 8, 6, 6]), tensor([8, 8, 3, 3])
    args = [*tensors, [1, 1], [1, 1, 1, 1], [1, 1], "NCHW", "NCHW", "float32"]
    names = "conv2d_NCHWc_winograd.x86", "conv2d_NCHWc.x86"
    tasks = [Task(task=name, args=args, layers=["conv0"]) for name in names]
    path = tmp_path / "tasks.json"
    TaskFile(model="tiny", kind="llvm", shapes={}, tasks=tasks).write(path)
    options = "--trials", 1, "--threads", 1, "-o", tmp_path / "new.log", "--json"
    run = tophub("tune", path, *options, "--autotvm-only")
    assert [each["task"] for each in json.loads(run.stdout)] == ["conv2d_NCHWc.x86"]
    run = tophub("tune", path, *options, "--resume", "--own-templates")
    assert [each["task"] for each in json.loads(run.stdout)] == ["conv2d_NCHWc.x86", "conv2d_NCHWc_winograd.x86"]
    run = tophub("tune", path, *options, "--resume", "--autotvm-only", "--only", 2)
    assert (run.returncode, "no tasks to tune" in run.stdout) == (2, True)
    assert {record.tophub.threads for record in read_records(tmp_path / "new.log")} == {1}


@pytest.mark.slow
def test_tasks_that_got_no_trials_are_named_and_what_reaches_them(tmp_path, tophub):
    path, log = tmp_path / "tasks.json", tmp_path / "new.log"
    shapes = [(tensor([1, 64]), tensor([units, 64])) for units in (8, 16, 36)]
    tasks = [Task(task="dense_nopack.x86", args=[*each, None, "float32"], layers=[str(each)]) for each in shapes]
    TaskFile(model="tiny", kind="llvm", shapes={}, tasks=tasks).write(path)
    run = tophub("tune", path, "--total-trials", 5, "--batch", 3, "-o", log)
    told = "1 of 3 tasks got no trials: dense_nopack.x86 1x64 8x64; --resume --total-trials 9 reaches all"
    assert (run.returncode, told in run.stderr) == (0, True), run.stderr
    assert "tasks.json is not a whole model to compare the best configs in: `tophub tune MODEL" in run.stderr
    run = tophub("tune", path, "--batch", 3, "-o", log, "--resume", "--total-trials", 9, "--json")
    assert [each["trials"] for each in json.loads(run.stdout)] == [3, 3, 3]
    assert "got no trials" not in run.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing.json"], 1, "no such file"),
        (["resnet19_v1"], 2, "resnet19_v1"),
        (["{tasks}", "--target", "fpga"], 2, "fpga"),
        (["{tasks}", "--target", "llvm -mcpu=diamondrapids"], 3, "it lacks"),
        (["{tasks}", "--search", "luck"], 2, "luck"),
        (["{tasks}", "--only", "7"], 2, "no task 7"),
        (["{tasks}", "--where", "tile_z=3"], 2, "tile_x, tile_y"),
        (["{tasks}", "--threads", "100000"], 2, "can't use 100000 threads"),
        (
            ["{tasks}", "--threads", "1", "--rpc-tracker", "localhost:1", "--rpc-key", "cpu"],
            2,
            "--threads has no effect on other machines (start their servers with TVM_NUM_THREADS)",
        ),
        (["{tasks}", "--resume", "-o", "{tasks}"], 1, "tasks.json:1"),
    ],
)
def test_bad_input_gives_one_error_its_exit_code_and_changes_nothing(arguments, code, message, tasks, tmp_path, tophub):
    before = tasks.read_bytes()
    output = [] if "-o" in arguments else ["-o", tmp_path / "new.log"]
    run = tophub("tune", *(word.format(tasks=tasks) for word in arguments), *output)
    assert run.returncode == code, run.stderr
    assert message in run.stderr
    assert run.stderr.count("tophub: error:") == 1
    assert "Traceback" not in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tasks.json"]
    assert tasks.read_bytes() == before


@pytest.mark.slow
def test_killed_at_random_moments_it_resumes_without_measuring_a_config_twice(tasks, tmp_path, exhaustive, tophub):
    log = tmp_path / "new.log"
    command = ["tune", tasks, "--trials", TRIALS, "--batch", 4, "--search", "random", "-o", log, "--resume"]

    def measured():
        if not log.exists():
            return []
        # What was cut short in the middle of a row has no end of line yet.
        whole = tmp_path / "whole.log"
        whole.write_bytes(log.read_bytes().rpartition(b"\n")[0])
        return [record.config.index for record in read_records(whole)]

    def check():
        indices = measured()
        assert len(indices) == len(set(indices)) <= TRIALS

    def start_over_when_done():
        if len(measured()) == TRIALS:
            log.unlink()

    times = 15 if exhaustive else 4
    imports = ["tvm", "pebble", "xgboost", "tophub_registry.tuner.tune"]
    kills = kill_at_random_moments(command, check, times=times, before=start_over_when_done, imports=imports)
    assert kills.killed >= times // 3
    assert tophub(*command).returncode == 0
    assert len(measured()) == TRIALS
    check()
