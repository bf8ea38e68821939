"""A release of a repository's own data in one step."""

import shutil
from datetime import datetime, timezone

import pytest

from tests.registries import row, write_rows
from tophub_registry.errors import InputError, UsageError
from tophub_registry.packages.folder import read_index
from tophub_registry.packages.version import Reference, Version
from tophub_registry.publishing.release import release
from tophub_registry.publishing.repository_release import Repository, release_in_repository
from tophub_registry.publishing.yank import yank
from tophub_registry.records.finding import Finding
from tophub_registry.records.log import read_records

TIME = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)
TOPHUB = "PACKAGE_VERSION = {\n    'llvm': \"v0.04\",\n    'cuda': \"v0.10\",\n}\n"


@pytest.fixture
def repository(tmp_path):
    """A repository with llvm v0.05, and a TVM that asks for v0.04."""
    folder = tmp_path / "repository"
    folder.mkdir()
    release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 3), folder / "registry_data", time=TIME)
    (folder / "CHANGELOG.md").write_text("# Changelog\n\n## 0.1.0\n\n- llvm v0.05: 3 records.\n")
    tophub = folder / "tvm" / "python" / "tvm" / "autotvm" / "tophub.py"
    tophub.parent.mkdir(parents=True)
    tophub.write_text(TOPHUB)
    return Repository(folder / "registry_data", folder / "CHANGELOG.md", folder / "tvm")


@pytest.fixture
def new(tmp_path):
    """Two better records, one that is known, and a failed one."""
    path = write_rows(tmp_path / "new.log", 2, start=2, cost=5e-5)
    path.write_text(path.read_text() + row(0) + "\n" + row(1, error=4, cost=1e9) + "\n")
    return path


def contents(repository):
    folder = repository.changelog.parent
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_validate_merge_number_index_changelog_and_tvm_in_one_step(repository, new):
    done = release_in_repository("llvm", [new], repository, time=TIME)
    assert (str(done.version), done.merged.added, done.merged.improved, done.merged.kept) == ("v0.06", 1, 1, 2)
    published = read_index(repository.registry).packages["llvm"]["v0.06"]
    assert (published, published.base, published.records) == (done.release.published, "v0.05", 4)
    costs = [record.result.costs[0] for record in read_records(repository.registry / "llvm_v0.06.log")]
    assert sorted(costs) == [5e-5, 5e-5, 1e-4, 1e-4]
    told = repository.changelog.read_text()
    assert told.endswith(
        "\nData packages:\n\n- llvm v0.06: 4 records for `llvm -mcpu=znver4`; 1 added to v0.05's, 1 improved.\n"
    )
    tophub = repository.tvm_tree / "python" / "tvm" / "autotvm" / "tophub.py"
    assert tophub.read_text() == TOPHUB.replace("v0.04", "v0.06")


def test_a_dry_run_shows_all_of_it_and_changes_nothing(repository, new):
    before = contents(repository)
    shown = release_in_repository("llvm", [new], repository, dry_run=True, time=TIME)
    assert contents(repository) == before
    done = release_in_repository("llvm", [new], repository, time=TIME)
    assert shown == done
    assert {edit.path.name: edit.after for edit in shown.edits} == {
        path.rpartition("/")[2]: data for path, data in contents(repository).items() if path.endswith((".md", ".py"))
    }


def test_the_second_time_there_is_nothing_to_do(repository, new):
    assert not release_in_repository("llvm", [new], repository).nothing_to_do
    before = contents(repository)
    assert release_in_repository("llvm", [new], repository).nothing_to_do
    assert contents(repository) == before


@pytest.mark.parametrize("lost", [["llvm_v0.06.log"], [], ["CHANGELOG.md"], ["CHANGELOG.md", "tophub.py"]])
def test_what_was_cut_short_is_completed_by_trying_again(repository, new, tmp_path, lost):
    folder = repository.changelog.parent
    shutil.copytree(folder, tmp_path / "old")
    done = release_in_repository("llvm", [new], repository, time=TIME)
    complete = contents(repository)
    if lost == ["llvm_v0.06.log"]:  # its file is there, and the index does not know it
        lost = ["index.json", "CHANGELOG.md", "tophub.py"]
    for path in (tmp_path / "old").rglob("*"):
        if path.name in lost:
            shutil.copy(path, folder / path.relative_to(tmp_path / "old"))
    again = release_in_repository("llvm", [new], repository, time=TIME)
    assert again.version == done.version
    if lost[:1] == ["CHANGELOG.md"]:  # what was improved is not known any more
        complete["CHANGELOG.md"] = repository.changelog.read_bytes()
        assert b"- llvm v0.06: 4 records for `llvm -mcpu=znver4`; v0.05 had 3.\n" in complete["CHANGELOG.md"]
    assert contents(repository) == complete


def test_a_first_version_takes_the_number_in_the_logs_name(repository, tmp_path):
    done = release_in_repository("cuda", [write_rows(tmp_path / "cuda_v0.11.log", 2)], repository)
    assert (str(done.version), done.release.published.base) == ("v0.11", None)
    assert b"'cuda': \"v0.11\"" in contents(repository)["tvm/python/tvm/autotvm/tophub.py"]
    assert (
        str(release_in_repository("rocm", [write_rows(tmp_path / "rocm.log", 2)], _untold(repository)).version)
        == "v0.01"
    )


def _untold(repository):
    return Repository(repository.registry, repository.changelog)


