"""`tophub list`, as a user types it."""

import json
import subprocess
import sys

import pytest

from tests.registries import served, write_rows
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.location import Folder, Web
from tophub_registry.packages.root import Root
from tophub_registry.packages.version import Reference
from tophub_registry.publishing.release import release


@pytest.fixture
def registry(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TOPHUB_LOCATION", raising=False)
    folder = tmp_path / "registry"
    release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 3), folder)
    release("cuda", write_rows(tmp_path / "cuda_v0.11.log", 5), folder)
    return folder


def run(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "tophub_registry.cli", "list", *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_the_table_shows_what_there_is_and_what_is_here(registry, tmp_path):
    fetch([Reference.parse("llvm")], Folder(registry), Root.at())
    release("llvm", write_rows(tmp_path / "new.log", 4), registry)
    write_rows(tmp_path / "home" / ".tvm" / "tophub" / "cuda_v0.10.log", 1)
    code, out, err = run("--location", registry)
    assert (code, err) == (0, "")
    header, cuda, llvm, where, also = [line.split() for line in out.splitlines()]
    assert header == ["package", "version", "older", "records", "tasks", "size", "released", "here"]
    assert (cuda[:5], cuda[-1]) == (["cuda", "v0.11", "0", "5", "1"], "missing")
    assert (llvm[:5], llvm[-2:]) == (["llvm", "v0.06", "1", "4", "1"], ["outdated", "(v0.05)"])
    assert where[:2] == ["location:", f"{registry},"]
    assert also == ["also", "in", f"{tmp_path}/home/.tvm/tophub:", "cuda_v0.10.log"]


def test_the_list_as_json_has_every_version(registry, tmp_path):
    release("llvm", write_rows(tmp_path / "new.log", 4), registry)
    code, out, _ = run("--location", registry, "--root", tmp_path / "root", "--json")
    assert code == 0
    fields = json.loads(out)
    assert fields["root"] == str(tmp_path / "root")
    llvm = fields["packages"]["llvm"]
    assert (llvm["newest"], llvm["state"], list(llvm["versions"])) == ("v0.06", "missing", ["v0.05", "v0.06"])
    assert llvm["versions"]["v0.05"]["state"] == "missing"
    assert llvm["versions"]["v0.05"]["records"] == 3


def test_without_a_network_the_last_answer_is_listed_with_a_note(registry):
    with served(registry) as server:
        fetch([], Web(server.url), Root.at())
    code, out, err = run("--location", server.url)
    assert code == 0
    assert out.count("cached") == 2
    assert err.startswith("tophub: note: ")
    assert "does not respond" in err


@pytest.mark.usefixtures("registry")
def test_a_location_that_never_answered_is_one_error():
    code, out, err = run("--location", "http://127.0.0.1:1")
    assert (code, out) == (3, "")
    assert err.count("\n") == 1


def test_an_empty_registry_and_no_registry(registry, tmp_path, monkeypatch):
    (registry / "index.json").write_text('{"schema_version": 1, "serial": 0, "expires": "2099-01-01T00:00:00Z"}')
    assert run("--location", registry)[1] == f"{registry} has no packages yet\n"
    write_rows(tmp_path / "home" / ".tvm" / "tophub" / "mine.log", 1)
    monkeypatch.setenv("TOPHUB_LOCATION", "NONE")
    code, out, err = run()
    assert (code, out.split()[-1]) == (0, "mine.log")
    assert "NONE" in err
