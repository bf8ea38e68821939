"""This machine's processor may be taken to be a lesser one, by a variable or an option, and never for a greater one."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")

from tophub_registry.cli import main
from tophub_registry.devices.device import check_runs_here, resolve
from tophub_registry.devices.processor import VARIABLE, described, physical_cores, processor
from tophub_registry.errors import EnvironmentFailure, UsageError
from tophub_registry.records.target import Target


@pytest.fixture(autouse=True)
def _as_it_is(monkeypatch):
    """Leave the variable as it was, whatever the command line makes of it."""
    monkeypatch.setenv(VARIABLE, "x86-64")
    monkeypatch.delenv(VARIABLE)


def test_the_variable_names_a_lesser_one(monkeypatch):
    monkeypatch.setenv(VARIABLE, "x86-64-v2")
    assert processor() == "x86-64-v2"
    assert str(resolve("llvm")) == "llvm -mcpu=x86-64-v2"
    assert " as x86-64-v2, " in described()
    check_runs_here(Target.parse("llvm -mcpu=nehalem"))
    with pytest.raises(EnvironmentFailure, match=r"this machine \(x86-64-v2\) can't run code for .*avx2"):
        check_runs_here(Target.parse("llvm -mcpu=haswell"))


@pytest.mark.parametrize(
    ("name", "reason"), [("pentium9", "LLVM knows no"), ("diamondrapids", "can't run code for diamondrapids: it lacks")]
)
def test_one_that_is_unknown_or_can_do_more_is_refused(monkeypatch, name, reason):
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(UsageError, match=reason):
        processor()


def test_without_it_this_machines_own(monkeypatch):
    monkeypatch.setenv(VARIABLE, "")
    check_runs_here(Target.parse(f"llvm -mcpu={processor()}"))
    assert " as " not in described()
    assert physical_cores() >= 1


def test_the_option_reaches_the_work(tmp_path, capsys):
    onnx = pytest.importorskip("onnx", reason="needs the extra [onnx]")
    from tests.frontends.nets import random_net

    onnx.save(random_net(0), tmp_path / "model.onnx")
    arguments = [str(tmp_path / "model.onnx"), "-o", str(tmp_path / "model.so"), "--processor", "x86-64-v3", "--json"]
    with pytest.raises(SystemExit) as ended:
        main(["compile", *arguments])
    assert not ended.value.code
    assert json.loads(capsys.readouterr().out)["target"] == "llvm -mcpu=x86-64-v3"
