"""A release raises the old client's own table by the one line."""

from __future__ import annotations

import difflib
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_the_old_clients_own_file_differs_in_the_one_line(old_client, tmp_path):
    (theirs,) = old_client.python.parents[1].glob("lib/python*/site-packages/tvm/autotvm/tophub.py")
    copy = tmp_path / "site-packages" / "tvm" / "autotvm" / "tophub.py"
    copy.parent.mkdir(parents=True)
    shutil.copy(theirs, copy)
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 0.1.0\n")
    log = REPOSITORY / "registry_data" / "llvm_v0.05.log"
    command = [sys.executable, REPOSITORY / "tools" / "release.py", "llvm", log, "--registry", tmp_path / "registry"]
    command += ["--changelog", tmp_path / "CHANGELOG.md", "--tvm-tree", tmp_path / "site-packages"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("llvm v0.05 is released\n")
    before, after = theirs.read_text().splitlines(), copy.read_text().splitlines()
    changes = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
    assert changes == ['-     "llvm": "v0.04",', '+     "llvm": "v0.05",']
    assert copy.read_bytes() == theirs.read_bytes().replace(b'"llvm": "v0.04"', b'"llvm": "v0.05"')
