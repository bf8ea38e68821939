"""Two registries that number alike: neither loses its file to the other, and none is taken for the other's."""

import subprocess
import sys

import pytest

from tests.registries import served, write_rows
from tophub_registry import tophub
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.index import Notice
from tophub_registry.packages.location import Folder, Web
from tophub_registry.packages.overview import survey
from tophub_registry.packages.root import Root
from tophub_registry.packages.sources import find_sources
from tophub_registry.packages.told import not_yet_told
from tophub_registry.packages.version import Reference
from tophub_registry.publishing.release import release
from tophub_registry.publishing.yank import yank
from tophub_registry.records.target import Target

LLVM = Target.parse("llvm -mcpu=znver4")


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path / "home" / ".tvm" / "tophub")


@pytest.fixture
def mine(tmp_path):
    release("llvm", write_rows(tmp_path / "1" / "llvm_v0.10.log", 3), tmp_path / "mine")
    return Folder(tmp_path / "mine")


@pytest.fixture
def theirs(tmp_path):
    release("llvm", write_rows(tmp_path / "2" / "llvm_v0.10.log", 5), tmp_path / "theirs")
    return Folder(tmp_path / "theirs")


def published(location):
    return (location.path / "llvm_v0.10.log").read_bytes()


def rules(done):
    return [notice.rule for notice in done.notices]


def test_each_keeps_its_file_and_is_answered_with_it(mine, theirs, root):
    name = root.path / "llvm_v0.10.log"
    for _ in range(2):
        (first,), (second,) = (fetch([], location, root).packages for location in (mine, theirs))
        assert (first.path, name.read_bytes()) == (name, published(mine))
        assert second.path.name == name.name
        assert second.path.read_bytes() == published(theirs)
    assert (first.status, second.status) == ("cached", "cached")
    for location, fetched in ((mine, first), (theirs, second)):
        (source,) = find_sources(LLVM, location, root).logs
        assert source == ("llvm v0.10", fetched.path)


def test_the_second_one_is_told_whose_file_has_the_name_and_what_to_do(mine, theirs, root):
    assert rules(fetch([], mine, root)) == []
    done = fetch([], theirs, root)
    assert rules(done) == ["name-taken"]
    assert f"{root.path}/llvm_v0.10.log comes from {mine.name} and is kept" in str(done.notices[0])
    (root.path / "llvm_v0.10.log").unlink()
    (theirs.path / "llvm_v0.10.log").unlink()  # it is not asked for again
    done = fetch([], theirs, root)
    assert (rules(done), done.packages[0].status) == ([], "cached")
    assert (root.path / "llvm_v0.10.log") == done.packages[0].path
    assert rules(fetch([], mine, root)) == ["name-taken"]


@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_the_second_one_gets_the_name_when_the_first_is_no_log_any_more(mine, theirs, root, damage):
    for location in (mine, theirs):
        fetch([], location, root)
    name, wanted = root.path / "llvm_v0.10.log", published(theirs)
    name.unlink()
    if damage == "damaged":
        name.write_text("damaged")
    (theirs.path / "llvm_v0.10.log").unlink()  # nothing is downloaded again
    done = fetch([], theirs, root)
    assert (done.packages[0].path, name.read_bytes()) == (name, wanted)
    assert rules(done) == (["damaged"] if damage == "damaged" else [])


def test_both_are_listed_as_cached_and_none_as_damaged(mine, theirs, root):
    fetch([], mine, root)
    seen = survey(theirs, root)
    assert [package.state for package in seen.packages] == ["missing"]
    assert [(file.path.name, file.registry) for file in seen.unlisted] == [("llvm_v0.10.log", mine.name)]
    fetch([], theirs, root)
    for location in (mine, theirs):
        assert [package.state for package in survey(location, root).packages] == ["cached"]


def test_a_log_that_no_known_registry_published_stays_too(theirs, root):
    """An AutoTVM client may have fetched it, from a registry that this project never asked."""
    unknown = write_rows(root.path / "llvm_v0.10.log", 7)
    before = unknown.read_bytes()
    done = fetch([], theirs, root)
    assert rules(done) == ["name-taken"]
    assert f"is not from {theirs.name} and is kept" in str(done.notices[0])
    assert unknown.read_bytes() == before
    assert done.packages[0].path.read_bytes() == published(theirs)


