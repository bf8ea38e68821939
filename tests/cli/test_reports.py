"""`tophub diff`, `show` and `audit` as their user meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.records.rows import text
from tests.screen import screen_after

if TYPE_CHECKING:
    from pathlib import Path


TOPHUB = [sys.executable, "-m", "tophub_registry.cli"]


def tophub(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*TOPHUB, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def logs(tmp_path: Path) -> tuple[Path, Path]:
    before, after = tmp_path / "before.log", tmp_path / "after.log"
    before.write_text("".join(f"{text(channels=channels, costs=[0.002])}\n" for channels in range(1, 31)))
    after.write_text("".join(f"{text(channels=channels, costs=[0.004 / channels])}\n" for channels in range(1, 32)))
    return before, after


def test_diff(logs: tuple[Path, Path]) -> None:
    lines = tophub("diff", *logs).stdout.splitlines()
    assert lines[0].split() == ["what", "target", "task", "before", "after", "times", "as", "fast"]
    assert lines[1].split()[-4:] == ["-", "129", "µs", "-"]
    assert lines[2].split()[-1] == "15.000"
    assert lines[22].split()[1:] == ["and", "8", "more;", "--all", "lists", "them"]
    assert lines[-1] == "1 added, 28 faster, 1 slower, 1 the same"
    assert len(tophub("diff", *logs, "--all").stdout.splitlines()) == 32
    value = json.loads(tophub("diff", *logs, "--json").stdout)
    assert value["same"] == 1
    assert {d["kind"]: d["speedup"] for d in value["differences"]}["slower"] == 0.5


def test_diff_of_logs_of_different_devices(logs: tuple[Path, Path]) -> None:
    before, after = logs
    after.write_text(after.read_text().replace("znver4", "znver3"))
    done = tophub("diff", before, after)
    assert "the logs have no target in common" in done.stderr
    assert done.stdout.endswith("1 added, 28 faster, 1 slower, 1 the same\n")
    value = json.loads(tophub("diff", before, after, "--json").stdout)
    slower = next(d for d in value["differences"] if d["kind"] == "slower")
    assert (value["by"], slower["target_before"], slower["target_after"]) == (
        "backend",
        "llvm -mcpu=znver4",
        "llvm -mcpu=znver3",
    )
    done = tophub("diff", before, after, "--by", "target")
    assert (done.stdout.splitlines()[-1], done.stderr) == ("31 added, 30 removed, 0 the same", "")
    assert tophub("diff", before, after, "--by", "device").returncode == 2


def test_show(logs: tuple[Path, Path]) -> None:
    lines = tophub("show", *logs).stdout.splitlines()
    assert len(lines) == 2
    assert lines[1].split()[:6] == ["llvm", "-mcpu=znver4", "conv2d_NCHWc.x86", "31", "61", "0"]
    assert "2026-01-01" in lines[1]
    assert json.loads(tophub("show", logs[0], "--json").stdout)["groups"][0]["records"] == 30


LONG = [
    text(task=task, channels=channels, target="llvm -mcpu=sapphirerapids", costs=[cost])
    for channels, cost in ((64, 1e-3), (512, 2e-3))
    for task in ("conv2d_NCHWc.x86", "depthwise_conv2d_NCHWc.x86")
]


def test_a_narrow_terminal_hides_columns_and_cuts_no_name(tmp_path: Path) -> None:
    log = tmp_path / "new.log"
    log.write_text("".join(f"{each}\n" for each in LONG))
    lines = screen_after([*TOPHUB, "show", log])
    assert lines[0].split() == ["target", "task", "records", "GFLOPS"]
    names = [line.split()[2] for line in lines[1:-1]]
    assert names == ["conv2d_NCHWc.x86", "depthwise_conv2d_NCHWc.x86"]
    assert lines[-1] == "(hidden to fit into 80 columns: by, measured, failed, median, workloads)"
    assert "by" in screen_after([*TOPHUB, "show", log], columns=160)[0].split()


def test_a_name_that_finds_no_room_is_wrapped(tmp_path: Path) -> None:
    before, after = tmp_path / "before.log", tmp_path / "after.log"
    before.write_text(f"{LONG[0]}\n{LONG[1]}\n")
    after.write_text("".join(f"{each}\n" for each in LONG))
    lines = screen_after([*TOPHUB, "diff", before, after], columns=60)
    assert max(map(len, lines)) <= 60
    rows = [line.split() for line in lines]
    place = next(number for number, row in enumerate(rows) if "depthwise_conv2d_NCHWc.x86" in row)
    assert rows[place][1] == "depthwise_conv2d_NCHWc.x86"
    assert rows[place + 1] == ["1x512x56x56", "64x512x3x3"]


def test_audit(logs: tuple[Path, Path]) -> None:
    lines = tophub("audit", *logs).stdout.splitlines()
    assert lines[0] == "llvm -mcpu=znver4"
    assert lines[2].split() == ["coverage", "31", "of", "31", "workloads,", "100.0%"]
    assert json.loads(tophub("audit", logs[0], "--json").stdout)["entries"][0]["single"] == 30


@pytest.mark.parametrize("command", ["diff", "show", "audit"])
def test_a_broken_log(command: str, tmp_path: Path) -> None:
    log = tmp_path / "new.log"
    log.write_text("{")
    done = tophub(command, log, log)
    assert done.returncode == 1
    assert done.stderr.startswith(f"tophub: error: {log}:1: the last row was cut short")


@pytest.mark.parametrize("command", ["show", "audit"])
def test_a_log_without_records_is_noted(tmp_path: Path, command: str) -> None:
    (tmp_path / "empty.log").write_text("# nothing\n")
    done = tophub(command, tmp_path / "empty.log")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "tophub: note: no records\n")
