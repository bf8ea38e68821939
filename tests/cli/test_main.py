"""`tophub` itself: the overview, one lazy command at a time, exit codes, and shell completion."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.registries import write_rows
from tophub_registry.cli import COMMANDS, main

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")

TOPHUB = [sys.executable, "-m", "tophub_registry.cli"]


def tophub(*arguments, **environment):
    run = [*TOPHUB, *map(str, arguments)]
    return subprocess.run(run, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def python(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_the_overview_names_every_command_and_imports_nothing_heavy():
    program = "import sys; sys.modules['typer'] = None; from tophub_registry.cli import main; main(['--help'])"
    run = python(program)
    assert (run.returncode, run.stderr) == (0, "")
    assert [line.split()[0] for line in run.stdout.splitlines() if line.startswith("  ")][: len(COMMANDS)] == [
        *COMMANDS
    ]
    assert tophub().stdout == run.stdout
    assert tophub().returncode == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_help(name, capsys):
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert not caught.value.code
    assert f"Usage: tophub {name} [OPTIONS]" in capsys.readouterr().out


def test_only_the_command_that_is_called_is_imported():
    program = (
        "import sys; from tophub_registry.cli import COMMANDS, main\n"
        "try: main(['merge', '--help'])\n"
        "finally: print([name for name in COMMANDS if f'tophub_registry.cli.{name}' in sys.modules])\n"
    )
    assert python(program).stdout.splitlines()[-1] == "['merge']"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["tunee"], 2, "tophub: error: no such command: 'tunee' (did you mean 'tune'?)\n"),
        (["frobnicate"], 2, "tophub: error: no such command: 'frobnicate' (`tophub --help` lists the commands)\n"),
        (["show", "nothing.log"], 1, "tophub: error: nothing.log: no such file\n"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(arguments, code, message):
    run = tophub(*arguments)
    assert (run.returncode, run.stdout, run.stderr) == (code, "", message)


def test_a_misspelt_option_is_a_misuse():
    run = tophub("show", "--jsn")
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.startswith("tophub: error: no such option: --jsn (")
    assert run.stderr.endswith("(`tophub show --help` says more)\n")
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compile", "--json"], "missing argument 'MODEL'"),
        (["tune", "x", "--trials", "many", "--json"], "invalid value for '--trials'"),
        (["keys", "sgn", "--json"], "no such command 'sgn'"),
    ],
)
def test_a_misuse_as_json(arguments, message):
    run = tophub(*arguments)
    assert (run.returncode, run.stderr) == (2, "")
    error = json.loads(run.stdout)["error"]
    assert error["message"].startswith(message)
    assert f"`tophub {arguments[0]} --help`" in error["remedy"]


def test_an_address_is_no_registry_to_change():
    run = tophub("site", "--registry", "http://127.0.0.1:1")
    assert run.returncode == 2
    assert "this is an address; a registry is a folder here (`tophub mirror " in run.stderr


def test_an_error_as_json():
    run = tophub("show", "nothing.log", "--json")
    error = {"message": "no such file", "file": "nothing.log", "line": None, "remedy": None}
    assert (run.returncode, run.stderr) == (1, "")
    assert json.loads(run.stdout) == {"error": error}


def test_the_version():
    assert tophub("--version").stdout.split()[0] == "tophub"


def test_ctrl_c_is_one_line_and_130(tmp_path):
    os.mkfifo(tmp_path / "endless.log")
    run = subprocess.Popen([*TOPHUB, "show", tmp_path / "endless.log"], stderr=subprocess.PIPE, text=True)
    with open(tmp_path / "endless.log", "wb"):  # noqa: PTH123  # which waits until the command reads
        time.sleep(0.1)
        run.send_signal(signal.SIGINT)
        assert run.communicate(timeout=30)[1] == "tophub: interrupted\n"
    assert run.returncode == 130


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    log = write_rows(tmp_path / "new.log", 3000)
    read, wrote = os.pipe()
    os.close(read)
    run = subprocess.run([*TOPHUB, "show", log, "--best"], stdout=wrote, stderr=subprocess.PIPE, check=False)
    assert (run.returncode, run.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("tophub co", {"compile", "contribute", "convert"}),
        ("tophub ", set(COMMANDS)),
        ("tophub tune tasks.json --total", {"--total-trials"}),
    ],
)
@needs_bash
def test_bash_completes_commands_and_options(words, expected, tmp_path):
    (tmp_path / "tophub").write_text(f'#!/bin/sh\nexec {shlex.join(TOPHUB)} "$@"\n')
    (tmp_path / "tophub").chmod(0o755)
    script = tophub(_TOPHUB_COMPLETE="source_bash").stdout
    typed = words.split(" ")
    script += f"COMP_WORDS=({' '.join(map(repr, typed))}); COMP_CWORD={len(typed) - 1}; _tophub_completion tophub\n"
    script += "printf '%s\\n' \"${COMPREPLY[@]}\"\n"
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env={"PATH": path})
    assert set(done.stdout.split()) == expected


@needs_bash
def test_the_completion_script_is_that_of_the_shell_that_asks():
    command = f"{shlex.join(TOPHUB)} --show-completion; exit $?"  # so that bash stays its parent
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert "complete -o default -F _tophub_completion tophub" in done.stdout
    assert "--install-completion" in tophub("--help").stdout
