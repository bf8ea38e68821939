"""A project's lock: the same versions with the same bytes, on every machine and from every location that has them."""

import json
import shutil
from pathlib import Path

import pytest

from tests.registries import body, served, two_packages, write_rows
from tophub_registry import tophub
from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.packages.folder import read_index
from tophub_registry.packages.here import find_log, packages_here
from tophub_registry.packages.index import INDEX_FILE
from tophub_registry.packages.location import Folder, Web, builtin
from tophub_registry.packages.lock import Lock, changes, known_lock, lock_in_effect, make_lock
from tophub_registry.packages.locked import fetch_locked, locations_of
from tophub_registry.packages.root import Root
from tophub_registry.packages.sources import find_sources
from tophub_registry.packages.version import Reference
from tophub_registry.publishing.release import release
from tophub_registry.publishing.yank import yank
from tophub_registry.records.target import Target

LLVM = Target.parse("llvm -mcpu=znver4")


@pytest.fixture(autouse=True)
def _no_lock(monkeypatch):
    monkeypatch.setenv("TOPHUB_LOCK", "")


@pytest.fixture
def registry(tmp_path):
    return two_packages(tmp_path)


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path / "root")


def locked(registry, *references, before=None):
    wanted = [Reference.parse(text) for text in references]
    return make_lock(read_index(registry), str(registry), wanted, before)[0]


def newer(registry, tmp_path):
    release("llvm", write_rows(tmp_path / "llvm_v0.06.log", 4), registry)


def other_bytes(tmp_path):
    """Return another registry, which has other bytes under the same version."""
    release("llvm", write_rows(tmp_path / "theirs" / "llvm_v0.05.log", 9), tmp_path / "other")
    return tmp_path / "other"


def summary(done):
    return [(each.package, str(each.version), each.status) for each in done.packages]


def test_a_lock_has_the_same_bytes_whatever_the_order_and_is_read_back(registry):
    lock = locked(registry, "llvm", "cuda")
    assert lock.to_bytes() == locked(registry, "cuda", "llvm").to_bytes()
    assert Lock.parse(lock.to_bytes()).packages == lock.packages
    fields = json.loads(lock.to_bytes())
    assert [*fields] == ["schema_version", "comment", "location", "packages"]
    assert "password" not in str(fields)
    assert fields["packages"]["llvm"]["model"]["file"] == "llvm_v0.05.model.json"


def test_the_locked_version_is_fetched_and_nothing_newer(registry, root, tmp_path):
    lock = locked(registry)
    newer(registry, tmp_path)
    assert summary(fetch_locked(lock, Folder(registry), root)) == [
        ("cuda", "v0.11", "downloaded"),
        ("llvm", "v0.05", "downloaded"),
    ]
    assert (root.path / "llvm_v0.05.model.json").is_file()
    assert not (root.path / "llvm_v0.06.log").exists()


def test_what_is_here_needs_no_location(registry, root):
    lock = locked(registry)
    fetch_locked(lock, Folder(registry), root)
    for location in (None, Web("http://127.0.0.1:1")):
        assert {each.status for each in fetch_locked(lock, location, root).packages} == {"cached"}
    (root.path / "llvm_v0.05.log").unlink()
    with pytest.raises(EnvironmentFailure, match="is not on this machine, and fetching is switched off"):
        fetch_locked(lock, None, root)


def test_a_damaged_file_is_fetched_anew(registry, root):
    lock = locked(registry)
    fetch_locked(lock, Folder(registry), root)
    (root.path / "llvm_v0.05.log").write_bytes(b"\0")
    (root.path / "llvm_v0.05.model.json").write_bytes(b"\0")
    done = fetch_locked(lock, Folder(registry), root)
    assert summary(done)[1] == ("llvm", "v0.05", "replaced")
    assert (root.path / "llvm_v0.05.model.json").read_bytes() == b'{"a": "model"}'


@pytest.mark.parametrize("with_index", [True, False])
def test_another_location_with_the_same_bytes_will_do(registry, root, tmp_path, with_index):
    lock = locked(registry)
    mirror = shutil.copytree(registry, tmp_path / "mirror")
    shutil.rmtree(registry)
    if not with_index:  # as on a plain file server
        (mirror / INDEX_FILE).unlink()
    with served(mirror) as server:
        assert {each.status for each in fetch_locked(lock, Web(server.url), root).packages} == {"downloaded"}


