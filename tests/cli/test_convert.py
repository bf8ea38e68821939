"""`tophub convert` as its user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.records.rows import text
from tests.records.test_conversion import CONV, old_row

if TYPE_CHECKING:
    from pathlib import Path


def tophub(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tophub_registry.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_there_and_back(tmp_path: Path) -> None:
    old, new, again = tmp_path / "old.log", tmp_path / "new.log", tmp_path / "again.log"
    old.write_text(f"# mine\n{json.dumps(old_row('cuda', 'topi_nn_conv2d', 'direct', CONV))}\n{text()}\n")
    done = tophub("convert", old, "-o", new)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"1 of 2 records converted, 1 unchanged\n{new}\n"
    done = tophub("convert", new, "-o", again, "--to", "0.1", "--json")
    assert json.loads(done.stdout)["converted"] == 2
    assert again.read_text().splitlines()[1] == old.read_text().splitlines()[1]


def test_what_is_left_out_is_told_and_in_the_exit_code(tmp_path: Path) -> None:
    old = tmp_path / "old.log"
    old.write_text(f"{text()}\n" + f"{json.dumps(old_row('hexagon', 'topi_nn_conv2d', 'direct', CONV))}\n" * 7)
    done = tophub("convert", old, "-o", tmp_path / "new.log")
    assert done.returncode == 1
    assert done.stdout.startswith("0 of 8 records converted, 1 unchanged, 7 left out\n")
    assert done.stderr.count("\n") == 1
    assert "(lines 2, 3, 4, 5, 6 and 2 more)" in done.stderr


def test_misuse(tmp_path: Path) -> None:
    old = tmp_path / "old.log"
    old.write_text(text())
    assert tophub("convert", old, "-o", old).returncode == 2
    assert tophub("convert", old, "-o", tmp_path / "new.log", "--to", "0.3").returncode == 2
    assert tophub("convert", old).returncode == 2
    assert list(tmp_path.iterdir()) == [old]