def test_the_drop_in_reads_the_file_of_the_location_in_use(mine, theirs, root, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    fetch([], mine, root)
    monkeypatch.setenv("TOPHUB_LOCATION", theirs.name)
    assert len(list(tophub._reference_records("llvm", "unknown", "dense_nopack.x86"))) == 5
    monkeypatch.setenv("TOPHUB_LOCATION", mine.name)
    assert len(list(tophub._reference_records("llvm", "unknown", "dense_nopack.x86"))) == 3


FETCHES = """
import multiprocessing, sys
from pathlib import Path
from tophub_registry.packages import root
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.location import find_location

folder, root.TURN, names = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
forks = multiprocessing.get_context("fork")
together = forks.Barrier(8)

def one(name):
    together.wait()
    for _ in range(5):
        (fetched,) = fetch([], find_location(name), root.Root(folder)).packages
        assert fetched.path.read_bytes() == (Path(name) / "llvm_v0.10.log").read_bytes(), name

processes = [forks.Process(target=one, args=(names[number % 2],)) for number in range(8)]
for process in processes:
    process.start()
for process in processes:
    process.join()
sys.exit(any(process.exitcode for process in processes))
"""


@pytest.mark.parametrize("turn", ["120", "0"])
@pytest.mark.parametrize("before", [None, "damaged"])
def test_processes_that_fetch_both_at_once_get_what_they_asked_for(mine, theirs, root, turn, before):
    if before is not None:
        root.path.mkdir(parents=True)
        (root.path / "llvm_v0.10.log").write_text(before)
    done = subprocess.run([sys.executable, "-c", FETCHES, root.path, turn, mine.name, theirs.name], check=False)
    assert done.returncode == 0
    files = [path.read_bytes() for path in root.path.rglob("llvm_v0.10.log")]
    assert {published(mine), published(theirs)} <= set(files)
    assert not list(root.path.rglob("*.part"))


class TestANewerVersionInTheRoot:
    """The location in use is not the one that one's own package was fetched from."""

    def test_is_told_with_the_location_that_has_it(self, mine, root, tmp_path):
        release("llvm", write_rows(tmp_path / "llvm_v0.09.log", 2), tmp_path / "shipped")
        shipped = Folder(tmp_path / "shipped")
        with served(mine.path) as server:
            fetch([], Web(server.url), root)
        for seen in (find_sources(LLVM, shipped, root), survey(shipped, root), fetch([], shipped, root)):
            assert rules(seen) == ["newer-here"]
            assert f"in use, has llvm v0.09; {root.path} has the newer v0.10 from {server.url}" in str(seen.notices[0])
            assert f"TOPHUB_LOCATION={server.url} uses it" in str(seen.notices[0])
        assert rules(fetch([Reference.parse("llvm@v0.09")], shipped, root)) == [], "a pin is what was asked for"

    def test_is_told_too_where_the_location_has_no_such_package(self, mine, root, tmp_path):
        release("cuda", write_rows(tmp_path / "cuda.log", 2), tmp_path / "shipped")
        fetch([], mine, root)
        for seen in (
            find_sources(LLVM, Folder(tmp_path / "shipped"), root),
            survey(Folder(tmp_path / "shipped"), root),
        ):
            assert "has no llvm" in str(seen.notices[0])

    def test_is_told_with_the_option_where_nobody_knows_whose_it_is(self, mine, root):
        write_rows(root.path / "llvm_v0.11.log", 1)
        (notice,) = find_sources(LLVM, mine, root).notices
        assert notice.remedy == "`--log llvm@v0.11` uses it"

    def test_is_told_once_by_commands_until_it_changes(self, mine, theirs, root, tmp_path):
        release("llvm", write_rows(tmp_path / "new.log", 6), theirs.path)
        fetch([], theirs, root)
        found = find_sources(LLVM, mine, root).notices
        (told,) = not_yet_told(found, root)
        assert told.message == found[0].message
        assert str(told).endswith("uses it; `tophub list` says it again)")
        assert list(not_yet_told(found, root)) == []
        other = Notice("offline", "no network")
        assert list(not_yet_told([*found, other, other], root)) == [other, other], "others are told always"
        release("llvm", write_rows(tmp_path / "new.log", 7), theirs.path)
        fetch([], theirs, root)
        assert len(list(not_yet_told(find_sources(LLVM, mine, root).notices, root))) == 1
        assert rules(survey(mine, root)) == rules(fetch([], mine, root)) == ["newer-here"]

    def test_is_told_each_time_where_that_can_not_be_remembered(self, mine, theirs, tmp_path):
        (tmp_path / "root").mkdir()
        root = Root(tmp_path / "root")
        notices = [Notice("newer-here", "newer", "use it")]
        (root.path / ".told").mkdir()
        assert len(list(not_yet_told(notices, root))) == len(list(not_yet_told(notices, root))) == 1

    def test_is_not_told_where_its_own_registry_has_yanked_it(self, mine, theirs, root, tmp_path):
        release("llvm", write_rows(tmp_path / "new.log", 6), theirs.path)
        fetch([], theirs, root)
        assert rules(find_sources(LLVM, mine, root)) == ["newer-here"]
        yank(Reference.parse("llvm@v0.11"), "wrong device", theirs.path)
        survey(theirs, root)
        assert rules(find_sources(LLVM, mine, root)) == []
