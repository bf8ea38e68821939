"""`tools/accept.py`, as a maintainer types it; `tests/proof/test_contribution.py` has what it accepts and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")

from tests.publishing.test_bundle import ENVIRONMENT, PAIRS
from tests.registries import row, write_rows
from tophub_registry.publishing.bundle import write_bundle
from tophub_registry.publishing.release import release

TOOL = Path(__file__).parents[2] / "tools" / "accept.py"


def accept(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, TOOL, *arguments], capture_output=True, text=True, check=False)


def test_a_refusal_names_the_file_the_line_and_the_rule(tmp_path: Path) -> None:
    release("llvm", write_rows(tmp_path / "new.log", 1), tmp_path / "registry")
    bundle = tmp_path / "it.zip"
    write_bundle(bundle, "llvm", "0.1", f"{row(0)}\n".encode(), ENVIRONMENT, PAIRS)
    done = accept(bundle, "--registry", tmp_path / "registry", "--challenge")
    assert (done.returncode, done.stderr) == (1, "")
    *reasons, last = done.stdout.splitlines()
    copied = "already published: llvm v0.01, line 1 has the same costs (leave it out) [copied]"
    assert f"{bundle}/records.log:1: error: {copied}" in reasons
    assert last == f"{bundle}: refused, for 3 reasons"  # no device is named, and two repeats are no evidence
    assert not Path(f"{bundle}.challenge.json").exists()


def test_errors_have_their_exit_codes(tmp_path: Path) -> None:
    done = accept(tmp_path / "none.zip", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["message"] == "no such file"
    assert accept(tmp_path / "none.zip", "--challenge", "--answer", "a.json").returncode == 2
    write_bundle(tmp_path / "it.zip", "llvm", "0.1", b"", ENVIRONMENT, PAIRS)
    done = accept(tmp_path / "it.zip", "--registry", tmp_path)
    assert done.returncode == 2
    assert "not a registry: it has no index.json" in done.stderr
