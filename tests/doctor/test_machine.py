"""What the machine has: each finding is provoked once."""

import os
from pathlib import Path

import pytest

from tests.registries import write_rows
from tophub_registry.devices import threads as counting
from tophub_registry.doctor import machine
from tophub_registry.doctor.asking import Answers
from tophub_registry.packages.folder import read_index
from tophub_registry.publishing.release import release

ZEN = Answers({"processor": "znver4", "features": ["avx2", "avx512f", "sse4.2", "fma"]})


def only(checks):
    (check,) = checks
    return check


def program(folder: Path, name: str, text: str = "exit 0") -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Return the only folder on the PATH."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


@pytest.fixture
def index(tmp_path):
    release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 3, target="llvm -mcpu=znver4"), tmp_path / "registry")
    release("cuda", write_rows(tmp_path / "cuda_v0.11.log", 2, target="cuda -model=h100"), tmp_path / "registry")
    return read_index(tmp_path / "registry")


def test_a_compiler_is_needed_where_tvm_is(programs):
    missing = only(machine.compiler(needed=True, environment={}))
    assert (missing.level, missing.remedy) == ("error", "install g++, or set CXX to a compiler")
    assert only(machine.compiler(needed=False, environment={})).level == "ok"
    assert "'icpx', which CXX or CC names" in only(machine.compiler(needed=True, environment={"CXX": "icpx"})).message
    program(programs, "clang++")
    assert only(machine.compiler(needed=True, environment={})).message == f"{programs}/clang++ links compiled models"


@pytest.mark.usefixtures("programs")
def test_without_a_gpu_that_is_no_fault(monkeypatch):
    monkeypatch.setattr(machine, "_DRIVER", ())
    assert only(machine.gpu(ZEN, None)).level == "ok"


def test_a_driver_that_lists_no_gpu(programs, monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_DRIVER", (tmp_path,))
    program(programs, "nvidia-smi", "echo 'Unable to determine the device handle'; exit 9")
    check = only(machine.gpu(ZEN, None))
    assert (check.level, "nvidia-smi lists no GPU" in check.message) == ("warning", True)


def test_a_gpu_its_records_nvcc_and_whether_tvm_sees_it(programs, index):
    program(programs, "nvidia-smi", "echo 'NVIDIA H100 80GB HBM3, 550.54'")
    checks = list(machine.gpu(Answers({"gpu": False}), index))
    assert [check.level for check in checks] == ["ok", "warning", "warning"]
    assert "driver 550.54; cuda v0.11 has 2 records for this model and 0 for others of sm_90" in checks[0].message
    assert "nvcc is not on the PATH" in checks[1].message
    assert checks[2].message == "TVM does not see the GPU"
    program(programs, "nvcc")
    assert only(machine.gpu(Answers({"gpu": True}), index)).level == "ok"
    program(programs, "nvidia-smi", "echo 'NVIDIA H200, 550.54'")
    check = only(machine.gpu(Answers({"gpu": True}), index))
    assert (check.level, "0 records for this model and 2 for others of sm_90" in check.message) == ("ok", True)
    for unlike in ("NVIDIA A10", "NVIDIA Quadro 1", "NVIDIA"):
        program(programs, "nvidia-smi", f"echo '{unlike}, 550.54'")
        check = only(machine.gpu(Answers({"gpu": True}), index))
        assert (check.level, "has 0 records for this model" in check.message) == ("warning", True)


def test_the_processor_and_its_records(index):
    check = only(machine.processor(ZEN, index, {}))
    assert (check.level, check.message) == (
        "ok",
        "znver4: x86-64-v4; llvm v0.05 has 3 records for its vector family, 3 of them for znver4",
    )
    old = only(machine.processor(Answers({"processor": "haswell"}), index, {}))
    assert (old.level, "0 records" in old.message) == ("warning", True)
    assert "x86-64" in only(machine.processor(None, index, {})).message, "without TVM, as Linux lists its features"


def test_a_lesser_processor_must_be_known_and_lesser():
    facts = {**ZEN.facts, "lesser_is_known": False}
    assert only(machine.processor(Answers(facts), None, {"TOPHUB_PROCESSOR": "zen"})).level == "error"
    facts = {**ZEN.facts, "lesser_features": ["avx2", "amx-tile", "tuning"]}
    check = only(machine.processor(Answers(facts), None, {"TOPHUB_PROCESSOR": "sapphirerapids"}))
    assert (check.level, "lacks amx-tile" in check.message) == ("error", True)
    facts = {**ZEN.facts, "lesser_features": ["avx2"]}
    lesser = only(machine.processor(Answers(facts), None, {"TOPHUB_PROCESSOR": "x86-64-v3"}))
    assert lesser.message == "znver4 as x86-64-v3: x86-64-v3"


@pytest.mark.parametrize("value", ["abc", "-1", "0", "2.5"])
@pytest.mark.parametrize("name", counting.VARIABLES)
def test_a_number_of_threads_that_is_none_is_said(monkeypatch, name, value):
    for each in counting.VARIABLES:
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(name, value)
    (check,) = machine.threads(dict(os.environ))
    assert (check.level, check.remedy) == ("error", f"`unset {name}`, or set it to 1 or more")
    assert check.message.startswith(f"{name}={value} ")


def test_more_threads_than_cpus_or_cores(monkeypatch):
    monkeypatch.setenv("TVM_NUM_THREADS", "4096")
    assert "this machine has" in next(iter(machine.threads(dict(os.environ)))).message
    monkeypatch.setattr(counting, "usable_cores", lambda: 1)
    monkeypatch.setattr(counting, "thread_count", lambda: 2)
    monkeypatch.setattr(machine, "physical_cores", lambda: 2)
    (check,) = machine.threads({"TVM_NUM_THREADS": "1"})
    assert (check.level, check.remedy) == ("warning", "set TVM_NUM_THREADS=1, or unset it")
    assert "the container's quota allows 1" in check.message


def test_the_quota_of_a_container_counts(monkeypatch, tmp_path):
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    monkeypatch.setattr(counting, "_QUOTA", tmp_path / "cpu.max")
    assert counting.usable_cores() == 1
