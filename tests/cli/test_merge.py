"""`tophub merge` as its user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.killing import kill_at_random_moments
from tests.records.rows import text
from tophub_registry.records.log import read_records

if TYPE_CHECKING:
    from pathlib import Path

TOPHUB = [sys.executable, "-m", "tophub_registry.cli"]


def tophub(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*TOPHUB, *arguments], capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "llvm_v0.05.log"
    path.write_text(text(channels=64, costs=[0.002]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def new(tmp_path: Path) -> Path:
    path = tmp_path / "new.log"
    lines = [text(channels=64, costs=[0.001]), text(channels=128), text(channels=128, costs=[0.5])]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_next_version_beside_the_old_one(old: Path, new: Path) -> None:
    done = tophub("merge", old, new)
    merged = old.with_name("llvm_v0.06.log")
    assert done.returncode == 0
    assert done.stdout == (
        "2 of 4 records written: 1 added, 1 improved, 0 kept\n"
        "2 dropped: 2 slower\n"
        "improved records are 2.00 to 2.00 times as fast as before\n"
        f"{merged}\n"
    )
    assert len(list(read_records(merged))) == 2


def test_as_json(old: Path, new: Path, tmp_path: Path) -> None:
    done = tophub("merge", old, new, "-o", tmp_path / "merged.log", "--keep", "all", "--json")
    report = json.loads(done.stdout)
    assert report["output"] == str(tmp_path / "merged.log")
    assert (report["read"], report["written"]) == (4, 4)
    reasons = ("worse", "failed", "duplicate", "small_gain", "unconvertible", "unproven", "unfit", "withdrawn")
    assert report["dropped"] == dict.fromkeys(reasons, 0)
    assert report["changes"][-1]["before"] == 0.002


@pytest.mark.slow
def test_it_says_where_and_what_is_wrong(old: Path, new: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    with new.open("a", encoding="utf-8") as stream:
        stream.write("{broken\n")
    for arguments, code, message in [
        ((old, new), 1, f"{new}:4: not a JSON row"),
        ((old, tmp_path / "no.log"), 1, f"{tmp_path}/no.log: no such file"),
        ((new, old), 2, "new.log is not named PACKAGE_vN.NN.log"),
        ((old, "-o", old), 2, "never overwritten"),
        ((old, "--keep", "some"), 2, "--keep takes best, a number, or all"),
        ((old, "-o", "/proc/x/merged.log"), 2, "/proc/x: no such folder (`mkdir"),
        ((old, "-o", "/proc/merged.log"), 3, "can't be written"),
    ]:
        done = tophub("merge", *arguments)
        assert (done.returncode, done.stdout) == (code, "")
        assert message in done.stderr
        assert "Traceback" not in done.stderr
    failed = tophub("merge", old, new, "--json")
    assert (failed.returncode, json.loads(failed.stdout)["error"]["line"]) == (1, 4)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.slow
def test_killed_at_any_moment_it_leaves_the_complete_log_or_none(old: Path, new: Path) -> None:
    with new.open("a", encoding="utf-8") as stream:
        for cost in range(3000):
            stream.write(text(channels=cost % 100, costs=[1 / (cost + 1)]) + "\n")
    merged = old.with_name("llvm_v0.06.log")
    originals = old.read_bytes(), new.read_bytes()
    tophub("merge", old, new)
    complete = merged.read_bytes()

    present = []

    def check() -> None:
        present.append(merged.exists())
        assert (old.read_bytes(), new.read_bytes()) == originals
        assert not merged.exists() or merged.read_bytes() == complete

    kills = kill_at_random_moments(["merge", old, new], check, before=lambda: merged.unlink(missing_ok=True))
    assert kills.killed >= 15
    assert True in present
    assert False in present
