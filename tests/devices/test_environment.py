"""A machine's environment: what can be read is read, and what can't is None."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")

from tophub_registry.devices import environment, gpu
from tophub_registry.devices.device import at_hand, resolve
from tophub_registry.devices.environment import machine, read_environment
from tophub_registry.records.environment import Environment
from tophub_registry.records.record import Provenance
from tophub_registry.records.target import Target


def test_this_processor() -> None:
    said = at_hand("llvm")
    its = read_environment(resolve("llvm"), said)
    assert (its.device, its.threads) == (said.device, said.threads)
    assert its.target == f"llvm -mcpu={its.architecture}"
    assert its.compiler.startswith("LLVM ")
    assert its.driver is None
    assert Environment.model_validate_json(its.model_dump_json()) == its


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder on the PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpu, "this_gpu", lambda: SimpleNamespace(compute_version="9.0"))
    return tmp_path


def write(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


H100 = Provenance(device="NVIDIA H100 80GB HBM3", peak_gflops=60000.0)


def test_a_gpu_with_its_driver_its_compiler_and_its_clocks(programs: Path) -> None:
    write(programs / "nvcc", "echo 'Cuda compilation tools, release 12.4, V12.4.131'")
    answers = "*driver_version*) echo 550.54.15;; *clocks.sm*) echo 345;; *clocks.max.sm*) echo 1980;;"
    write(programs / "nvidia-smi", f'case "$*" in {answers} esac')
    its = read_environment(Target.parse("cuda -model=h100"), H100)
    assert (its.driver, its.compiler, its.architecture, its.threads) == ("550.54.15", "nvcc 12.4", "sm_90a", None)
    assert (its.clocks.now, its.clocks.highest) == (345, 1980)


def test_what_can_t_be_read_is_unknown(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(programs / "nvidia-smi", "echo 'Unknown Error'; exit 9")
    monkeypatch.setattr(environment, "_MACHINE", (programs / "none",))
    its = read_environment(Target.parse("cuda -model=h100"), H100)
    assert (its.driver, its.compiler, its.clocks.now, its.machine) == (None, "nvcc", None, None)


def test_a_machine_s_number_is_always_the_same_and_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "_MACHINE", (tmp_path / "none", tmp_path / "id"))
    (tmp_path / "id").write_text("3d1219c7c4c5404aaa1f6d2a48adfda4\n")
    first = machine()
    assert first == machine()
    assert first is not None
    assert first not in "3d1219c7c4c5404aaa1f6d2a48adfda4"
    (tmp_path / "id").write_text("another\n")
    assert machine() != first
