"""Where commands write: a missing folder is a typing error until the user makes it, and nothing is made by guess."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.registries import write_rows
from tophub_registry.cli import main
from tophub_registry.publishing.release import release

FILES = {
    "merge": ["merge", "old.log", "-o", "{}.log"],
    "convert": ["convert", "old.log", "-o", "{}.log"],
    "withdraw": ["withdraw", "old.log", "--line", "1", "--reason", "wrong", "-o", "{}.log"],
    "misses": ["misses", "-o", "{}.json"],
    "extract": ["extract", "no-such-model", "-o", "{}.json"],
    "compile": ["compile", "no-such-model", "-o", "{}.so"],
    "compile --tune": ["compile", "no-such-model", "--tune", "3m", "-o", "{}.so"],
    "tune": ["tune", "no-such-model", "-o", "{}.log"],
    "tune --resume": ["tune", "no-such-model", "--resume", "-o", "{}.log"],
    "bench": ["bench", "no-such-model", "-o", "{}.html"],
    "report": ["report", "old.log", "-o", "{}.html"],
    "learn": ["learn", "old.log", "-o", "{}.model.json"],
    "validate": ["validate", "old.log", "--level", "replay", "-o", "{}.log"],
    "contribute": ["contribute", "old.log", "-o", "{}.zip"],
}
"""Commands that write a file."""

FOLDERS = {
    "site": ["site", "--registry", "registry", "-o", "{}"],
    "bench --prepare": ["bench", "no-such-model", "--prepare", "{}"],
    "release": ["release", "llvm", "old.log", "--registry", "{}"],
    "import": ["import", "registry", "--registry", "{}"],
    "fetch": ["fetch", "--location", "registry", "--root", "{}"],
    "misses --on": ["misses", "--on", "--root", "{}"],
}
"""Commands that make a folder."""

TUNING = ("extract", "compile", "tune", "bench", "learn", "validate", "contribute")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    write_rows(tmp_path / "old.log", 2)
    release("llvm", write_rows(tmp_path / "llvm.log", 2), tmp_path / "registry")
    return tmp_path


def fails(capsys, words, place):
    """Run a command, and return its error."""
    if find_spec("tvm") is None and words[0] in TUNING:
        pytest.skip("needs tvm")
    with pytest.raises(SystemExit) as caught:
        main([word.format(place) for word in words])
    said = capsys.readouterr().err
    assert caught.value.code == 2, said
    return said


@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
def test_a_missing_folder_is_named_with_the_command_that_makes_it(folder, capsys, name):
    before = sorted(folder.rglob("*"))
    said = fails(capsys, (FILES | FOLDERS)[name], "my tpyo/new")
    assert "tpyo: no such folder (`mkdir -p " in said
    assert "my tpyo'` makes it)\n" in said
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("name", FILES)
def test_a_folder_is_no_file(folder, capsys, name):
    *words, output = FILES[name]
    (folder / output.format("new")).mkdir()
    assert f"{output.format('new')}: this is a folder (name a file)\n" in fails(capsys, [*words, output], "new")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", FOLDERS)
def test_a_file_is_no_folder(capsys, name):
    assert "old.log: " in fails(capsys, FOLDERS[name], "old.log")
    assert "old.log: not a folder (" in fails(capsys, FOLDERS[name], "old.log/new")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", FILES)
def test_a_name_that_is_too_long_is_one_line(capsys, name):
    if find_spec("tvm") is None and name.split()[0] in TUNING:
        pytest.skip("needs tvm")
    with pytest.raises(SystemExit) as caught:
        main([word.format(300 * "a") for word in FILES[name]])
    assert caught.value.code == 3
    assert capsys.readouterr().err.endswith("can't be written: File name too long\n")


def test_a_folder_that_a_command_makes_is_made(folder):
    for words in (FOLDERS["release"], FOLDERS["fetch"]):
        main_ends(words, folder / words[0])
        assert (folder / words[0] / "llvm_v0.01.log").is_file()


def main_ends(words, place):
    with pytest.raises(SystemExit) as caught:
        main([word.format(place) for word in words])
    assert not caught.value.code
