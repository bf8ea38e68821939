"""`tophub validate` as its user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.records.rows import text

if TYPE_CHECKING:
    from pathlib import Path


def tophub(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tophub_registry.cli", "validate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_warnings_do_not_fail(tmp_path: Path) -> None:
    log = tmp_path / "new.log"
    row = text().replace('"index": 193', '"index": 284')
    log.write_text(f"{row}\n{row}\n")
    done = tophub(log)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"{log}:2: warning: the same record as in line 1 (`tophub merge` keeps one of them) [duplicate]\n"
        f"{log}: 2 rows, 0 errors, 1 warning; fit to be released as llvm\n"
    )


def test_errors_do(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.log", tmp_path / "bad.log"
    good.write_text(f"{text()}\n")
    bad.write_text(f"{text(costs=[-1.0])}\n")
    done = tophub(good, bad, "--json")
    assert done.returncode == 1
    logs = json.loads(done.stdout)["logs"]
    assert [log["errors"] for log in logs] == [0, 1]
    (finding,) = logs[1]["findings"]
    assert (finding["line"], finding["rule"], finding["severity"]) == (1, "shape", "error")


def test_the_version_before_stands_beside_it(tmp_path: Path) -> None:
    for name in ("llvm_v0.09.log", "llvm_v0.10.log", "llvm_v0.08.log", "llvm_extra_v0.09.log"):
        (tmp_path / name).write_text(f"{text(channels=len(name))}\n")
    done = tophub(tmp_path / "llvm_v0.10.log")
    assert done.returncode == 1
    assert "the same records as in llvm_v0.09.log" in done.stdout
    assert tophub(tmp_path / "llvm_v0.10.log", "--level", "row").returncode == 0


def test_misuse(tmp_path: Path) -> None:
    assert tophub(tmp_path / "no.log").returncode == 1
    assert tophub(tmp_path / "no.log", "--level", "deep").returncode == 2


@pytest.mark.slow
def test_a_replay_writes_every_row_and_comment_of_all_logs_and_looks_at_its_output_first(tmp_path: Path) -> None:
    pytest.importorskip("tvm", reason="needs the extra [tune]")
    from tests.registries import row
    from tophub_registry.devices.device import resolve
    from tophub_registry.devices.processor import described

    here = str(resolve("llvm"))
    sound = row(0, target=here).replace('["tile_k", "sp", [-1, 1]]', '["tile_k", "sp", [-1, 8]]')
    first, second, out = tmp_path / "first.log", tmp_path / "second.log", tmp_path / "out.log"
    first.write_text(f"# mine\n{sound}\n{row(1, target='llvm -mcpu=core2')}\n# the end\n")
    second.write_text(f"{sound}\n{{broken\n")
    out.write_text("precious")
    done = tophub(first, "--level", "replay", "-o", out)
    assert done.returncode == 2
    assert "already exists" in done.stderr
    assert out.read_text() == "precious"
    out.unlink()
    done = tophub(first, second, "--level", "replay", "--rounds", "3", "--threads", "1", "-o", out)
    assert f"{first}: 1 of 2 rows can be measured for {here} ({described()}, 1 thread)\n" in done.stderr
    lines = out.read_text().splitlines()
    assert [line[:6] for line in lines] == ["# mine", '{"inpu', '{"inpu', "# the ", '{"inpu', "{broke"]
    assert [json.loads(line)["input"][0] for line in lines if line.startswith('{"')] == [here, "llvm -mcpu=core2", here]
    assert lines[2] == row(1, target="llvm -mcpu=core2")
    for line in (lines[1], lines[4]):
        assert json.loads(line)["tophub"]["revalidated"]
        assert json.loads(line)["tophub"]["threads"] == 1
        assert len(json.loads(line)["result"][0]) == 3
