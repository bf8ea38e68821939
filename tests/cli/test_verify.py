"""`tophub verify`, as a user types it."""

import json
import re

import pytest

from tests.registries import write_rows
from tests.signed import made
from tophub_registry.cli import main
from tophub_registry.packages.trust.state import Kept
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


def test_of_a_good_root_it_says_who_confirms_that(root, tmp_path, capsys):
    index = f"not signed, confirmed by the index of {tmp_path}/registry only: llvm_v0.05.log\n"
    assert run(capsys, "verify") == (0, f"{root}: 1 file: 1 good\n{index}", "")


def test_signatures_and_until_when_they_hold(root, tmp_path, capsys):
    signed = made(tmp_path / "signed", "cuda@v0.05")
    run(capsys, "fetch", "--location", signed.path)
    code, out, _ = run(capsys, "verify")
    day = Kept.of(root, signed.location).signed.expires[:10]
    assert code == 0
    assert f"signed by {signed.path}, signatures valid until {day}: cuda_v0.05.log\n" in out
    fields = json.loads(run(capsys, "verify", "--json")[1])
    assert [(file["package"], file["confirmed_by"]) for file in fields["files"]] == [
        ("cuda", "signatures"),
        ("llvm", "index"),
    ]
    assert [each["registry"] for each in fields["signatures"] if each["valid"]] == [str(signed.path)]


def test_signatures_that_have_expired(root, tmp_path, capsys):
    signed = made(tmp_path / "signed", "cuda@v0.05")
    run(capsys, "fetch", "--location", signed.path)
    (state,) = root.glob(".trust/*/state.json")
    state.write_text(re.sub('"expires":"20..', '"expires":"2020', state.read_text()))
    code, out, _ = run(capsys, "verify")
    assert code == 0
    assert f"signed by {signed.path}, signatures expired on 2020-" in out
    assert f"(`tophub list --location {signed.path}` asks for new ones): cuda_v0.05.log\n" in out


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
    assert f"\n{root}: 2 files: 1 good, 1 unknown\n" in out


def test_every_file_as_json(root, capsys):
    (root / "mine.txt").write_text("mine")
    code, out, _ = run(capsys, "verify", "--json")
    assert code == 0
    assert [(file["version"], file["state"], file["confirmed_by"]) for file in json.loads(out)["files"]] == [
        ("v0.05", "good", "index"),
        (None, "unknown", None),
    ]