def test_other_bytes_under_the_locked_version_are_refused(registry, root, tmp_path):
    lock = locked(registry, "llvm")
    other = other_bytes(tmp_path)
    with pytest.raises(EnvironmentFailure, match=r"has other bytes as llvm v0\.05: SHA-256"):
        fetch_locked(lock, Folder(other), root)
    (other / INDEX_FILE).unlink()  # even if no index says so
    with pytest.raises(EnvironmentFailure, match="not the published file"):
        fetch_locked(lock, Folder(other), Root(tmp_path / "new"))
    assert not list(tmp_path.glob("new/*.log"))
    assert not list(root.path.rglob("*.log"))


def test_other_bytes_that_are_here_under_that_name_are_not_used(registry, root, tmp_path):
    lock = locked(registry, "llvm")
    root.path.mkdir()
    shutil.copy(other_bytes(tmp_path) / "llvm_v0.05.log", root.path)
    done = fetch_locked(lock, Folder(registry), root)
    assert done.packages[0].path.read_bytes() == (registry / "llvm_v0.05.log").read_bytes()
    assert [notice.rule for notice in done.notices] == ["name-taken"]


def test_a_location_that_serves_other_bytes_than_the_locked_ones_changes_nothing(registry, root):
    lock = locked(registry, "llvm")

    def tampered(request):
        return request.path.endswith(".log") and body(request, b"#" * lock.packages["llvm"].bytes)

    with served(registry, tampered) as server, pytest.raises(EnvironmentFailure, match="its SHA-256 is"):
        fetch_locked(lock, Web(server.url), root)
    assert not list(root.path.rglob("*.log"))


def test_a_version_that_was_yanked_since_is_fetched_with_a_notice(registry, root):
    lock = locked(registry, "llvm")
    yank(Reference.parse("llvm@v0.05"), "wrong device", registry)
    for status in ("downloaded", "cached"):
        done = fetch_locked(lock, Folder(registry), root)
        assert summary(done) == [("llvm", "v0.05", status)]
        assert [notice.rule for notice in done.notices] == ["yanked"]


def test_the_lock_s_own_location_is_asked_before_the_builtin_one(registry):
    lock = locked(registry)
    assert locations_of(lock, builtin()) == [Folder(registry), builtin()]
    assert locations_of(lock, Web("http://127.0.0.1:1")) == [Web("http://127.0.0.1:1")]
    assert locations_of(lock, None) == []


def test_the_builtin_registry_serves_what_the_lock_s_location_no_longer_can(tmp_path, root):
    lock, _ = make_lock(read_index(builtin().path), str(tmp_path / "gone"), [Reference.parse("llvm@v0.05")], None)
    assert summary(fetch_locked(lock, builtin(), root)) == [("llvm", "v0.05", "downloaded")]
    lock, _ = make_lock(read_index(builtin().path), "http://127.0.0.1:1", [Reference.parse("llvm@v0.06")], None)
    assert summary(fetch_locked(lock, builtin(), root)) == [("llvm", "v0.06", "downloaded")]


def test_a_version_that_no_location_has_is_an_error(registry, root, tmp_path):
    newer(registry, tmp_path)
    lock = locked(registry, "llvm")
    release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 3), tmp_path / "older")
    with pytest.raises(EnvironmentFailure, match=r"has no llvm v0\.06"):
        fetch_locked(lock, Folder(tmp_path / "older"), root)


def test_looking_up_uses_the_locked_version_and_not_a_newer_one_that_is_here(registry, root, tmp_path, monkeypatch):
    lock = locked(registry, "llvm")
    lock.write(tmp_path / "tophub.lock")
    newer(registry, tmp_path)
    find_sources(LLVM, Folder(registry), root)
    monkeypatch.setenv("TOPHUB_LOCK", str(tmp_path / "tophub.lock"))
    with served(registry) as server:
        found = find_sources(LLVM, Web(server.url), root)
        assert [source.name for source in found.logs] == ["llvm v0.05"]
        asked = len(server.paths)
        again = find_sources(LLVM, Web(server.url), root)
        assert (again.logs, again.notices) == (found.logs, ()), "a registry without signatures is noted once"
        assert len(server.paths) == asked, "what is here needs no request"
    assert packages_here(LLVM, None, root) == [root.path / "llvm_v0.05.log"]
    monkeypatch.chdir(tmp_path / "root")
    assert find_log(Path("llvm"), root, lambda: None) == root.path / "llvm_v0.05.log"
    assert find_log(Path("llvm@v0.06"), root, lambda: None) == root.path / "llvm_v0.06.log"


