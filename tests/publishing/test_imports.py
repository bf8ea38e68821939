"""Taking over somebody's packages into one's own registry."""

import json
from datetime import datetime, timedelta, timezone

import pytest

from tests.registries import OLD_ROW, body, row, served, write_rows
from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.folder import read_index
from tophub_registry.packages.index import INDEX_FILE, iso_time
from tophub_registry.packages.location import Folder, Web
from tophub_registry.packages.root import Root
from tophub_registry.packages.version import Reference, Version
from tophub_registry.publishing.imports import import_packages
from tophub_registry.publishing.release import release
from tophub_registry.publishing.yank import yank

TIME = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)
LATER = TIME + timedelta(days=60)


@pytest.fixture
def plain(tmp_path):
    """A folder as upstream's: logs by their names and nothing else."""
    for rows, name in [(1, "cuda_v0.09.log"), (2, "cuda_v0.10.log"), (3, "llvm_v0.04.log")]:
        write_rows(tmp_path / "plain" / name, rows)
    (tmp_path / "plain" / "README.md").write_text("not a log")
    return tmp_path / "plain"


@pytest.fixture
def theirs(tmp_path):
    """A registry of somebody else."""
    folder = tmp_path / "theirs"
    for rows, number in [(1, "v0.01"), (2, "v0.02"), (3, "v0.04")]:
        release("rocm", write_rows(tmp_path / f"rocm_{number}.log", rows), folder, time=TIME)
    release("llvm", write_rows(tmp_path / "llvm_v0.09.log", 1), folder, time=TIME)
    yank(Reference.parse("rocm@v0.02"), "wrong device", folder, time=TIME)
    return folder


@pytest.fixture
def mine(tmp_path):
    """One's own registry, with a llvm of its own."""
    release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 7), tmp_path / "mine", time=TIME)
    return tmp_path / "mine"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def take_over(source, registry, *names):
    return import_packages([Reference.parse(name) for name in names], source, registry, time=LATER)


def numbers(folder, package):
    return [str(version) for version in read_index(folder).versions(package)]


def test_plain_files_are_taken_over_byte_for_byte_and_their_source_is_told(plain, mine):
    done = take_over(Folder(plain), mine)
    assert [(one.package, str(one.version), one.status) for one in done.versions] == [
        ("cuda", "v0.09", "imported"),
        ("cuda", "v0.10", "imported"),
        ("llvm", "v0.04", "imported"),
    ]
    for one in done.versions:
        assert one.path == mine / one.path.name
        assert one.path.read_bytes() == (plain / one.path.name).read_bytes()
    entries = read_index(mine).packages
    assert entries["cuda"]["v0.10"].model_dump() == {
        **entries["cuda"]["v0.10"].model_dump(),
        "records": 2,
        "released": iso_time(LATER),
        "base": "v0.09",
        "yanked": None,
        "imported": {"source": str(plain), "at": iso_time(LATER)},
    }
    assert entries["llvm"]["v0.05"].imported is None
    assert (numbers(mine, "llvm"), str(read_index(mine).newest("llvm"))) == (["v0.04", "v0.05"], "v0.05")
    assert done.serial == 4


def test_importing_twice_changes_nothing(plain, mine):
    take_over(Folder(plain), mine)
    before = contents(mine)
    done = take_over(Folder(plain), mine)
    assert {one.status for one in done.versions} == {"present"}
    assert contents(mine) == before


def test_one_package_or_one_version_can_be_named(plain, mine):
    take_over(Folder(plain), mine, "cuda@v0.10")
    assert numbers(mine, "cuda") == ["v0.10"]
    assert read_index(mine).packages["cuda"]["v0.10"].base is None
    take_over(Folder(plain), mine, "cuda", "cuda@v0.09", "llvm")
    assert (numbers(mine, "cuda"), numbers(mine, "llvm")) == (["v0.09", "v0.10"], ["v0.04", "v0.05"])
    assert read_index(mine).packages["cuda"]["v0.10"].base is None, "an entry never changes"


