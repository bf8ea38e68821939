"""`tophub release`, as a user types it."""

import json

import pytest

from tests.registries import row, write_rows
from tophub_registry.catalogue.replacing import MANIFEST
from tophub_registry.cli import main


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in ("release", *arguments)])
    output = capsys.readouterr()
    return caught.value.code or 0, output.out, output.err


def test_a_release_says_what_was_published(tmp_path, capsys):
    log = write_rows(tmp_path / "llvm_v0.05.log", 3)
    code, out, err = run(capsys, "llvm", log, "--registry", "mine")
    assert (code, err) == (0, "")
    assert out.startswith("llvm v0.05: 3 records, ")
    assert "the first version in this registry\nmine/llvm_v0.05.log\n" in out
    assert (tmp_path / "mine" / "llvm_v0.05.log").read_bytes() == log.read_bytes()


def test_a_release_as_json(tmp_path, capsys):
    write_rows(tmp_path / "a.log", 1)
    write_rows(tmp_path / "b.log", 2)
    run(capsys, "llvm", "a.log", "--registry", "mine")
    code, out, _ = run(capsys, "llvm", "b.log", "--registry", "mine", "--json")
    fields = json.loads(out)
    assert code == 0
    assert (fields["package"], fields["version"], fields["base"], fields["serial"]) == ("llvm", "v0.02", "v0.01", 2)
    assert fields["path"] == "mine/llvm_v0.02.log"


def test_the_registry_is_registry_data_where_there_is_one(tmp_path, capsys):
    write_rows(tmp_path / "new.log", 1)
    code, _, err = run(capsys, "llvm", "new.log")
    assert code == 2
    assert "--registry" in err
    (tmp_path / "registry_data").mkdir()
    assert run(capsys, "llvm", "new.log")[0] == 0
    assert (tmp_path / "registry_data" / "llvm_v0.01.log").is_file()


@pytest.mark.parametrize(
    ("package", "text", "code", "words"),
    [
        ("llvm", None, 1, "new.log: no such file"),
        ("llvm", row(1) + "\n{\n", 1, "new.log:2: not a JSON row"),
        ("llvm", row(1, error=4) + "\n", 1, "new.log:1: the record of a failed measurement (error 4)"),
        ("../llvm", row(1) + "\n", 2, "not a package name: '../llvm'"),
    ],
)
def test_bad_input_is_one_error_with_its_exit_code_and_changes_nothing(tmp_path, capsys, package, text, code, words):
    if text is not None:
        (tmp_path / "new.log").write_text(text)
    found, out, err = run(capsys, package, "new.log", "--registry", "mine")
    assert (found, out) == (code, "")
    assert err.startswith("tophub: error: ")
    assert words in err
    assert err.count("\n") == 1
    assert not (tmp_path / "mine").exists()


def test_a_version_that_is_taken(tmp_path, capsys):
    write_rows(tmp_path / "llvm_v0.05.log", 1)
    run(capsys, "llvm", "llvm_v0.05.log", "--registry", "mine")
    assert run(capsys, "llvm", "llvm_v0.05.log", "--registry", "mine")[0] == 1
    write_rows(tmp_path / "llvm_v0.05.log", 2)
    code, out, _ = run(capsys, "llvm", "llvm_v0.05.log", "--registry", "mine", "--json")
    assert code == 2
    error = json.loads(out)["error"]
    assert error["message"] == "llvm v0.05 is published, and a published version never changes"
    assert error["remedy"] == "the next one is v0.06"


def test_a_release_without_records_that_the_last_one_had_says_so(tmp_path, capsys):
    write_rows(tmp_path / "all.log", 3)
    write_rows(tmp_path / "new.log", 1)
    run(capsys, "llvm", "all.log", "--registry", "mine")
    code, _, err = run(capsys, "llvm", "new.log", "--registry", "mine")
    assert code == 0
    assert err.startswith("tophub: warning: it lacks 2 workloads of v0.01, and clients use only the newest version")


def test_several_logs_are_to_be_merged_first(tmp_path, capsys):
    logs = [write_rows(tmp_path / name, 1).name for name in ("a.log", "b c.log")]
    code, _, err = run(capsys, "llvm", *logs, "--registry", "mine")
    assert code == 2
    assert "2 are given (join them: `tophub merge a.log 'b c.log' -o llvm.log`)" in err


def test_a_catalogue_is_no_registry(tmp_path, capsys):
    log = write_rows(tmp_path / "a.log", 1)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / MANIFEST).write_text("{}")
    code, _, err = run(capsys, "llvm", log, "--registry", "site")
    assert code == 2
    assert "this is a catalogue" in err


def test_a_file_is_no_registry(tmp_path, capsys):
    log = write_rows(tmp_path / "a.log", 1)
    code, _, err = run(capsys, "llvm", log, "--registry", log)
    assert code == 2
    assert f"{log}: this is a file; a registry is a folder" in err
