"""Whatever goes wrong, tuning goes on or ends clearly, the log says what happened, and --resume completes.

The rows of the log carry AutoTVM's error numbers (`MeasureErrorNo`) and what the compiler or the system said.
"""

import os
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")
pytest.importorskip("pebble", reason="needs the extra [tune]")

from tests.tuner.faulty import FAULTS, Faulty
from tests.tuner.servers import KEY, Servers
from tophub_registry.devices.device import resolve
from tophub_registry.errors import EnvironmentFailure
from tophub_registry.measurement.measure import Limits, Measurer
from tophub_registry.measurement.outcome import ErrorNo
from tophub_registry.records.log import read_records
from tophub_registry.records.task import Task, TaskFile, tensor
from tophub_registry.tuner import tune as tuning
from tophub_registry.tuner.tune import Plan, tune

LIMITS = Limits(build=3, run=3)

OF_A_CONFIG = {
    "none": (ErrorNo.NO_ERROR, None),
    "refused by the template": (ErrorNo.INSTANTIATION_ERROR, "this config makes no sense"),
    "rejected by the compiler": (ErrorNo.COMPILE_HOST, "not implemented"),
    "hangs in the compiler": (ErrorNo.BUILD_TIMEOUT, "building exceeded the time limit"),
    "hangs in the compiler, holding Python's lock": (ErrorNo.BUILD_TIMEOUT, "building exceeded the time limit"),
    "crashes the compiler": (ErrorNo.COMPILE_HOST, "building crashed: SIGSEGV"),
    "hangs at run time": (ErrorNo.RUN_TIMEOUT, "running exceeded the time limit"),
    "crashes at run time": (ErrorNo.RUNTIME_DEVICE, "running crashed: SIGABRT"),
    "exits at run time": (ErrorNo.RUNTIME_DEVICE, "running crashed: exit code 3"),
    "is killed at run time": (ErrorNo.RUNTIME_DEVICE, "running crashed: SIGKILL"),
    "computes something else": (ErrorNo.WRONG_ANSWER, "the output is off by 0.0"),
    "computes no numbers": (ErrorNo.WRONG_ANSWER, "contains NaN"),
}


@pytest.fixture(autouse=True)
def with_faults(monkeypatch):
    known = tuning.instantiate
    monkeypatch.setattr(
        tuning, "instantiate", lambda name, args: Faulty(args) if name == "faulty.test" else known(name, args)
    )


@pytest.fixture(scope="module")
def target():
    return resolve("llvm")


@pytest.fixture(scope="module")
def measurer(target):
    with Measurer(target, limits=LIMITS) as measurer:
        yield measurer


@pytest.fixture
def log(tmp_path):
    return tmp_path / "new.log"


def tune_all(faults, target, log, measurer, trials=1000):
    """Tune the task whose configs have these faults, from the beginning or from where its log ends."""
    task = Task(task="faulty.test", args=faults)
    (outcome,) = tune([task], target, log, measurer, Plan(trials=trials, batch=8, search="grid"), resume=True)
    return outcome


def logged(log):
    """Return the log's records by fault; none is there twice."""
    records = list(read_records(log))
    by_fault = {record.config.value("fault"): record for record in records}
    assert len(by_fault) == len(records)
    return by_fault


def sound(count):
    return [f"none, {number}" for number in range(count)]


@pytest.mark.slow
def test_of_a_config(measurer, target, log):
    # A sound config after each faulty one: the workers must have come back.
    faults = [fault for faulty in FAULTS for fault in (faulty, f"none, after: {faulty}")]
    tune_all(faults, target, log, measurer, trials=5)
    outcome = tune_all(faults, target, log, measurer)
    assert (outcome.trials, outcome.failed) == (2 * len(FAULTS), len(FAULTS) - 1)
    records = logged(log)
    assert records.keys() == set(faults)
    for fault, record in records.items():
        number, said = OF_A_CONFIG[fault.partition(",")[0] if fault.startswith("none") else fault]
        assert record.result.error_no == number, (fault, record.tophub)
        assert (record.result.costs == [1e9]) == (number != 0)
        message = (record.tophub.model_extra or {}).get("error")
        assert (message is None) if said is None else (said in message), message


