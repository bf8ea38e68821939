"""Kernels get all the physical cores that the process may use, unless the user says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterable
from pathlib import Path

import pytest

from tophub_registry.cli import main
from tophub_registry.devices import processor, threads
from tophub_registry.devices.processor import physical_cores
from tophub_registry.devices.threads import BINDING, VARIABLES, bound, run_with, settle_threads, thread_count
from tophub_registry.errors import UsageError


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*VARIABLES, BINDING):
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)
    monkeypatch.setattr(threads, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)


def machine(monkeypatch: pytest.MonkeyPatch, folder: Path, cores: list[str], affinity: set[int]) -> None:
    """Make this a machine with these cores, each a list of CPUs, and the process one with an affinity."""
    monkeypatch.setattr(processor, "_CPUS", folder)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: affinity)
    for core in cores:
        for cpu in core.split(","):
            topology = folder / f"cpu{cpu}" / "topology"
            topology.mkdir(parents=True)
            (topology / "core_cpus_list").write_text(f"{core}\n")
            (topology / "thread_siblings_list").write_text(f"{core}\n")


def test_it_is_the_physical_cores_unless_tvms_variables_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert thread_count() == physical_cores()
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert thread_count() == 3
    monkeypatch.setenv("TVM_NUM_THREADS", "5")
    assert thread_count() == 5
    monkeypatch.setenv("TVM_NUM_THREADS", "9")
    assert thread_count() == 8  # TVM uses no more threads than there are CPUs
    monkeypatch.setenv("TVM_NUM_THREADS", " ")
    assert thread_count() == 3, "an empty one is not set"
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    assert thread_count() == 4, "OpenMP's outermost level"


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("text", ["0", "many", "-2", "2.5", "2 threads", "9" * 5000, ",2"])
def test_what_is_no_number_of_threads_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(name, text)
    for ask in (thread_count, settle_threads):
        with pytest.raises(
            UsageError, match=f"{name}={text[:40]}…? in the environment is not .* .`unset {name}`, or set it"
        ):
            ask()
    assert settle_threads(2) == 2, "an argument comes first"


@pytest.mark.parametrize("command", ["compile", "bench", "tune -o new.log", "gain -l new.log"])
def test_a_command_says_so_before_its_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setenv("TVM_NUM_THREADS", "abc")
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "no-such-model"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("tophub: error: TVM_NUM_THREADS=abc in the environment is not")


@pytest.mark.parametrize(
    ("cores", "affinity", "count", "binds"),
    [
        (["0,4", "1,5", "2,6", "3,7"], range(8), 4, True),  # second threads after all first ones
        (["0,1", "2,3", "4,5", "6,7"], range(8), 4, False),  # TVM would bind two threads to a core
        (["0,4", "1,5", "2,6", "3,7"], {0, 4, 1}, 2, True),
        (["0,4", "1,5", "2,6", "3,7"], {2, 3}, 2, False),  # TVM would bind threads to CPUs 0 and 1
        (["0,1", "2", "3"], range(4), 3, False),  # a hybrid processor
        (["0", "1"], range(2), 2, True),  # a virtual machine that shows no hyperthreads
        ([], range(3), 3, True),  # Linux does not list cores
    ],
)
def test_hyperthreads_of_a_core_count_once_and_threads_are_bound_only_to_cores_of_their_own(
    cores: list[str], affinity: Iterable[int], count: int, binds: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine(monkeypatch, tmp_path, cores, set(affinity))
    assert (settle_threads(), bound()) == (count, binds)


def test_the_older_name_of_the_list_of_a_core_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, tmp_path, ["0,2", "1,3"], {0, 1, 2, 3})
    for path in tmp_path.glob("*/topology/core_cpus_list"):
        path.unlink()
    assert thread_count() == 2


def test_the_users_own_binding_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, tmp_path, ["0,1", "2,3"], {0, 1, 2, 3})
    monkeypatch.setenv(BINDING, "1")
    settle_threads()
    assert bound()


@pytest.mark.parametrize(
    ("quota", "most"), [("max 100000", 1 << 20), ("100000 100000", 1), ("20000 100000", 1), ("", 1 << 20)]
)
def test_a_containers_quota_counts(quota: str, most: int, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert thread_count() == min(most, physical_cores())


def test_settling_tells_tvm_and_what_is_started_from_here_and_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert settle_threads() == 7
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert settle_threads() == 7
    assert os.environ["TVM_NUM_THREADS"] == "7"


def test_a_number_that_is_given_counts_more_than_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_NUM_THREADS", "5")
    assert settle_threads(2) == 2
    assert os.environ["TVM_NUM_THREADS"] == "2"
    for nonsense in (0, -1, 9):
        with pytest.raises(UsageError, match=rf"can't use {nonsense} threads .choose 1 to 8: this machine's CPUs"):
            settle_threads(nonsense)


def test_a_thread_pool_that_has_another_size_is_told() -> None:
    """TVM starts a pool for each thread that runs loops; one thread needs none."""
    tvm = pytest.importorskip("tvm", reason="needs the extra [compile]")
    cores = physical_cores()
    seen: list[list[str]] = []

    def run() -> None:
        settle_threads(1)
        tvm.runtime.num_threads()  # starts the pool
        for count in (1, cores + 1):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                run_with(count)
            seen.append([str(warning.message) for warning in caught])

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen[0] == []
    (message,) = seen[1]
    assert message.startswith(f"TVM runs this model on 1 thread, not {cores + 1}: its thread pool has already started")
    assert message.endswith(f"Set TVM_NUM_THREADS={cores + 1} before Python starts.")


@pytest.mark.slow
@pytest.mark.skipif(physical_cores() < 2, reason="with one core it is one thread in any case")
@pytest.mark.parametrize(
    ("variables", "asked", "started", "taken"),
    [
        ({}, None, False, physical_cores()),
        ({"TVM_NUM_THREADS": "1"}, None, False, 1),
        ({"TVM_NUM_THREADS": "1"}, 2, False, 2),
        ({"TVM_NUM_THREADS": "1"}, 2, True, 1),
    ],
)
def test_a_compiled_model_runs_on_them_or_says_that_it_can_not(
    variables: dict[str, str], asked: int | None, started: bool, taken: int, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx", reason="needs the extra [onnx]")
    from tests.frontends.nets import random_net

    onnx.save(random_net(0), tmp_path / "model.onnx")
    program = [
        "import tophub_registry as tophub, tvm",
        "tvm.runtime.num_threads()" if started else "",
        f"model = tophub.compile('model.onnx', records=[], threads={asked})",
        "model.run(*model.model.random_inputs())",
        "print(model.threads, tvm.runtime.num_threads())",
    ]
    env = {name: text for name, text in os.environ.items() if name not in VARIABLES} | variables
    command = [sys.executable, "-c", "\n".join(program)]
    run = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout.split() == [str(asked or taken), str(taken)]
    warned = f"<string>:4: RuntimeWarning: TVM runs this model on {taken} thread, not {asked}: "
    assert (warned in run.stderr) == started
