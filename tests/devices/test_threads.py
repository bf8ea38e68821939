"""Kernels get all the processors that the process may use, unless the user says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tophub_registry.devices import threads
from tophub_registry.devices.threads import VARIABLES, settle_threads, thread_count


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)
    monkeypatch.setattr(threads, "_QUOTA", tmp_path / "cpu.max")


def test_it_is_the_affinity_unless_tvms_variables_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert thread_count() == len(os.sched_getaffinity(0))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert thread_count() == 3
    monkeypatch.setenv("TVM_NUM_THREADS", "5")
    assert thread_count() == 5
    for nonsense in ("", "0", "many", "-2"):
        monkeypatch.setenv("TVM_NUM_THREADS", nonsense)
        assert thread_count() == 3


@pytest.mark.parametrize(
    ("quota", "most"), [("max 100000", 1 << 20), ("100000 100000", 1), ("20000 100000", 1), ("", 1 << 20)]
)
def test_a_containers_quota_counts(quota: str, most: int, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert thread_count() == min(most, len(os.sched_getaffinity(0)))


def test_settling_tells_tvm_and_what_is_started_from_here_and_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert settle_threads() == 7
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert settle_threads() == 7
    assert os.environ["TVM_NUM_THREADS"] == "7"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor is one thread in any case")
@pytest.mark.parametrize(("said", "taken"), [({}, len(os.sched_getaffinity(0))), ({"TVM_NUM_THREADS": "1"}, 1)])
def test_a_compiled_model_runs_on_them(said: dict[str, str], taken: int) -> None:
    pytest.importorskip("mxnet", reason="needs the extra [mxnet]")
    program = (
        "from tophub_registry.compiler.compiler import compile_model\n"
        "compile_model('cifar_resnet20_v1', records=[]).benchmark(repeats=1)\n"
        "import tvm; print(tvm.runtime.num_threads())\n"
    )
    env = {name: text for name, text in os.environ.items() if name not in VARIABLES}
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, env={**env, **said}, capture_output=True, text=True, check=True)
    assert run.stdout.split() == [str(taken)]
