"""Verifying a root: what is good, damaged, unknown or left over, and what repair does."""

import os
import shutil
from datetime import timedelta

import pytest

from tests.registries import served, two_packages, write_rows
from tests.signed import made
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.index import now
from tophub_registry.packages.location import Folder, Web
from tophub_registry.packages.repair import repair
from tophub_registry.packages.root import Root
from tophub_registry.packages.verification import verify
from tophub_registry.packages.version import Reference
from tophub_registry.publishing.release import release
from tophub_registry.publishing.yank import yank


@pytest.fixture
def registry(tmp_path):
    return two_packages(tmp_path)


@pytest.fixture
def root(registry, tmp_path):
    fetch([], Folder(registry), Root(tmp_path / "root"))
    return Root(tmp_path / "root")


def states(root):
    found = verify(root)
    return {str(checked.path.relative_to(root.path)): checked.state for checked in found.files}


def damaged(root):
    return verify(root).in_state("damaged")


def test_what_was_fetched_is_good_and_looking_changes_nothing(root):
    before = {path: path.stat().st_mtime_ns for path in root.path.rglob("*")}
    assert states(root) == {"cuda_v0.11.log": "good", "llvm_v0.05.log": "good", "llvm_v0.05.model.json": "good"}
    assert {path: path.stat().st_mtime_ns for path in root.path.rglob("*")} == before


def test_a_root_that_does_not_exist_has_no_files(tmp_path):
    assert verify(Root(tmp_path / "nowhere")).files == ()