def test_a_registry_is_taken_over_with_its_dates_bases_and_yanks(theirs, mine):
    with served(theirs) as server:
        done = take_over(Web(server.url), mine, "rocm")
    entries = read_index(mine).packages["rocm"]
    assert [(entry.base, entry.yanked, entry.released) for entry in entries.values()] == [
        (None, None, iso_time(TIME)),
        ("v0.01", "wrong device", iso_time(TIME)),
        ("v0.02", None, iso_time(TIME)),
    ]
    assert {entry.imported.source for entry in entries.values()} == {server.url}
    assert done.source == server.url
    assert "rocm@v0.02" not in numbers(mine, "llvm")
    fetched = fetch([Reference.parse("rocm@v0.02")], Folder(mine), Root(mine.parent / "root"))
    assert [notice.rule for notice in fetched.notices] == ["yanked"]


def test_a_base_that_is_not_taken_over_is_replaced_by_one_that_is_there(theirs, mine):
    take_over(Folder(theirs), mine, "rocm@v0.01", "rocm@v0.04")
    assert read_index(mine).packages["rocm"]["v0.04"].base == "v0.01"


def test_plain_files_on_the_web_are_taken_by_name(plain, mine):
    with served(plain) as server:
        take_over(Web(server.url), mine, "cuda@v0.10", "llvm@v0.04")
        assert server.paths == ["/index.json", "/cuda_v0.10.log", "/llvm_v0.04.log"]
        before = contents(mine)
        for names in ([], ["cuda"], ["cuda@v0.09", "llvm"]):
            with pytest.raises(UsageError, match=r"no index\.json") as caught:
                take_over(Web(server.url), mine, *names)
            assert "cuda@v0.10" in caught.value.remedy
        with pytest.raises(EnvironmentFailure, match="404"):
            take_over(Web(server.url), mine, "cuda@v0.08")
    assert contents(mine) == before
    assert numbers(mine, "cuda") == ["v0.10"]


def test_rows_of_log_version_0_1_are_taken_as_they_are_and_noticed(plain, mine):
    (plain / "cuda_v0.07.log").write_text(f"# converted by nobody\n{OLD_ROW}\n{row(1)}\n")
    done = take_over(Folder(plain), mine, "cuda")
    entry = read_index(mine).versions("cuda")[Version.parse("v0.07")]
    assert (entry.records, entry.tasks) == (2, {"dense_nopack.x86": 1, "topi_nn_dense": 1})
    assert (mine / "cuda_v0.07.log").read_bytes() == (plain / "cuda_v0.07.log").read_bytes()
    (notice,) = done.notices
    assert notice.rule == "old-rows"
    assert "cuda v0.07" in notice.message
    assert "v0.10" not in notice.message


def test_a_log_that_is_named_like_another_package_is_noticed(plain, mine):
    rows = (plain / "llvm_v0.04.log").read_bytes()
    (plain / "rocm_v0.01.log").write_bytes(rows)
    (notice,) = take_over(Folder(plain), mine, "rocm").notices
    assert (notice.rule, notice.message) == ("misnamed", "rocm v0.01 has only records of llvm")


def test_a_folder_of_logs_becomes_a_registry_where_it_is(plain):
    before = contents(plain)
    take_over(Folder(plain), plain)
    assert {name: data for name, data in contents(plain).items() if name != INDEX_FILE} == before
    assert numbers(plain, "cuda") == ["v0.09", "v0.10"]


def test_an_import_cut_short_before_the_index_is_completed_by_trying_again(plain, mine):
    (mine / "cuda_v0.09.log").write_bytes((plain / "cuda_v0.09.log").read_bytes())
    take_over(Folder(plain), mine)
    assert numbers(mine, "cuda") == ["v0.09", "v0.10"]


