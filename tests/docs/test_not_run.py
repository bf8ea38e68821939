"""What can be checked of the documentation's blocks that do not run: pip finds what they install, commands exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib.util import find_spec

import pytest
from packaging.requirements import Requirement

from tests.docs.blocks import PAGES, ROOT, blocks_of, commands
from tophub_registry.cli import main

tomllib = pytest.importorskip("tomllib", reason="Python 3.11 brings it")

BLOCKS = [block for page in PAGES for block in blocks_of(page) if block.language == "bash"]
SAID = [words for block in BLOCKS for line in commands(block.code) if (words := shlex.split(line))]
INSTALLED = {word for words in SAID if words[:2] == ["pip", "install"] for word in words[2:]}
"""What the pages install."""

FOR_GPU = [
    shlex.split(line.replace("PYTHONPATH=. ", ""))
    for block in BLOCKS
    if "GPU" in block.reason
    for line in commands(block.code)
]

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

MADE_BY_MAKE = {"torch", "bench"}
"""The extras with PyTorch, gigabytes that `make test-torch` installs."""


def extras_of(word: str) -> set[str]:
    """Return the extras of the project that a word installs: `.[tune,onnx]`; none for another project."""
    return set(re.findall(r"\w+", word.partition("[")[2])) if word.startswith(".") else set()


def test_extras_and_pins_are_the_projects():
    everything = {Requirement(line) for lines in PROJECT["optional-dependencies"].values() for line in lines}
    assert len(INSTALLED) > 5
    for word in INSTALLED:
        assert extras_of(word) <= PROJECT["optional-dependencies"].keys(), word
        if not word.startswith("."):
            wanted = Requirement(word)
            known = [each for each in everything if each.name == wanted.name]
            assert known, word
            assert not wanted.specifier or known[0].specifier == wanted.specifier, word


def test_the_extras_with_gigabytes_are_installed_by_make():
    assert re.search(r'pip install .*"\.\[[\w,]*bench', (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert any("torch" in line for line in PROJECT["optional-dependencies"]["bench"])


@pytest.mark.slow
def test_pip_finds_all_of_it_for_a_fresh_environment(tmp_path):
    """Nothing is downloaded that has its metadata apart; the extras are those of one command, which takes seconds."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    extras = sorted(set().union(*map(extras_of, INSTALLED)) - MADE_BY_MAKE - {"mxnet"})
    wanted = [f"{ROOT}[{','.join(extras)}]", *sorted(word for word in INSTALLED if not word.startswith("."))]
    pip = [sys.executable, "-m", "pip", "--python", tmp_path / "env", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "install", "--dry-run", *wanted], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"Would install .*apache-tvm-0\.27.*tophub-registry", done.stdout)


def no_gpu() -> bool:
    """Return whether there is no GPU here, as far as TVM knows."""
    if find_spec("tvm") is None:
        return False
    import tvm

    return not tvm.cuda(0).exist


@pytest.mark.parametrize("words", [words for words in FOR_GPU if words[0] == "tophub"], ids=" ".join)
def test_a_command_for_a_gpu_fails_only_for_want_of_one(words, capsys, monkeypatch, tmp_path):
    if not no_gpu():
        pytest.skip("needs TVM, and no GPU")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(words[1:])
    assert caught.value.code == 3
    assert "no CUDA device found" in capsys.readouterr().err


def test_a_script_for_a_gpu_is_where_the_page_says():
    scripts = [words for words in FOR_GPU if words[0] == "python"]
    assert len(scripts) > 2
    for _, *words in scripts:
        if words[0] == "-m":
            assert (ROOT / f"{words[1].replace('.', '/')}.py").is_file()
        else:
            text = (ROOT / words[0]).read_text(encoding="utf-8")
            assert all(f'"{word}"' in text for word in words if word.startswith("--"))
    assert len(FOR_GPU) == len(scripts) + sum(words[0] == "tophub" for words in FOR_GPU)
