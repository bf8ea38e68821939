"""`tophub import`, as a user types it."""

import json

import pytest

from tests.registries import served, write_rows
from tophub_registry.cli import main


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "plain" / "cuda_v0.10.log", 2)
    write_rows(tmp_path / "plain" / "llvm_v0.04.log", 1)


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in ("import", *arguments)])
    output = capsys.readouterr()
    return caught.value.code or 0, output.out, output.err


def test_a_folder_is_taken_over(capsys, tmp_path):
    code, out, err = run(capsys, "plain", "--registry", "mine")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0].split() == ["cuda", "v0.10", "2", "records", *lines[0].split()[4:6], "imported"]
    assert lines[-1] == f"from {tmp_path / 'plain'} into mine"
    assert run(capsys, "plain", "cuda", "--registry", "mine")[1].splitlines()[0].endswith("present")


def test_what_is_called_otherwise_is_skipped_and_named(capsys, tmp_path):
    for name in ("README.md", "llvm_v0.5.log", "mine.log"):
        write_rows(tmp_path / "plain" / name, 1)
    code, out, err = run(capsys, "plain", "--registry", "mine")
    assert (code, len(out.splitlines())) == (0, 3)
    assert "PACKAGE_vN.NN.log: README.md, llvm_v0.5.log, mine.log (rename" in err
    assert run(capsys, "plain", "llvm", "--registry", "mine")[2] == "", "only one was asked for"
    for number in range(9):
        write_rows(tmp_path / "plain" / f"a{number}", 1)
    assert ": README.md, a0, a1, a2, a3 and 7 more (rename" in run(capsys, "plain", "--registry", "mine")[2]


def test_an_address_with_versions_as_json(capsys):
    with served("plain") as server:
        code, out, _ = run(capsys, server.url, "cuda@v0.10", "--registry", "mine", "--json")
        fields = json.loads(out)
        assert (code, fields["source"], fields["serial"]) == (0, server.url, 1)
        (version,) = fields["versions"]
        assert (version["package"], version["version"], version["status"]) == ("cuda", "v0.10", "imported")
        assert version["imported"]["source"] == server.url
        code, out, err = run(capsys, server.url, "--registry", "mine")
    assert (code, out) == (2, "")
    assert "cuda@v0.10" in err


def test_an_empty_registry(capsys, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "index.json").write_text(
        '{"schema_version": 1, "serial": 0, "expires": "2030-01-01T00:00:00Z", "packages": {}}'
    )
    assert run(capsys, "theirs", "--registry", "mine")[:2] == (0, "nothing to import\n")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["plain"], 2, "give --registry DIR"),
        (["NONE", "--registry", "mine"], 2, "nothing can be imported from NONE"),
        (["plain", "cuda@0.1", "--registry", "mine"], 2, "not a version"),
        (["plain", "rocm", "--registry", "mine"], 2, "no log of rocm"),
        (["nowhere", "--registry", "mine"], 3, "no such folder"),
        (
            ["127.0.0.1:8765", "--registry", "mine"],
            2,
            "the address has no scheme: '127.0.0.1:8765' (write http://127.0",
        ),
        (["plain/llvm_v0.04.log", "--registry", "mine"], 2, "plain/llvm_v0.04.log: this is a file"),
        (["plain/llvm_v0.04.log", "--registry", "mine"], 2, "`tophub release PACKAGE LOG` publishes a single log"),
    ],
)
def test_bad_input_is_one_error_with_its_exit_code_and_changes_nothing(capsys, tmp_path, arguments, code, words):
    found, out, err = run(capsys, *arguments)
    assert (found, out) == (code, "")
    assert words in err
    assert err.count("\n") == 1
    assert not (tmp_path / "mine").exists()
