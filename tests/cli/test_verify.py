"""`tophub verify`, as a user types it."""

import json

import pytest

from tests.registries import write_rows
from tophub_registry.cli import main
from tophub_registry.publishing.release import release


@pytest.fixture
def root(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TOPHUB_LOCATION", str(tmp_path / "registry"))
    monkeypatch.setenv("TOPHUB_LOCK", "")
    release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 3), tmp_path / "registry")
    run(capsys, "fetch")
    return tmp_path / "home" / ".tvm" / "tophub"


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return caught.value.code or 0, output.out, output.err


def test_a_good_root_is_one_line(root, capsys):
    assert run(capsys, "verify") == (0, f"{root}: 1 file: 1 good\n", "")


def test_damage_is_told_with_its_remedy_which_works(root, tmp_path, capsys):
    (root / "llvm_v0.05.log").write_text("damaged")
    code, out, _ = run(capsys, "verify")
    assert code == 1
    remedy = f"tophub fetch llvm@v0.05 --location {tmp_path}/registry"
    assert f"llvm_v0.05.log: damaged: not the llvm v0.05 that {tmp_path}/registry has published (`{remedy}`" in out
    assert "replaced" in run(capsys, *remedy.split()[1:])[1]
    assert run(capsys, "verify")[0] == 0


def test_repair_fetches_anew_and_deletes_no_log(root, capsys):
    (root / "llvm_v0.05.log").write_bytes((root / "llvm_v0.05.log").read_bytes().replace(b"0.0001", b"0.0002"))
    assert run(capsys, "verify")[0] == 1
    code, out, _ = run(capsys, "verify", "--repair")
    assert code == 0
    assert out.startswith("llvm_v0.05.log: fetched anew\n")
    assert out.endswith(f"{root}: 2 files: 1 good, 1 unknown\n")


def test_every_file_as_json(root, capsys):
    (root / "mine.txt").write_text("mine")
    code, out, _ = run(capsys, "verify", "--json")
    assert code == 0
    assert [(file["version"], file["state"]) for file in json.loads(out)["files"]] == [
        ("v0.05", "good"),
        (None, "unknown"),
    ]