@pytest.mark.parametrize("known", [True, False])
def test_a_version_that_is_here_with_other_bytes_is_refused_and_nothing_changes(plain, mine, tmp_path, known):
    other = write_rows(tmp_path / "other" / "llvm_v0.04.log", 9)
    if known:
        take_over(Folder(other.parent), mine)
    else:
        (mine / other.name).write_bytes(other.read_bytes())
    before = contents(mine)
    with pytest.raises(UsageError, match=r"llvm v0\.04 with other bytes"):
        take_over(Folder(plain), mine)
    assert contents(mine) == before


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [("{\n", 1, "not a JSON row"), (row(1) + "\n" + row(2, error=4), 2, "failed measurement"), ("", None, "no record")],
)
def test_a_bad_log_is_named_where_it_stands_and_nothing_is_imported(plain, mine, text, line, message):
    (plain / "llvm_v0.03.log").write_text(text)
    before = contents(mine)
    with served(plain) as server, pytest.raises(InputError, match=message) as caught:
        take_over(Web(server.url), mine, "cuda@v0.10", "llvm@v0.03")
    assert (caught.value.file, caught.value.line) == (f"{server.url}/llvm_v0.03.log", line)
    assert contents(mine) == before


def test_attack_a_source_that_sends_other_bytes_than_its_index_says(theirs, mine):
    before = contents(mine)

    def swapped(request):
        return request.path.endswith("v0.04.log") and body(request, (theirs / "rocm_v0.01.log").read_bytes())

    with served(theirs, swapped) as server, pytest.raises(EnvironmentFailure, match="not the published file"):
        take_over(Web(server.url), mine)
    assert contents(mine) == before


def test_attack_an_index_that_counts_wrongly_is_not_believed(theirs, mine):
    fields = json.loads((theirs / INDEX_FILE).read_bytes())
    fields["packages"]["rocm"]["v0.01"]["records"] = 1000
    fields["packages"]["rocm"]["v0.01"]["imported"] = {"source": "https://example.org", "at": iso_time(TIME)}
    (theirs / INDEX_FILE).write_text(json.dumps(fields))
    take_over(Folder(theirs), mine, "rocm@v0.01")
    entry = read_index(mine).packages["rocm"]["v0.01"]
    assert (entry.records, entry.imported.source) == (1, str(theirs))


@pytest.mark.parametrize(
    ("names", "message"), [(["rocm"], "the folder has no log of rocm"), (["cuda@v0.11"], r"no log of cuda@v0\.11")]
)
def test_what_a_folder_does_not_have(plain, mine, names, message):
    with pytest.raises(UsageError, match=message):
        take_over(Folder(plain), mine, *names)


def test_what_a_registry_does_not_have(theirs, mine):
    with pytest.raises(UsageError, match="no package 'cuda'"):
        take_over(Folder(theirs), mine, "cuda")


def test_a_folder_without_logs_and_one_that_is_not_there(tmp_path, mine):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"PACKAGE_vN\.NN\.log"):
        take_over(Folder(tmp_path / "empty"), mine)
    with pytest.raises(EnvironmentFailure, match="no such folder"):
        take_over(Folder(tmp_path / "missing"), mine)


def test_upstreams_own_files(upstream, tmp_path):
    done = take_over(Folder(upstream), tmp_path / "mine")
    index = read_index(tmp_path / "mine")
    assert len(done.versions) == sum(map(len, index.packages.values())) == 13
    for one in done.versions:
        assert one.path.read_bytes() == (upstream / one.path.name).read_bytes()
    assert [entry.records for entry in index.packages["cuda"].values()] == [188, 687, 688, 688, 688]
    assert "cuda v0.08" not in done.notices[0].message
    assert "vta v0.06" in done.notices[0].message
    # What follows is one's own.
    new = write_rows(tmp_path / "new.log", 2, target="cuda")
    assert str(release("cuda", new, tmp_path / "mine").version) == "v0.09"