def test_a_package_that_is_not_locked_is_not_used(registry, root, tmp_path, monkeypatch):
    locked(registry, "llvm").write(tmp_path / "tophub.lock")
    monkeypatch.setenv("TOPHUB_LOCK", str(tmp_path / "tophub.lock"))
    own = write_rows(tmp_path / "own.log", 1)
    found = find_sources(Target.parse("cuda -model=h100"), Folder(registry), root, own=[own])
    assert [source.path for source in found.logs] == [own]
    assert [notice.rule for notice in found.notices] == ["not-locked"]
    with pytest.raises(UsageError, match=r"the lock has llvm v0\.05, not v0\.06"):
        find_sources(LLVM, Folder(registry), root, pins={"llvm": Reference.parse("llvm@v0.06").version})


def test_the_drop_in_module_obeys_the_lock(registry, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TOPHUB_LOCATION", str(registry))
    lock = locked(registry)
    lock.write(tmp_path / "tophub.lock")
    newer(registry, tmp_path)
    assert tophub.PACKAGE_VERSION["llvm"] == "v0.06"
    monkeypatch.setenv("TOPHUB_LOCK", str(tmp_path / "tophub.lock"))
    assert dict(tophub.PACKAGE_VERSION) == {"cuda": "v0.11", "llvm": "v0.05"}
    assert tophub.check_backend(str(registry), "llvm")
    assert [path.name for path in (tmp_path / "home/.tvm/tophub").glob("*.log")] == ["llvm_v0.05.log"]


def test_updating_keeps_pins_and_says_what_has_changed(registry, tmp_path):
    before = locked(registry, "llvm", "cuda@v0.11")
    newer(registry, tmp_path)
    release("cuda", write_rows(tmp_path / "cuda_v0.12.log", 3), registry)
    after = locked(registry, before=before)
    assert [(change.package, change.kind) for change in changes(before, after)] == [
        ("cuda", "unchanged"),
        ("llvm", "updated"),
    ]
    assert [change.kind for change in changes(after, locked(registry, "cuda"))] == ["updated", "removed"]
    assert [change.kind for change in changes(None, after)] == ["added", "added"]
    theirs = locked(other_bytes(tmp_path), "llvm")
    assert [change.kind for change in changes(locked(registry, "llvm@v0.05"), theirs)] == ["other bytes"]


def test_a_package_of_which_every_version_is_yanked_is_not_locked(registry):
    yank(Reference.parse("cuda@v0.11"), "wrong device", registry)
    lock, notices = make_lock(read_index(registry), "here", [], None)
    assert [*lock.packages] == ["llvm"]
    assert [notice.message for notice in notices] == ["every version of cuda is yanked: it is not locked"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda fields: fields.update(schema_version=2), "schema version 2 is not supported (upgrade"),
        (lambda fields: fields["packages"].update({"../llvm": fields["packages"]["llvm"]}), "packages.../llvm"),
        (lambda fields: fields["packages"]["llvm"].update(file="../llvm_v0.05.log"), "the file of llvm v0.05 is named"),
        (lambda fields: fields["packages"]["llvm"]["model"].update(file="/etc/a"), "the model of llvm v0.05 is named"),
        (lambda fields: fields["packages"]["llvm"].update(sha256="0"), "packages.llvm.sha256"),
        (lambda fields: fields.update(location="a\x1b[31m"), "unprintable"),
        (lambda fields: fields.clear(), "location: Field required"),
    ],
)
def test_a_file_that_is_not_a_lock_is_one_error(registry, tmp_path, change, words):
    fields = json.loads(locked(registry, "llvm").to_bytes())
    change(fields)
    (tmp_path / "tophub.lock").write_text(json.dumps(fields))
    with pytest.raises(InputError) as caught:
        known_lock(tmp_path / "tophub.lock")
    assert words in str(caught.value)
    assert caught.value.file == str(tmp_path / "tophub.lock")


def test_a_lock_that_is_named_must_be_there(tmp_path):
    with pytest.raises(InputError, match="no such lock"):
        lock_in_effect({"TOPHUB_LOCK": str(tmp_path / "tophub.lock")})
    assert lock_in_effect({}) is None
