"""`tools/release.py`, as a maintainer types it."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TOOL = REPOSITORY / "tools" / "release.py"
ROWS = (REPOSITORY / "registry_data" / "llvm_v0.05.log").read_text().splitlines(keepends=True)
"""Published rows, whose configs are in their spaces."""


def write(path, *rows):
    path.write_text("".join(rows))
    return path


@pytest.fixture
def run(tmp_path):
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 0.1.0\n")
    places = ["--registry", tmp_path / "registry", "--changelog", tmp_path / "CHANGELOG.md"]

    def release(*arguments):
        command = [sys.executable, TOOL, *map(str, arguments), *places]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    return release


def test_a_dry_run_a_release_and_nothing_to_do(run, tmp_path):
    log = write(tmp_path / "llvm_v0.05.log", *ROWS[:3])
    code, shown, errors = run("llvm", log, "--dry-run")
    assert (code, errors) == (0, "")
    assert "+- llvm v0.05: 3 records for `llvm -keys=x86-64-v4 -mcpu=znver4`.\n" in shown
    assert shown.endswith("a dry run: nothing was changed\n")
    assert not (tmp_path / "registry").exists()
    code, out, _ = run("llvm", log)
    assert (code, out.splitlines()[-1]) == (0, "llvm v0.05 is released")
    assert (tmp_path / "registry" / "llvm_v0.05.log").is_file()
    assert run("llvm", log) == (0, "nothing to do: llvm v0.05 has all of it\n", "")


def test_a_config_that_is_in_no_space_is_refused(run, tmp_path):
    log = write(
        tmp_path / "new.log", ROWS[0], ROWS[1].replace('"tile_ic", "sp", [-1, 16]', '"tile_ic", "sp", [-1, 15]')
    )
    code, out, err = run("llvm", log)
    assert (code, out) == (1, "")
    assert f"{log}:2: " in err
    assert not (tmp_path / "registry").exists()


def test_errors_have_their_exit_codes(run, tmp_path):
    log = write(tmp_path / "new.log", ROWS[0])
    assert run("LLVM", log)[0] == 2
    assert run("llvm", tmp_path / "missing.log")[0] == 1
    code, out, err = run("llvm", log, "--tvm-tree", tmp_path)
    assert (code, out) == (2, "")
    assert "not a TVM with AutoTVM" in err
    assert not (tmp_path / "registry").exists()
