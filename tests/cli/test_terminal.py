"""No command lets what it reads steer the terminal: escape bytes of a log become replacement characters."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.records.rows import row
from tests.screen import screen_after, written_by
from tophub_registry.cli import COMMANDS, main, terminal

ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m"


def hostile(path: Path) -> Path:
    """Write a log with escape sequences wherever text can stand."""
    target = f"llvm -mcpu='{ESCAPE}'"
    first = row(target=target, tophub={"device": ESCAPE, "tuner": ESCAPE})
    second = row(task=f"task{ESCAPE}", tophub={"device": "other\nline"})
    second["input"][2][0] = ["TENSOR", [1], ESCAPE]
    broken = {**row(), "version": 0.2, "config": {"index": 0, "code_hash": None, "entity": [[ESCAPE, "sp", "x"]]}}
    path.write_text("".join(json.dumps(each) + "\n" for each in (first, second)) + f"# {ESCAPE}\n", encoding="utf-8")
    (path.parent / "broken.log").write_text(json.dumps(broken) + f"\n{{{ESCAPE}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate", "new.log", "broken.log"],
        ["show", "new.log"],
        ["show", "new.log", "--best"],
        ["audit", "new.log"],
        ["diff", "new.log", "new2.log"],
        ["merge", "new.log", "broken.log", "-o", "out.log"],
        ["convert", "new.log", "--to", "0.1", "-o", "out.log"],
        ["release", "llvm", "new.log", "--registry", "registry"],
        ["fetch", f"llvm{ESCAPE}"],
        ["list", "--location", f"http://{ESCAPE}"],
    ],
    ids=lambda arguments: " ".join(arguments[:1] + [each for each in arguments if each == "--best"]),
)
def test_escape_bytes_do_not_reach_it(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    hostile(tmp_path / "new.log")
    lines = (tmp_path / "new.log").read_text().splitlines(keepends=True)
    (tmp_path / "new2.log").write_text(lines[1])
    with pytest.raises(SystemExit):
        main(arguments)
    told = capsys.readouterr()
    assert told.out or told.err
    for text in (told.out, told.err):
        assert not {each for each in text if not each.isprintable()} - {"\n", "\t"}


@pytest.mark.parametrize(
    ("then", "left"),
    [
        ("terminal.err('tophub: done\\n')", ["tophub: done"]),
        ("terminal.out('a table\\n')", ["a table"]),
        ("table.show(['name'], [['value']])", ["name", "value"]),
        ("terminal.status('')", []),
    ],
)
def test_nothing_is_left_of_what_was_being_done(then, left):
    program = f"from tophub_registry.cli import table, terminal; terminal.status('a long piece of work …'); {then}"
    assert screen_after([sys.executable, "-c", program]) == left


@pytest.mark.slow
def test_a_command_that_fails_leaves_its_error_alone_on_the_screen(tmp_path):
    pytest.importorskip("tvm", reason="needs the extra [tune]")
    command = [sys.executable, "-m", "tophub_registry.cli", "compile", tmp_path / "none-symbol.json", "-o", "none.so"]
    lines = screen_after(command, columns=300)
    assert len(lines) == 1
    assert lines[0].startswith("tophub: error: ")
    assert not lines[0].endswith("…")


def test_colours_and_bold_text_are_for_terminals_that_want_them(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NO_COLOR", raising=False)
    styled = re.compile(r"\x1b\[[\d;]*m")
    coloured = re.compile(r"\x1b\[(?:\d+;)*(?:3\d|4\d|9\d)")
    program = [sys.executable, "-m", "tophub_registry.cli", "list"]
    assert styled.search(written_by(program))
    assert not coloured.search(written_by(program, NO_COLOR="1"))
    piped = subprocess.run(program, capture_output=True, text=True, check=True)
    assert "\x1b" not in piped.stdout + piped.stderr


def test_a_terminal_is_told_what_usually_comes_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new.log").write_text(json.dumps(row()) + "\n")
    program = [sys.executable, "-m", "tophub_registry.cli"]
    for arguments, told in (
        (
            ["merge", "new.log", "-o", "cuda_v0.01.log"],
            "tophub: next: tophub release cuda cuda_v0.01.log --registry FOLDER",
        ),
        (["release", "llvm", "new.log", "--registry", "mine"], "tophub: next: tophub fetch llvm --location mine"),
    ):
        assert screen_after([*program, *arguments], columns=200)[-1] == told
        assert "next" not in subprocess.run([*program, "list"], capture_output=True, text=True, check=True).stderr


def test_every_command_writes_through_one_place():
    for path in Path(terminal.__file__).parent.glob("*.py"):
        if path.name != "terminal.py":
            assert not {"sys.stdout.write", "sys.stderr.write", "print("} & set(path.read_text().split()), path
            for word in ("sys.stdout.write(", "sys.stderr.write(", " print("):
                assert word not in path.read_text(), (path, word)
    assert len(COMMANDS) > 10
