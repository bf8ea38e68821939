"""`tophub compile`: a library, and a table that says which layer got which record."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tophub_registry.cli import main
from tophub_registry.devices.device import resolve
from tophub_registry.records.log import read_records, write_log

MODEL = "cifar_resnet20_v1"


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["compile", *map(str, arguments)])
    return int(ended.value.code or 0)


def test_the_library_and_the_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = tmp_path / "model.so"
    assert run(MODEL, "-o", library, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert library.stat().st_size > 1 << 20
    assert len(told["layers"]) == 22
    assert all(layer["recorded"] or layer["evidence"]["target"].startswith("llvm") for layer in told["layers"])
    assert run(MODEL, "-o", library) == 2
    assert "--force" in capsys.readouterr().err


def test_compiling_needs_nothing_that_only_tuning_needs(tmp_path: Path) -> None:
    """The extra [compile] brings neither pebble nor xgboost; only --verify, which times kernels, needs more."""
    code = "import sys; sys.modules['pebble'] = sys.modules['xgboost'] = None\n"
    code += "from tophub_registry.cli import main; main()"
    command = [sys.executable, "-c", code, "compile", MODEL, "-o", str(tmp_path / "model.so")]
    done = subprocess.run([*command, "--profile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model.so").stat().st_size > 1 << 20
    done = subprocess.run([*command, "--force", "--verify"], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "`tophub compile` needs the extra [tune]: 'pebble' is not installed" in done.stderr


def test_strict_fails_where_a_layer_has_no_record_and_else_another_layer_s_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log has one convolution's record. Those of other sizes get its config, which is no record of theirs."""
    package = Path(__file__).parents[2] / "registry_data" / "llvm_v0.06.log"
    log = tmp_path / "one.log"
    shapes = "[1,16,32,32]", "[16,16,3,3]"
    found = [its for its in read_records(package) if all(shape in its.workload for shape in shapes)]
    here = str(resolve("llvm"))
    write_log(log, [its.model_copy(update={"input": its.input._replace(target=here)}) for its in found])
    library = tmp_path / "model.so"
    arguments = (MODEL, "-o", library, "--log", log)
    assert run(*arguments, "--strict") == 1
    assert "16 of 22 layers have no record" in capsys.readouterr().err
    assert not library.exists()
    assert run(*arguments, "--profile") == 0
    told = capsys.readouterr().out
    assert "6 of 22 layers by records, " in told
    assert any("fallback" in line and f"{log}, 1x16x32x32 16x16x3x3" in line for line in told.splitlines())
    assert re.search(r"^kernel +calls +all calls +share +arguments", told, re.MULTILINE)
    assert re.search(r"^fused_conv2d_NCHWc\S* +\d+ +\S+ [mµ]s +[0-9.]+% +1x\S+ ", told, re.MULTILINE)


def test_records_of_another_family_are_told_and_are_none_for_strict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library, target = tmp_path / "model.so", "llvm -mcpu=znver3"
    log = Path(__file__).parents[2] / "registry_data" / "llvm_v0.08.log"
    assert run(MODEL, "-o", library, "--target", target, "--log", log, "--strict") == 1
    assert "22 of 22 layers have no record" in capsys.readouterr().err
    assert run(MODEL, "-o", library, "--target", target, "--log", log) == 0
    told = capsys.readouterr().out
    assert "1 of 22 layers by records (1 of them other processors')" in told
    assert "22 layers have records of other processors only, measured on AMD EPYC" in told
    assert "(znver4)" in told
    assert f"  tophub tune {MODEL} --target '{target}' --total-trials 500 -o new.log\n" in told


def test_what_is_no_file_or_helps_no_layer_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(MODEL, "-o", tmp_path) == 2
    assert "that is a folder" in capsys.readouterr().err
    package = Path(__file__).parents[2] / "registry_data" / "cuda_v0.11.log"
    assert run(MODEL, "-o", tmp_path / "model.so", "--log", package, "--target", "llvm -mcpu=znver4") == 0
    told = capsys.readouterr()
    assert "none of the logs has a record for a layer of this model on llvm -mcpu=znver4" in told.err
    assert "0 of 22 layers by records, for llvm -mcpu=znver4 with data=1,3,32,32" in told.out
