"""`tophub fetch`, as a user types it."""

import contextlib
import json
import os
import pty
import subprocess
import sys

import pytest

from tests.registries import served, write_rows
from tophub_registry.cli import main
from tophub_registry.publishing.release import release


@pytest.fixture
def registry(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TOPHUB_LOCATION", raising=False)
    folder = tmp_path / "registry"
    release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 3), folder)
    release("llvm", write_rows(tmp_path / "llvm_v0.06.log", 4), folder)
    release("arm_cpu", write_rows(tmp_path / "arm_cpu_v0.09.log", 5), folder)
    return folder


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in ("fetch", *arguments)])
    output = capsys.readouterr()
    return caught.value.code or 0, output.out, output.err


def test_a_package_arrives_where_tvm_looks_for_it(registry, tmp_path, capsys):
    with served(registry) as server:
        code, out, err = run(capsys, "llvm", "--location", server.url)
        again = run(capsys, "llvm", "--location", server.url)[1]
    assert (code, err.count("\n")) == (0, 1)
    assert err.startswith(f"tophub: note: {server.url} is not signed: ")
    assert out.split() == f"llvm v0.06 1.5 kB downloaded from {server.url} into {tmp_path}/home/.tvm/tophub".split()
    assert "cached" in again
    file = tmp_path / "home" / ".tvm" / "tophub" / "llvm_v0.06.log"
    assert file.read_bytes() == (registry / "llvm_v0.06.log").read_bytes()


def test_the_location_of_the_environment_is_asked(registry, monkeypatch, capsys):
    monkeypatch.setenv("TOPHUB_LOCATION", registry.as_uri())
    code, out, _ = run(capsys)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["arm_cpu", "llvm", "from"]


@pytest.mark.parametrize("by", ["option", "environment"])
def test_mirrors_serve_if_the_location_does_not_and_are_named(registry, by, monkeypatch, capsys):
    def failing(request):
        return request.path.endswith(".log") and (request.send_error(403) or True)

    with served(registry, failing) as server, served(registry) as mirror:
        if by == "environment":
            monkeypatch.setenv("TOPHUB_MIRRORS", f"{server.url}/nothing {mirror.url}")
        named = ["--mirror", f"{server.url}/nothing", "--mirror", mirror.url] if by == "option" else []
        code, _, err = run(capsys, "llvm", "--location", server.url, *named)
    assert code == 0
    said = f"tophub: note: llvm_v0.06.log came from the mirror {mirror.url}; the location itself: no such file (403)"
    unsigned, *told = err.strip().splitlines()
    assert (told, "is not signed" in unsigned) == ([said], True)


@pytest.mark.usefixtures("registry")
def test_the_location_none_fetches_nothing_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TOPHUB_LOCATION", "NONE")
    code, out, err = run(capsys, "llvm")
    assert (code, out) == (0, "nothing to fetch\n")
    assert "switched off" in err
    assert not (tmp_path / "home").exists()


@pytest.mark.usefixtures("registry")
def test_the_builtin_registry_is_the_default(capsys):
    code, out, _ = run(capsys, "--json")
    assert code == 0
    assert json.loads(out)["location"] == "builtin"


def test_a_fetch_as_json(registry, tmp_path, capsys):
    code, out, err = run(capsys, "llvm@v0.05", "--location", registry, "--root", tmp_path / "root", "--json")
    assert (code, err) == (0, "")
    (fetched,) = json.loads(out)["packages"]
    assert (fetched["version"], fetched["status"]) == ("v0.05", "downloaded")
    assert fetched["path"] == str(tmp_path / "root" / "llvm_v0.05.log")


def test_a_yanked_pin_is_fetched_with_a_note(registry, capsys):
    index = registry / "index.json"
    fields = json.loads(index.read_bytes())
    fields["packages"]["llvm"]["v0.05"]["yanked"] = "measured on the wrong device"
    index.write_text(json.dumps(fields))
    code, out, err = run(capsys, "llvm@v0.05", "--location", registry)
    assert code == 0
    assert "downloaded" in out
    assert (
        err == "tophub: note: llvm v0.05 is yanked: measured on the wrong device (the newest good version is v0.06)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["llvm", "--location", "http://127.0.0.1:1"], 3, "http://127.0.0.1:1/index.json: does not respond"),
        (["llvm", "--location", "nowhere"], 3, "not a registry: no such folder"),
        (["llvm", "--location", "ftp://example.org"], 2, "not a location"),
        (["rocm"], 2, "no package 'rocm'"),
        (["llvm@v0.07"], 2, "no llvm v0.07"),
        (["llvm@7"], 2, "not a version: '7'"),
        (["../llvm"], 2, "not a package name"),
    ],
)
def test_what_can_not_be_fetched_is_one_error_with_its_exit_code(registry, tmp_path, capsys, arguments, code, words):
    location = [] if "--location" in arguments else ["--location", registry]
    found, out, err = run(capsys, *arguments, *location)
    assert (found, out) == (code, "")
    assert err.startswith("tophub: error: ")
    assert words in err
    assert err.count("\n") == 1
    assert not list((tmp_path / "home").rglob("*.log"))


def test_a_wrong_hash_is_one_error_and_changes_nothing(registry, tmp_path, capsys):
    log = registry / "llvm_v0.06.log"
    log.write_bytes(log.read_bytes().replace(b"0.0001", b"0.0002"))
    code, out, _ = run(capsys, "llvm", "--location", registry, "--json")
    assert code == 3
    error = json.loads(out)["error"]
    assert "SHA-256" in error["message"]
    assert error["file"] == str(log)
    assert not list((tmp_path / "home").rglob("*.log"))


def test_a_terminal_sees_a_bar_and_a_pipe_does_not(registry):
    command = [sys.executable, "-m", "tophub_registry.cli", "fetch", "--location", registry]
    terminal, screen = pty.openpty()
    with subprocess.Popen(command, stderr=screen, stdout=subprocess.PIPE, env={**os.environ, "TERM": "xterm"}) as fetch:
        os.close(screen)
        seen = b""
        with contextlib.suppress(OSError):  # how a terminal says that nobody writes to it any more
            while chunk := os.read(terminal, 1 << 16):
                seen += chunk
        out = fetch.stdout.read().decode()
    os.close(terminal)
    assert fetch.returncode == 0
    assert b"llvm_v0.06.log" in seen
    assert out.splitlines()[0].split()[-1] == "downloaded"
    again = subprocess.run(command, capture_output=True, check=True)
    assert again.stderr == b""
