"""Wherever a log is asked for, a package on this machine can be named."""

import json

import pytest

from tests.registries import write_rows
from tophub_registry.cli import main
from tophub_registry.publishing.release import release
from tophub_registry.records.log import read_records


@pytest.fixture(autouse=True)
def registry(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TOPHUB_LOCATION", str(tmp_path / "registry"))
    release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 3), tmp_path / "registry")
    release("llvm", write_rows(tmp_path / "llvm_v0.06.log", 4), tmp_path / "registry")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "registry"


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return caught.value.code or 0, output.out, output.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "llvm"],
        ["show", "llvm", "--best"],
        ["validate", "llvm"],
        ["diff", "llvm", "llvm"],
        ["audit", "llvm"],
        ["report", "llvm"],
        ["convert", "llvm", "-o", "new.log"],
        ["merge", "llvm", "-o", "new.log"],
        ["withdraw", "llvm", "--line", "1", "--reason", "wrong", "-o", "new.log"],
    ],
    ids=" ".join,
)
def test_a_package_is_its_newest_log_here(registry, capsys, arguments):
    code, _, err = run(capsys, *arguments)
    assert code == 0
    assert f"tophub: note: llvm is {registry}/llvm_v0.06.log\n" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["show"],
        ["validate"],
        ["diff", "llvm"],
        ["audit"],
        ["report"],
        ["convert", "-o", "new.log"],
        ["merge"],
        ["withdraw", "--line", "1", "--reason", "wrong"],
        ["compile", "resnet18_v1", "-l"],
        ["gain", "tasks.json", "--log"],
        ["bench", "resnet18_v1", "-l"],
        ["tune", "tasks.json", "-o", "new.log", "--warm-start"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_package_that_is_not_here_is_one_error_with_the_command_that_brings_it(capsys, tmp_path, arguments):
    tasks = {"model": "m", "kind": "llvm", "shapes": {}, "tasks": []}
    (tmp_path / "work" / "tasks.json").write_text(json.dumps(tasks))
    code, out, err = run(capsys, *arguments, "rocm@v0.01")
    assert (code, out) == (1, "")
    assert err.endswith("no such file, and no such package on this machine (run `tophub fetch rocm@v0.01`)\n")


def test_the_next_version_of_a_package_is_written_here_and_not_into_the_registry_or_the_root(
    registry, capsys, tmp_path
):
    before = sorted(path.name for path in registry.iterdir())
    write_rows(tmp_path / "work" / "new.log", 9)
    assert run(capsys, "merge", "llvm", "new.log")[0] == 0
    assert run(capsys, "withdraw", "llvm@v0.05", "--line", "1", "--reason", "wrong", "-o", "less.log")[0] == 0
    merged, less = (list(read_records(tmp_path / "work" / name)) for name in ("llvm_v0.07.log", "less.log"))
    assert (len(merged), len(less)) == (9, 2)
    assert sorted(path.name for path in registry.iterdir()) == before


def test_a_log_of_one_s_own_is_read_whatever_the_location(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("TOPHUB_LOCATION", "ftp://nowhere")
    assert run(capsys, "show", tmp_path / "llvm_v0.05.log")[::2] == (0, "")
