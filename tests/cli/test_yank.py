"""`tophub yank`, as a user types it."""

import json

import pytest

from tests.registries import write_rows
from tophub_registry.cli import main
from tophub_registry.publishing.release import release


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for rows in (1, 2):
        release("cuda", write_rows(tmp_path / "new.log", rows, target="cuda"), tmp_path / "registry_data")


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in ("yank", *arguments)])
    output = capsys.readouterr()
    return caught.value.code or 0, output.out, output.err


def test_yanking_says_what_is_the_newest_now(capsys):
    code, out, err = run(capsys, "cuda@v0.02", "--reason", "wrong device")
    assert (code, out, err) == (
        0,
        "cuda v0.02 in registry_data is yanked: wrong device; the newest version is v0.01\n",
        "",
    )
    assert run(capsys, "cuda@v0.02", "--reason", "wrong device")[1].startswith(
        "cuda v0.02 in registry_data is already yanked: wrong"
    )
    assert "every version is yanked" in run(capsys, "cuda@v0.01", "--reason", "too")[1]
    assert (
        run(capsys, "--undo", "cuda@v0.02")[1]
        == "cuda v0.02 in registry_data is restored; the newest version is v0.02\n"
    )
    assert run(capsys, "--undo", "cuda@v0.02")[1] == "cuda v0.02 in registry_data is not yanked; nothing to undo\n"


def test_yanking_as_json(capsys):
    code, out, _ = run(capsys, "cuda@v0.02", "--reason", "bad", "--registry", "registry_data", "--json")
    assert code == 0
    assert json.loads(out) == {
        "package": "cuda",
        "version": "v0.02",
        "yanked": "bad",
        "changed": True,
        "newest": "v0.01",
        "serial": 3,
    }


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["cuda@v0.02"], 2, "give --reason TEXT to yank it, or --undo to restore it"),
        (["cuda@v0.02", "--reason", "bad", "--undo"], 2, "give --reason TEXT to yank it, or --undo to restore it"),
        (["cuda", "--reason", "bad"], 2, "which version of cuda?"),
        (["cuda@v0.2", "--reason", "bad"], 2, "not a version: 'v0.2'"),
        (["cuda@v0.09", "--reason", "bad"], 2, "no cuda v0.09"),
        (["cuda@v0.02", "--reason", "a\nb"], 1, "can't hold this reason"),
        (["cuda@v0.02", "--reason", "bad", "--registry", "elsewhere"], 2, "not a registry"),
    ],
)
def test_bad_input_is_one_error_with_its_exit_code_and_changes_nothing(capsys, tmp_path, arguments, code, words):
    before = (tmp_path / "registry_data" / "index.json").read_bytes()
    found, out, err = run(capsys, *arguments)
    assert (found, out) == (code, "")
    assert words in err
    assert err.count("\n") == 1
    assert (tmp_path / "registry_data" / "index.json").read_bytes() == before