def test_the_current_version_is_the_newest_good_one(repository, new, tmp_path):
    release_in_repository("llvm", [new], repository)
    yank(Reference.parse("llvm@v0.06"), "wrong device", repository.registry)
    with pytest.raises(UsageError, match=r"uses llvm v0\.06, later than v0\.05"):
        release_in_repository("llvm", [repository.registry / "llvm_v0.05.log"], repository)
    error = refused(repository, InputError, r"the same bytes as llvm v0\.06", "llvm", [new])
    assert error.file == str(new)
    done = release_in_repository("llvm", [write_rows(tmp_path / "better.log", 1, cost=5e-5)], repository)
    assert (str(done.version), done.release.published.base) == ("v0.07", "v0.05")


def test_a_gain_too_small_is_not_released(repository, tmp_path):
    slightly = write_rows(tmp_path / "new.log", 3, cost=9.9e-5)
    done = release_in_repository("llvm", [slightly], _untold(repository), min_gain=5)
    assert (done.merged.dropped.small_gain, done.release) == (3, None)
    assert done.nothing_to_do
    assert not release_in_repository("llvm", [slightly], _untold(repository)).nothing_to_do


def test_what_was_measured_too_fast_is_replaced_once_it_is_measured_again(repository, tmp_path):
    slower = write_rows(tmp_path / "new.log", 1, start=1, cost=2e-4)
    slower.write_text(slower.read_text().replace('"tile_k", "sp", [-1, 1]', '"tile_k", "sp", [-1, 17]'))
    assert release_in_repository("llvm", [slower], repository).release is None
    again = write_rows(tmp_path / "again.log", 3, cost=3e-4)

    done = release_in_repository("llvm", [slower], repository, again=[again], time=TIME)

    assert (done.merged.added, done.merged.improved, done.merged.kept) == (0, 1, 2)
    costs = [record.result.costs[0] for record in read_records(repository.registry / "llvm_v0.06.log")]
    assert sorted(costs) == [2e-4, 3e-4, 3e-4]
    assert release_in_repository("llvm", [slower], repository, again=[again], time=TIME).nothing_to_do


def test_a_version_of_the_new_records_alone_says_how_many_the_one_before_had(repository, new):
    done = release_in_repository("llvm", [new], repository, alone=True, time=TIME)
    published = read_index(repository.registry).packages["llvm"]["v0.06"]
    assert (published, published.base) == (done.release.published, "v0.05")
    assert {record.config.index for record in read_records(done.release.path)} == {0, 2, 3}
    assert "- llvm v0.06: 3 records for `llvm -mcpu=znver4`; v0.05 had 3.\n" in repository.changelog.read_text()


def test_what_is_not_proven_stays_as_it_was(repository, new):
    def prove(log, before):
        assert (len(list(read_records(log))), before) == (4, repository.registry / "llvm_v0.05.log")
        yield from (record for record in read_records(log) if record.config.index == 2)

    done = release_in_repository("llvm", [new], repository, prove=prove)
    assert (done.merged.added, done.merged.improved, done.merged.dropped.unproven) == (1, 0, 1)
    costs = {record.config.index: record.result.costs[0] for record in read_records(done.release.path)}
    assert costs == {0: 1e-4, 1: 1e-4, 2: 1e-4, 3: 5e-5}


def refused(repository, error, message, *arguments, **options):
    before = contents(repository)
    with pytest.raises(error, match=message) as caught:
        release_in_repository(*arguments, repository, **options)
    assert contents(repository) == before
    return caught.value


def test_a_log_with_an_error_is_refused_with_its_line_and_nothing_changes(repository, new):
    new.write_text(new.read_text() + "{\n")
    error = refused(repository, InputError, "not a JSON row", "llvm", [new])
    assert (error.file, error.line) == (str(new), 5)


def test_records_measured_again_are_looked_at_like_all_others(repository, new, tmp_path):
    again = write_rows(tmp_path / "again.log", 2)
    again.write_text(again.read_text() + "{\n")
    error = refused(repository, InputError, "not a JSON row", "llvm", [new], again=[again])
    assert (error.file, error.line) == (str(again), 3)


def test_a_check_of_records_can_refuse_a_log(repository, new):
    def check(record):
        if record.config.index == 3:
            yield Finding("space", "no such factor")

    error = refused(repository, InputError, "no such factor", "llvm", [new], checks=[check])
    assert error.line == 2


def test_a_tvm_that_does_not_know_the_package_is_told_before_anything_is_released(repository, tmp_path):
    refused(repository, InputError, "no entries of 'rocm'", "rocm", [write_rows(tmp_path / "rocm.log", 2)])


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [("CHANGELOG.md", InputError, "no such file"), ("tophub.py", UsageError, "not a TVM with AutoTVM")],
)
def test_a_missing_file_is_told_before_anything_is_released(repository, new, name, error, message):
    for path in repository.changelog.parent.rglob(name):
        path.unlink()
    refused(repository, error, message, "llvm", [new])


def test_a_current_version_with_other_bytes_than_published_is_refused(repository, new):
    path = repository.registry / "llvm_v0.05.log"
    path.write_text(path.read_text() + row(8) + "\n")
    assert refused(repository, InputError, "not the published file", "llvm", [new]).file == str(path)


def test_the_version_is_the_index_s(repository, new):
    release_in_repository("llvm", [new], repository)
    assert read_index(repository.registry).newest("llvm") == Version.parse("v0.06")
