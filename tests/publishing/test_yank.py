"""Yanking published versions, and undoing it."""

import json
from datetime import datetime, timedelta, timezone

import pytest

from tests.registries import write_rows
from tophub_registry.errors import InputError, UsageError
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.folder import read_index
from tophub_registry.packages.index import INDEX_FILE, LIFETIME, iso_time
from tophub_registry.packages.location import Folder
from tophub_registry.packages.root import Root
from tophub_registry.packages.version import Reference, Version
from tophub_registry.publishing.release import release
from tophub_registry.publishing.yank import yank

TIME = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)
GOOD, BAD = Reference.parse("cuda@v0.10"), Reference.parse("cuda@v0.11")


@pytest.fixture
def registry(tmp_path):
    for rows, number in [(1, "v0.10"), (2, "v0.11")]:
        release("cuda", write_rows(tmp_path / f"cuda_{number}.log", rows), tmp_path / "registry", time=TIME)
    return tmp_path / "registry"


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def fetched(registry, tmp_path, *references):
    done = fetch([Reference.parse(text) for text in references], Folder(registry), Root(tmp_path / "root"))
    return [str(package.version) for package in done.packages], [notice.rule for notice in done.notices]


def test_a_yanked_version_is_passed_over_and_a_pin_on_it_resolves_and_warns(registry, tmp_path):
    assert fetched(registry, tmp_path, "cuda") == (["v0.11"], [])
    done = yank(BAD, "measured on the wrong device", registry)
    assert (str(done.version), str(done.newest), done.changed, done.serial) == ("v0.11", "v0.10", True, 3)
    assert fetched(registry, tmp_path, "cuda") == (["v0.10"], [])
    assert fetched(registry, tmp_path, "cuda@v0.11") == (["v0.11"], ["yanked"])


def test_only_the_index_changes_and_undoing_it_restores_all_but_serial_and_expiry(registry):
    before = files(registry)
    later = TIME + timedelta(days=30)
    yank(BAD, "wrong numbers", registry, time=later)
    yanked = files(registry)
    assert {name for name in before if before[name] != yanked[name]} == {INDEX_FILE}
    assert json.loads(yanked[INDEX_FILE])["packages"]["cuda"]["v0.11"]["yanked"] == "wrong numbers"
    done = yank(BAD, None, registry, time=later)
    assert (done.reason, str(done.newest), done.serial) == (None, "v0.11", 4)
    fields, was = json.loads(files(registry)[INDEX_FILE]), json.loads(before[INDEX_FILE])
    assert (fields.pop("expires"), fields.pop("serial")) == (iso_time(later + LIFETIME), was.pop("serial") + 2)
    assert fields == {name: value for name, value in was.items() if name != "expires"}


@pytest.mark.parametrize("reason", ["wrong numbers", None])
def test_the_second_time_nothing_changes(registry, reason):
    yank(BAD, reason, registry)
    before = files(registry)
    done = yank(BAD, reason, registry)
    assert not done.changed
    assert files(registry) == before


def test_another_reason_takes_the_place_of_the_first(registry):
    yank(BAD, "something is wrong", registry)
    assert yank(BAD, "wrong device", registry).changed
    assert read_index(registry).versions("cuda")[Version.parse("v0.11")].yanked == "wrong device"


def test_after_all_are_yanked_a_release_begins_a_new_chain(registry, tmp_path):
    yank(GOOD, "bad", registry)
    assert yank(BAD, "bad", registry).newest is None
    done = release("cuda", write_rows(tmp_path / "new.log", 3, target="cuda"), registry)
    assert (str(done.version), done.published.base) == ("v0.12", None)


@pytest.mark.parametrize("reason", ["", "two\nlines", "\x1b[2J", "x" * 1001])
def test_a_reason_that_an_index_can_not_hold(registry, reason):
    before = files(registry)
    with pytest.raises(InputError, match="can't hold this reason"):
        yank(BAD, reason, registry)
    assert files(registry) == before


@pytest.mark.parametrize(
    ("name", "message"), [("cuda", "which version"), ("cuda@v0.09", "no cuda v0.09"), ("rocm@v0.01", "no package")]
)
def test_what_is_not_there_can_not_be_yanked(registry, name, message):
    with pytest.raises(UsageError, match=message):
        yank(Reference.parse(name), "bad", registry)


def test_a_folder_that_is_no_registry_is_left_as_it_is(tmp_path):
    (tmp_path / "folder").mkdir()
    for folder in (tmp_path / "folder", tmp_path / "missing"):
        with pytest.raises(UsageError, match="not a registry"):
            yank(BAD, "bad", folder)
    assert not (tmp_path / "missing").exists()
    assert list((tmp_path / "folder").iterdir()) == []
