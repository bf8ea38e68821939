"""`tophub lock`, and `--locked`, as a user types them."""

import json
import os
import shutil

import pytest

from tests.registries import served, write_rows
from tophub_registry.cli import main
from tophub_registry.publishing.release import release
from tophub_registry.records.target import Target


@pytest.fixture
def registry(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TOPHUB_LOCK", "")
    monkeypatch.delenv("TOPHUB_LOCATION", raising=False)
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    folder = tmp_path / "registry"
    release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 3), folder)
    release("cuda", write_rows(tmp_path / "cuda_v0.11.log", 2), folder)
    return folder


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return caught.value.code or 0, output.out, output.err


def newer(registry, tmp_path):
    release("llvm", write_rows(tmp_path / "llvm_v0.06.log", 4), registry)


def test_a_lock_is_written_checked_and_updated(registry, tmp_path, capsys):
    lock = tmp_path / "project" / "tophub.lock"
    assert run(capsys, "lock", "--check", "--location", registry)[0] == 1
    assert not lock.exists()
    code, out, err = run(capsys, "lock", "--location", registry)
    assert (code, err) == (0, "")
    assert out == "cuda  none → v0.11\nllvm  none → v0.05\ntophub.lock is new\n"
    assert run(capsys, "lock", "--check") == (0, "cuda  v0.11\nllvm  v0.05\ntophub.lock is up to date\n", "")
    newer(registry, tmp_path)
    before = lock.read_bytes()
    code, out, _ = run(capsys, "lock", "--check")
    assert (code, lock.read_bytes()) == (1, before)
    assert "llvm  v0.05 → v0.06\ntophub.lock is not up to date: `tophub lock` updates it\n" in out
    assert run(capsys, "lock")[1].endswith("llvm  v0.05 → v0.06\ntophub.lock is updated\n")
    assert run(capsys, "lock", "llvm@v0.05", "--json")[0] == 0
    assert [*json.loads(lock.read_bytes())["packages"]] == ["llvm"]
    assert "v0.05 (pinned)" in run(capsys, "lock")[1]


def test_a_lock_has_no_password_and_another_location_may_serve_it(registry, tmp_path, capsys):
    with served(registry) as server:
        address = server.url.replace("://", "://me:secret@")
        assert run(capsys, "lock", "--location", address)[0] == 0
        text = (tmp_path / "project" / "tophub.lock").read_text()
        assert server.url in text
        assert "secret" not in text
    code, out, _ = run(capsys, "lock", "--location", registry)
    assert code == 0
    assert f"is up to date; location: {server.url} → {registry}" in out


def test_fetching_what_is_locked(registry, tmp_path, capsys):
    run(capsys, "lock", "--location", registry)
    newer(registry, tmp_path)
    code, out, err = run(capsys, "fetch", "--locked")
    assert (code, err) == (0, "")
    assert [line.split()[:2] for line in out.splitlines()[:2]] == [["cuda", "v0.11"], ["llvm", "v0.05"]]
    assert not (tmp_path / "home/.tvm/tophub/llvm_v0.06.log").exists()
    shutil.move("tophub.lock", "mine.lock")
    code, out, _ = run(capsys, "fetch", "--locked", "mine.lock", "llvm", "--json")
    assert [each["version"] for each in json.loads(out)["packages"]] == ["v0.05"]
    shutil.rmtree(registry)
    code, out, err = run(capsys, "fetch", "--locked", "mine.lock", "--location", "NONE")
    assert (code, err, out.count("cached")) == (0, "", 2)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["fetch", "--locked", "none.lock"], 1, "none.lock: no such lock (`tophub lock` writes one)"),
        (["fetch", "--locked", "a.lock", "b.lock"], 2, "several files"),
        (["fetch", "--locked", "rocm"], 2, "the lock has no package 'rocm' (its packages: cuda, llvm"),
        (["fetch", "--locked", "llvm@v0.06"], 2, "the lock has llvm v0.05, not v0.06"),
        (["lock", "rocm"], 2, "no package 'rocm'"),
        (["lock", "-o", "notes.txt"], 1, "notes.txt: not a lock"),
        (["lock", "--location", "NONE"], 2, "fetching is switched off"),
    ],
)
def test_what_can_not_be_locked_or_fetched_is_one_error(registry, tmp_path, capsys, arguments, code, words):
    run(capsys, "lock", "--location", registry)
    notes = tmp_path / "project" / "notes.txt"
    notes.write_text("mine\n")
    found, out, err = run(capsys, *arguments)
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert words in err
    assert notes.read_text() == "mine\n"


def test_locked_commands_read_the_locked_version(registry, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TOPHUB_LOCATION", str(registry))
    run(capsys, "lock")
    newer(registry, tmp_path)
    assert "llvm_v0.06.log" in run(capsys, "show", "llvm")[2]
    assert "llvm_v0.05.log" in run(capsys, "show", "llvm", "--locked")[2]
    assert os.environ["TOPHUB_LOCK"] == str(tmp_path / "project" / "tophub.lock"), "for subprocesses"
    assert "llvm_v0.05.log" in run(capsys, "show", "llvm")[2]


def test_a_locked_compile_takes_its_records_from_the_locked_log(registry, tmp_path, capsys, monkeypatch):
    pytest.importorskip("tvm")
    from tophub_registry.compiler.search import sources_of

    run(capsys, "lock", "llvm", "--location", registry)
    newer(registry, tmp_path)
    monkeypatch.setenv("TOPHUB_LOCATION", str(registry))
    target = Target.parse("llvm -mcpu=znver4")
    assert [source.name for source in sources_of(target, None).logs] == ["llvm v0.06"]
    run(capsys, "compile", "none.onnx", "--locked")  # there is no such model, but the option is in effect
    assert [source.name for source in sources_of(target, None).logs] == ["llvm v0.05"]