@pytest.mark.parametrize("file", ["llvm_v0.05.log", "llvm_v0.05.model.json"])
@pytest.mark.parametrize("change", ["a bit", "cut", "empty", "rubbish"])
def test_any_change_of_a_published_file_is_damage_and_repair_restores_it(root, registry, file, change):
    path = root.path / file
    data = path.read_bytes()
    digit = data.replace(b"1", b"3", 1) if b"1" in data else data.replace(b"a", b"b", 1)
    path.write_bytes({"a bit": digit, "cut": data[: len(data) // 2], "empty": b"", "rubbish": b"\0\1"}[change])
    (found,) = damaged(root)
    assert (found.path, str(found.reference), found.registry) == (path, "llvm@v0.05", str(registry))
    assert found.remedy
    assert [each.error for each in repair([found], Folder(registry), root)] == [None]
    assert path.read_bytes() == data
    assert not damaged(root)


def test_a_changed_log_that_can_be_read_is_kept_aside(root, registry):
    path = root.path / "llvm_v0.05.log"
    mine = path.read_bytes().replace(b"0.0001", b"0.0009")
    path.write_bytes(mine)
    (found,) = damaged(root)
    assert "changed, or from a registry that was never seen here" in found.message
    repair([found], Folder(registry), root)
    (kept,) = [other for other in root.path.glob(".others/*/*.log") if other.read_bytes() == mine]
    assert states(root)[str(kept.relative_to(root.path))] == "unknown"
    kept.write_bytes(b"\0")
    assert states(root)[str(kept.relative_to(root.path))] == "damaged"


def test_repair_that_fails_leaves_the_file_and_says_why(root, registry):
    path = root.path / "llvm_v0.05.log"
    mine = path.read_bytes().replace(b"0.0001", b"0.0009")
    path.write_bytes(mine)
    shutil.rmtree(registry)
    (outcome,) = repair(damaged(root), None, root)
    assert "no such folder" in str(outcome.error)
    assert path.read_bytes() == mine


def test_repair_uses_the_location_in_use_which_may_have_a_password(registry, tmp_path):
    root = Root(tmp_path / "web")
    with served(registry) as server:
        place = Web(server.url.replace("://", "://me:secret@"))
        fetch([], place, root)
        (root.path / "cuda_v0.11.log").write_bytes(b"")
        (found,) = damaged(root)
        assert found.registry == server.url
        assert repair([found], place, root)[0].error is None


def test_a_file_that_nobody_has_published_is_unknown_and_its_registry_makes_it_known(root, tmp_path):
    release("rocm", write_rows(tmp_path / "rocm_v0.01.log", 2), tmp_path / "theirs")
    shutil.copy(tmp_path / "theirs" / "rocm_v0.01.log", root.path)
    (root.path / "notes.txt").write_text("mine")
    assert states(root)["rocm_v0.01.log"] == states(root)["notes.txt"] == "unknown"
    fetch([Reference.parse("rocm")], Folder(tmp_path / "theirs"), root)
    assert states(root)["rocm_v0.01.log"] == "good"


def test_two_registries_files_of_one_name_are_both_good_and_each_is_repaired_by_its_own(root, registry, tmp_path):
    release("llvm", write_rows(tmp_path / "theirs" / "llvm_v0.05.log", 9), tmp_path / "other")
    (other,) = fetch([], Folder(tmp_path / "other"), root).packages
    assert set(states(root).values()) == {"good"}
    other.path.write_bytes(b"\0")
    (found,) = damaged(root)
    assert found.registry == str(tmp_path / "other")
    repair([found], Folder(registry), root)
    assert set(states(root).values()) == {"good"}


def test_what_a_killed_process_leaves_is_left_over(root):
    (root.path / ".llvm_v0.05.log.0123456789abcdef.part").write_bytes(b"{")
    assert states(root)[".llvm_v0.05.log.0123456789abcdef.part"] == "leftover"


def test_an_index_that_can_not_be_read_is_damage(root):
    (memory,) = root.path.glob(".indexes/*.json")
    memory.write_text("{")
    index = next(checked for checked in damaged(root) if checked.path == memory)
    assert repair([index], None, root) == ()
    assert memory.read_text() == "{", "nothing is deleted"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_can_not_be_read_is_damage(root):
    (root.path / "cuda_v0.11.log").chmod(0)
    assert "can't be read" in damaged(root)[0].message


def test_a_yanked_file_is_good_and_called_yanked(root, registry):
    yank(Reference.parse("cuda@v0.11"), "wrong device", registry)
    fetch([Reference.parse("llvm")], Folder(registry), root)
    (found,) = (each for each in verify(root).files if each.path.name == "cuda_v0.11.log")
    assert (found.state, found.message) == ("good", "yanked: wrong device")


class TestSignatures:
    @pytest.fixture
    def signed(self, tmp_path):
        return made(tmp_path / "signed", "rocm@v0.01")

    @pytest.fixture
    def root(self, root, signed):
        fetch([], signed.location, root)
        return root

    def test_what_is_signed_is_told_from_what_an_index_says(self, root, registry, signed):
        (root.path / "llvm_v0.05.log").write_bytes(b"")
        found = verify(root)
        assert {checked.path.name: (checked.state, checked.signed_by) for checked in found.files} == {
            "cuda_v0.11.log": ("good", ()),
            "llvm_v0.05.log": ("damaged", ()),
            "llvm_v0.05.model.json": ("good", ()),
            "rocm_v0.01.log": ("good", (signed.location.name,)),
        }
        ((name, expires, valid),) = found.signatures
        assert (name, valid) == (signed.location.name, True)
        (late,) = verify(root, time=now() + timedelta(days=8)).signatures
        assert (late.expires, late.valid) == (expires, False)

    def test_a_file_that_a_registry_lists_and_has_not_signed_is_not_called_signed(self, root):
        (state,) = root.path.glob(".trust/*/state.json")
        state.write_text(state.read_text().replace('"rocm_v0.01.log":{', '"rocm_v0.02.log":{'))
        assert not [checked for checked in verify(root).files if checked.signed_by]

    def test_of_registries_with_the_same_bytes_those_that_signed_them_count(self, root, signed, tmp_path):
        shutil.copytree(signed.path, tmp_path / "signed copy")
        fetch([], Folder(tmp_path / "signed copy"), root)
        shutil.copytree(signed.path, tmp_path / "copy")
        shutil.rmtree(tmp_path / "copy" / "metadata")
        release("rocm", write_rows(tmp_path / "rocm_v0.02.log", 2), tmp_path / "copy")
        fetch([Reference.parse("rocm@v0.01")], Folder(tmp_path / "copy"), root)
        (found,) = (checked for checked in verify(root).files if checked.path.name == "rocm_v0.01.log")
        assert {*found.signed_by} == {signed.location.name, str(tmp_path / "signed copy")}
        assert found.registry in found.signed_by

    def test_what_is_not_hashed_is_not_called_signed(self, root):
        assert not [checked for checked in verify(root, most=0).files if checked.signed_by]


def test_beyond_a_number_of_bytes_only_sizes_are_compared(root):
    path = root.path / "llvm_v0.05.log"
    path.write_bytes(path.read_bytes().replace(b"0.0001", b"0.0009"))
    assert len(verify(root).in_state("damaged")) == 1
    assert not verify(root, most=0).in_state("damaged")
    path.write_bytes(b"")
    assert verify(root, most=0).in_state("damaged")


def test_progress_counts_the_bytes(root):
    seen = {}
    verify(root, progress=lambda file, done, total: seen.update({file: (done, total)}))
    assert set(seen) == {"cuda_v0.11.log", "llvm_v0.05.log", "llvm_v0.05.model.json"}
    assert all(done == total for done, total in seen.values())
