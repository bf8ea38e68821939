"""`tophub keys`, `--sign`, `--trust`, `--insecure` and `tophub mirror`: the ceremony as its users type it."""

import json
import shutil
import sys

import pytest

from tests.registries import write_rows
from tophub_registry.cli import main


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TOPHUB_PASSPHRASE", "secret")


@pytest.fixture
def run(capsys):
    def run(line, code=0):
        with pytest.raises(SystemExit) as ended:
            main(line.split())
        out, err = capsys.readouterr()
        assert ended.value.code == code, err or out
        return json.loads(out) if "--json" in line else out + err

    return run


@pytest.fixture
def registry(run, tmp_path):
    """Start a registry with two holders and a server, as `docs/signing.md` says."""
    write_rows(tmp_path / "llvm_v0.05.log", 5)
    write_rows(tmp_path / "llvm_v0.06.log", 6)
    run("release llvm llvm_v0.05.log --registry hub")
    for name in ("ann", "bob", "owner"):
        run(f"keys make {name}")
    run("keys make online --no-passphrase")
    both = "--root ann.pub --root bob.pub --targets ann.pub --targets bob.pub"
    run(f"keys start --registry hub {both} --online online.pub")
    run("keys sign --registry hub --key ann.pem --key bob.pem --key online.pem")
    return tmp_path / "hub"


def test_a_release_is_signed_by_two_and_published_by_the_server(registry, run):
    assert "needs 1 more signature of " in run("release llvm llvm_v0.06.log --registry hub --sign ann.pem")
    assert "new: llvm_v0.06.log" in run("keys show --registry hub")
    shutil.copy(registry / ".staged" / "targets.json", "targets.json")
    assert run("keys sign --file targets.json --key bob.pem --json")["file"] == "targets.json"
    shutil.copy("targets.json", registry / ".staged" / "targets.json")
    assert run("keys refresh --registry hub --key online.pem --json")["published"] == [
        "targets",
        "snapshot",
        "timestamp",
    ]
    assert "llvm   v0.06" in run("fetch llvm --location hub")
    assert "llvm" in run("list --location hub")


def test_all_keys_at_hand_publish_at_once(registry, run):
    every = "--sign ann.pem --sign bob.pem --sign online.pem"
    assert "signed and published" in run(f"release llvm llvm_v0.06.log --registry hub {every}")
    assert "signed and published" in run(f"yank llvm@v0.06 --reason wrong --registry hub {every}")
    assert "llvm   v0.05" in run("fetch llvm --location hub")
    write_rows(registry.parent / "theirs" / "cuda_v0.07.log", 7)
    assert "signed and published" in run(f"import theirs --registry hub {every}")


@pytest.mark.usefixtures("registry")
def test_keys_are_replaced_renewed_and_delegated(run):
    shown = run("keys show --registry hub --json")
    assert [(role["role"], role["threshold"], len(role["keys"])) for role in shown["roles"]] == [
        ("root", 2, 2),
        ("targets", 2, 2),
        ("snapshot", 1, 1),
        ("timestamp", 1, 1),
    ]
    bob = shown["roles"][0]["keys"][1]
    done = run("keys change root --add owner.pub --remove bob.pub --registry hub --json")
    assert [each["role"] for each in done["waiting"]] == ["root"]
    assert run("keys discard --registry hub --json") == {"discarded": True}
    done = run(f"keys change root --add owner.pub --remove {bob[:8]} --registry hub --json")
    assert [each["role"] for each in done["waiting"]] == ["root"]
    run("keys discard --registry hub")
    assert "root 2 needs 2 more" in run("keys renew root --registry hub")
    assert "cuda-h100 1 needs 1 more" in run("keys delegate cuda --device h100 --key owner.pub --registry hub")
    assert "signs cuda: h100" in run("keys show --registry hub")
    run("keys delegate cuda --name cuda-h100 --end --registry hub")
    assert "cuda-h100" not in run("keys show --registry hub")


@pytest.mark.usefixtures("registry")
def test_a_holder_sees_what_changes_before_signing(run):
    """Keys by their whole identifiers: another one that begins alike is found in hours."""
    ann, bob = run("keys show --registry hub --json")["roles"][0]["keys"]
    owner = run("keys make new --json")["key"]
    assert f"key {ann}: root, targets\n" in run("keys show --registry hub")
    run("keys change root --add new.pub --remove bob.pub --threshold 1 --registry hub")
    run("keys delegate cuda --key new.pub --registry hub")
    shown = run("keys show --registry hub")
    assert shown.startswith("root            1 ")
    assert f"  2 of {ann[:8]}, {bob[:8]}\n" in shown, "who has signed what is published"
    for line in (
        f"new: key {owner} of root",
        f"gone: key {bob} of root",
        "new: 1 of root's keys must sign, before it was 2",
        f"new: cuda, 1 of the keys {owner}, signs cuda: all devices",
    ):
        assert f"  {line}\n" in shown


