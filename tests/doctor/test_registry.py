"""The root, the location and the lock: each finding is provoked once."""

import json
import os
import shutil
from collections import namedtuple
from datetime import datetime, timedelta, timezone

import pytest

from tests.registries import served, write_rows
from tophub_registry.doctor import registry as checks
from tophub_registry.doctor import variables
from tophub_registry.doctor.check import run
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.index import INDEX_FILE
from tophub_registry.packages.location import Folder
from tophub_registry.packages.root import Root
from tophub_registry.publishing.release import release


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    for name in ("TOPHUB_LOCATION", "TOPHUB_LOCK", "TOPHUB_MISSES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def registry(tmp_path):
    release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 3), tmp_path / "registry")
    return tmp_path / "registry"


@pytest.fixture
def root(registry, tmp_path):
    fetch([], Folder(registry), Root(tmp_path / "root"))
    return Root(tmp_path / "root")


def change(registry, **fields):
    index = json.loads((registry / INDEX_FILE).read_bytes())
    (registry / INDEX_FILE).write_text(json.dumps({**index, **fields}))


def located(name, root):
    return run("location", checks.Registry(str(name), root).check)


def only(found, level):
    (check,) = (each for each in found if each.level == level)
    return check


def test_a_root_that_can_be_used(root, tmp_path):
    assert [check.level for check in checks.root(root)] == ["ok"]
    assert "does not exist yet" in only(checks.root(Root(tmp_path / "a" / "b")), "ok").message


def test_a_root_that_can_not_be_used(root, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert only(checks.root(Root(tmp_path / "file" / "tophub")), "error").message == f"{tmp_path}/file is not a folder"
    usage = namedtuple("usage", "free")  # noqa: PYI024  # as of shutil
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1_000_000))
    assert only(checks.root(root), "error").remedy == "free some space"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100_000_000))
    assert "are free in" in only(checks.root(root), "warning").message
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "can't be written to" in only(checks.root(root), "error").message


def test_files_that_are_damaged_left_over_or_unknown(root):
    assert [check.level for check in checks.hashes(root)] == ["ok"]
    (root.path / "llvm_v0.05.log").write_text("damaged")
    (root.path / "notes.txt").write_text("mine")
    (root.path / ".llvm_v0.06.log.0123456789abcdef.part").write_text("")
    found = list(checks.hashes(root))
    assert "`tophub fetch llvm@v0.05" in only(found, "error").remedy
    assert "1 file left by processes" in only(found, "warning").message
    assert only(found, "ok").message == "0 as published, 1 that no registry seen from here has published"
    for number in range(9):
        shutil.copytree(root.path, root.path / ".others" / str(number), ignore=shutil.ignore_patterns(".*", "*.txt"))
    assert "5 more are damaged" in [check.message for check in checks.hashes(root)]


def test_a_location_that_responds(registry, root):
    with served(registry) as server:
        found = located(server.url, root)
    assert [(check.topic, check.level) for check in found] == [("location", "ok"), ("index", "ok")]
    assert "newest versions: llvm v0.05" in found[1].message


def test_a_location_that_does_not_respond(registry, root, tmp_path):
    assert "no index of it is remembered" in only(located("http://127.0.0.1:1", root), "error").message
    with served(registry) as server:
        fetch([], checks.find_location(server.url), root)
    silent = only(located(server.url, root), "warning")
    assert "Connection refused; its last index is used" in silent.message
    assert "not a registry" in only(located(tmp_path / "nowhere", root), "error").message


def test_a_location_that_takes_too_long(registry, root, monkeypatch):
    monkeypatch.setattr(checks, "PATIENCE", 0.2)

    def slow(_request):
        return checks.time.sleep(2) or False

    with served(registry, slow) as server:
        assert "does not respond in 0 s" in only(located(server.url, root), "error").message


def test_locations_that_are_none(root):
    assert "not a location" in only(located("ftp://me:secret@example.org", root), "error").message
    assert "secret" not in str(located("ftp://me:secret@example.org", root))
    assert "switched off" in only(located("NONE", root), "warning").message


def test_an_index_that_is_invalid_expired_or_went_back(registry, root):
    change(registry, expires="2020-01-01T00:00:00Z", serial=9)
    assert "the index expired on 2020-01-01" in only(located(registry, root), "warning").message
    change(registry, serial=0)
    warnings = [check.message for check in located(registry, root) if check.level == "warning"]
    assert "went back from serial 1 to 0" in warnings[0]
    change(registry, serial=0, packages={})
    assert "went back from serial 1 to 0: " in only(located(registry, root), "error").message
    change(registry, serial="many")
    assert "not an index: serial" in only(located(registry, root), "error").message


def test_a_clock_that_is_behind(registry, root, monkeypatch):
    past = datetime.now(timezone.utc) - timedelta(days=400)
    monkeypatch.setattr(checks, "now", lambda: past)
    assert "in the future" in only(located(registry, root), "warning").message


def test_remembered_locations_have_their_age(registry, root):
    (memory,) = root.path.glob(".indexes/*.json")
    old = datetime.now(timezone.utc) - timedelta(days=30)
    os.utime(memory, (old.timestamp(), old.timestamp()))
    assert only(checks.remembered(root), "ok").message == f"{registry}: serial 1, last served 30 days ago"


def test_misses_and_own_logs(root):
    assert next(check.message for check in checks.own(root)) == "own logs: none"
    (root.path / "own").mkdir()
    (root.path / "own" / "misses.json").write_text("{")
    assert "not a file of misses" in only(run("own", lambda: checks.own(root)), "error").message


def test_the_lock(registry, root, tmp_path):
    from tophub_registry.packages.folder import read_index
    from tophub_registry.packages.lock import make_lock

    assert list(checks.lock(root, tmp_path, {})) == []
    make_lock(read_index(registry), str(registry), [], None)[0].write(tmp_path / "tophub.lock")
    assert "not in effect without --locked; all on this machine" in only(checks.lock(root, tmp_path, {}), "ok").message
    (root.path / "llvm_v0.05.log").unlink()
    named = {"TOPHUB_LOCK": str(tmp_path / "tophub.lock")}
    missing = only(checks.lock(root, tmp_path, named), "warning")
    assert "in effect; not on this machine: llvm" in missing.message
    assert missing.remedy == f"`tophub fetch --locked {tmp_path}/tophub.lock`"
    named["TOPHUB_LOCK"] = "none.lock"
    assert "no such lock" in only(run("lock", lambda: checks.lock(root, tmp_path, named)), "error").message


def test_variables():
    set_ = {"TOPHUB_MISSES": "yes", "TOPHUB_LOCATON": "x", "TOPHUB_LOCATION": "http://me:pw@host/", "PATH": "/bin"}
    found = list(variables.variables(set_))
    assert only(found, "error").remedy == "it can be 1 or 0, or unset TOPHUB_MISSES"
    assert only(found, "warning").remedy == "did you mean TOPHUB_LOCATION?"
    assert only(found, "ok").message == "TOPHUB_LOCATION=http://host/: the registry to use; NONE switches fetching off"
    assert only(variables.variables({}), "ok").message == "no variable TOPHUB_… is set"
    assert "secret" not in only(variables.variables({"TOPHUB_PASSPHRASE": "secret"}), "ok").message


def test_every_variable_that_the_code_reads_is_known():
    from pathlib import Path
    from re import findall

    package = Path(variables.__file__).parents[1]
    code = "".join(path.read_text() for path in package.rglob("*.py"))
    assert set(findall(r'(?:VARIABLE|MIRRORS) = "(TOPHUB_[A-Z]+)"', code)) == variables.VARIABLES.keys()
