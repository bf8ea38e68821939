"""`tophub compile`: a library, and a table that says which layer got which record."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tophub_registry.cli import main

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
    assert {layer["match"] for layer in told["layers"]} <= {"device", "architecture", "backend"}
    assert run(MODEL, "-o", library) == 2
    assert "--force" in capsys.readouterr().err


def test_strict_fails_where_a_layer_has_no_record_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty.log"
    empty.write_text("# nothing\n")
    assert run(MODEL, "-o", tmp_path / "model.so", "--log", empty, "--strict") == 1
    assert "22 of 22 layers have no record" in capsys.readouterr().err
    assert not (tmp_path / "model.so").exists()
    assert run(MODEL, "-o", tmp_path / "model.so", "--log", empty, "--profile") == 0
    told = capsys.readouterr().out
    assert "0 of 22 layers by records" in told
    assert re.search(r"^kernel +calls +time +share +arguments", told, re.MULTILINE)
    assert re.search(r"^fused_conv2d_NCHWc\S* +\d+ +\S+ [mµ]s +[0-9.]+% +1x\S+ ", told, re.MULTILINE)
