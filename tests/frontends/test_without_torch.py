"""PyTorch is kept out of a process, and is back afterwards."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

CODE = """
import sys
{before}
from tophub_registry.frontends.without_torch import hide_torch
restore = hide_torch()
{inside}
try: import torch
except ImportError: print("hidden")
restore()
print("torch" in sys.modules)
{after}
"""


def python(folder: Path, **parts: str) -> list[str]:
    code = f"import sys; sys.path.insert(0, {str(folder)!r})" + CODE.format(**{"before": "", "inside": "", **parts})
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a package that is called torch."""
    (tmp_path / "torch.py").write_text("class Tensor: ...\n")
    return tmp_path


@pytest.mark.parametrize("before", ["", "import torch"])
def test_what_was_hidden_is_back_as_it_was(folder: Path, before: str) -> None:
    assert python(folder, before=before, after="import torch") == ["hidden", str(before != "")]


def test_nested_hiding_does_not_bring_it_back(folder: Path) -> None:
    """`tophub bench` hides it for good, and then imports gluoncv, which hides it for as long as that takes."""
    assert python(folder, inside="hide_torch()()", after="") == ["hidden", "False"]