def test_a_runner_that_is_killed_between_two_configs(measurer, target, log):
    tune_all(sound(4), target, log, measurer, trials=2)
    os.kill(measurer._device_workers[0]._workers.schedule(os.getpid, timeout=60).result(), signal.SIGKILL)
    tune_all(sound(4), target, log, measurer)
    assert {record.result.error_no for record in logged(log).values()} == {0}


@pytest.mark.slow
def test_devices_that_a_config_takes_with_it_and_a_last_one_that_disappears(target, log):
    for module in ("tornado", "cloudpickle"):
        pytest.importorskip(module, reason="TVM's tracker needs it")
    told = []
    faults = [*sound(3), "crashes at run time", "none, then", "hangs at run time", *sound(12)[3:]]
    with Servers(3) as servers:
        with Measurer(target, place=servers.place, workers=1, limits=LIMITS, tell=told.append) as measurer:
            tune_all(faults, target, log, measurer, trials=8)
            records = logged(log)
            assert records.keys() == set(faults[:8])
            assert {fault: record.result.error_no for fault, record in records.items() if record.result.error_no} == {
                "crashes at run time": ErrorNo.RUNTIME_DEVICE,
                "hangs at run time": ErrorNo.RUN_TIMEOUT,
            }
            assert records["crashes at run time"].tophub.model_extra["error"] == "2 devices were lost while running it"
            for _ in range(3):  # TVM's servers do not survive the first two
                servers.kill()
            with pytest.raises(EnvironmentFailure, match=rf"no device is left .*'{KEY}'.*rpc_server") as failure:
                tune_all(faults, target, log, measurer)
            assert failure.value.exit_code == 3
            assert any(sentence.startswith("waiting 3 s for a device to come back") for sentence in told)
            servers.start()
            servers.wait(1)
            tune_all(faults, target, log, measurer)
        records = logged(log)
        assert records.keys() == set(faults)
        assert sum(record.result.error_no != 0 for record in records.values()) == 2


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder on a file system of 64 KiB, of which all but one block is taken by the file `ballast`."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    (folder / "ballast").write_bytes(bytes(15 * 4096))
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_is_full_of_the_log(measurer, target, small_disk):
    log = small_disk / "new.log"
    with pytest.raises(EnvironmentFailure, match="No space left on device") as failure:
        tune_all(sound(24), target, log, measurer)
    assert failure.value.exit_code == 3
    before = logged(log)
    assert 2 < len(before) < 24
    (small_disk / "ballast").unlink()
    tune_all(sound(24), target, log, measurer)
    after = logged(log)
    assert len(after) == 24
    assert {fault: after[fault] for fault in before} == before


@pytest.mark.slow
def test_no_room_for_kernels_is_no_configs_fault(target, log, small_disk, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    (small_disk / "more").write_bytes(bytes(2048))
    with Measurer(target, limits=LIMITS) as measurer:
        with pytest.raises(EnvironmentFailure, match=r"can't write kernels: .*TMPDIR.*--resume") as failure:
            tune_all(sound(4), target, log, measurer)
        assert failure.value.exit_code == 3
        assert not logged(log)
        (small_disk / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
        tune_all(sound(4), target, log, measurer)
    assert {record.result.error_no for record in logged(log).values()} == {0}


@pytest.mark.slow
def test_ctrl_c(measurer, target, tmp_path, log):
    args = [tensor([1, 64]), tensor([36, 64]), None, "float32"]
    task = Task(task="dense_nopack.x86", args=args, layers=["dense0"])
    tasks = tmp_path / "tasks.json"
    TaskFile(model="tiny", kind="llvm", shapes={"data": [1, 64]}, tasks=[task]).write(tasks)
    options = ["--trials", "50", "--batch", "4", "--search", "grid", "-o", str(log)]
    # Where the tests run in the background, a shell may have them ignore SIGINT.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "tophub_registry.cli", "tune", str(tasks), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        while run.poll() is None and not (log.exists() and log.read_text().count("\n") > 2):
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGINT)  # as a terminal sends it: to the workers too
        said = run.stderr.read()
    assert run.returncode == 130, said
    measuring, interrupted = said.splitlines()
    assert measuring.startswith("tophub: measuring on ")
    assert "--resume" in interrupted
    before = [record.config.index for record in read_records(log)]
    assert len(before) > 2
    tune([task], target, log, measurer, Plan(trials=50, search="grid"), resume=True)
    indices = [record.config.index for record in read_records(log)]
    assert indices[: len(before)] == before
    assert len(indices) == len(set(indices)) == 50