@pytest.mark.usefixtures("registry")
def test_keys_that_nothing_waits_for_are_named(run):
    bob = run("keys show --registry hub --json")["roles"][0]["keys"][1]
    said = run("keys change root --add owner.pub --remove bob.pub --registry hub")
    assert "root 2 needs 3 more signatures" in said, "two of the former root's, and two of the new one's"
    assert "root 2 needs 2 more" in run("keys sign --registry hub --key ann.pem")
    assert "nothing waited" not in run("keys sign --registry hub --key bob.pem --key owner.pem")
    run("keys refresh --registry hub --key online.pem")
    run("keys renew root --registry hub")
    said = run("keys sign --registry hub --key ann.pem --key bob.pem")
    assert f"nothing waited for the signature of {bob[:8]}\n" in said


def test_trust_and_insecure(registry, run):
    shutil.copy(registry / "metadata" / "root.json", "root.json")
    run("fetch --location hub --trust root.json")
    shutil.rmtree(registry / "metadata")
    assert "was signed before" in run("fetch --location hub", 3)
    assert "as --insecure says" in run("fetch --location hub --insecure")
    assert "taken unverified" in run("list --location hub --insecure")
    assert "taken unverified" in run("lock --location hub --insecure")
    assert "is not signed, and a root to trust is given" in run("lock --location hub --trust root.json", 3)
    assert "can't be read" in run("fetch --location hub --trust nowhere.json", 1)
    assert "ann.pub: the root to trust is not root metadata" in run("fetch --location hub --trust ann.pub", 1)


@pytest.mark.usefixtures("registry")
def test_a_mirror(run):
    done = run("mirror copy --location hub --json")
    assert (done["signed"], [file["file"] for file in done["files"]]) == (True, ["llvm_v0.05.log"])
    assert "verified with its signatures" in run("mirror copy --location hub")
    assert "nothing can be mirrored from NONE" in run("mirror copy --location NONE", 2)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("keys make ann", 2, "already there"),
        ("keys sign --registry hub --key nobody.pem", 1, "`tophub keys make` makes a key pair"),
        ("keys sign --registry hub --key ann.pem", 2, "nothing waits for the signature"),
        ("keys sign --registry hub --file x.json --key ann.pem", 2, "give one of the two"),
        ("keys sign --file llvm_v0.05.log --key ann.pem", 1, "not signed metadata"),
        ("keys show --registry home", 2, "the registry is not signed"),
        ("keys change root --registry hub", 2, "nothing is to be changed"),
        ("keys delegate cuda --registry hub", 2, "give the owner's --key, or --end"),
        ("keys renew snapshot --registry hub", 2, "no such role"),
        ("release llvm llvm_v0.06.log --registry new --sign ann.pem", 2, "the registry is not signed"),
        ("fetch --location hub --trust root.json --insecure", 2, "give one of the two"),
        ("mirror hub --location hub", 2, "a mirror of itself"),
    ],
)
def test_misuse_is_one_line_with_its_exit_code(run, line, code, says):
    assert says in run(line, code)


@pytest.mark.usefixtures("registry")
def test_a_passphrase_comes_from_a_file_too(run, tmp_path, monkeypatch):
    monkeypatch.delenv("TOPHUB_PASSPHRASE")
    (tmp_path / "pass").write_text("secret\n")
    run("keys renew root --registry hub")
    assert "the key has a passphrase" in run("keys sign --registry hub --key ann.pem", 2)
    run("keys sign --registry hub --key ann.pem --passphrase-file pass")
    assert "no passphrase is given" in run("keys make cat", 2)
    (tmp_path / "pass").write_text("guess\n")
    assert "wrong passphrase (try again)" in run("keys sign --registry hub --key bob.pem --passphrase-file pass", 1)


def test_without_the_extra_one_line_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    monkeypatch.setattr("tophub_registry.extras.find_spec", lambda _: None)
    said = run("keys make cat", 3)
    assert said.startswith("tophub: error: `tophub keys` needs the extra [sign]")
    assert said.count("\n") == 1
