"""Releasing logs into a registry."""

import gzip
import hashlib
import json
import subprocess
import sys
from datetime import datetime, timezone

import pytest

from tests.registries import OLD_ROW, TARGET, row, write_rows
from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.packages.folder import read_index
from tophub_registry.packages.index import INDEX_FILE, MAX_MODEL, Index
from tophub_registry.packages.version import FileName, Version
from tophub_registry.publishing import registry as module
from tophub_registry.publishing.release import release

TIME = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)


@pytest.fixture
def registry(tmp_path):
    return tmp_path / "registry"


def contents(folder):
    return (
        {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"} if folder.is_dir() else {}
    )


def test_a_release_writes_the_file_and_its_entry(tmp_path, registry):
    log = write_rows(tmp_path / "new.log", 3)
    with log.open("a") as stream:
        stream.write("# a comment\n\n" + row(9, target="llvm") + "\n")
    done = release("llvm", log, registry, time=TIME)
    assert done.path == registry / "llvm_v0.01.log"
    assert done.path.read_bytes() == log.read_bytes()
    entry = Index.parse((registry / INDEX_FILE).read_bytes()).packages["llvm"]["v0.01"]
    assert entry == done.published
    assert entry.model_dump() == {
        "file": "llvm_v0.01.log",
        "bytes": log.stat().st_size,
        "sha256": hashlib.sha256(log.read_bytes()).hexdigest(),
        "records": 4,
        "released": "2026-05-01T12:00:00Z",
        "base": None,
        "tasks": {"dense_nopack.x86": 4},
        "targets": {TARGET: 3, "llvm": 1},
        "yanked": None,
        "imported": None,
        "model": None,
    }


def test_a_cost_model_is_published_beside_the_log(tmp_path, registry):
    model = tmp_path / "a.model.json"
    model.write_bytes(b'{"any": "bytes"}')
    done = release("llvm", write_rows(tmp_path / "new.log", 3), registry, model=model, time=TIME)
    assert (registry / "llvm_v0.01.model.json").read_bytes() == model.read_bytes()
    assert done.published.model.model_dump() == {
        "file": "llvm_v0.01.model.json",
        "bytes": 16,
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
    }
    index = read_index(registry)
    assert index.versions("llvm")[Version.parse("v0.01")] == done.published
    assert index.schema_version == 2


def test_an_index_without_cost_models_is_as_earlier_clients_read_it(tmp_path, registry):
    release("llvm", write_rows(tmp_path / "new.log", 3), registry)
    fields = json.loads((registry / INDEX_FILE).read_bytes())
    assert fields["schema_version"] == 1
    assert "model" not in fields["packages"]["llvm"]["v0.01"]


@pytest.mark.parametrize("size", [None, 0, MAX_MODEL + 1])
def test_what_is_no_cost_model_is_not_published(tmp_path, registry, size):
    model = tmp_path / "a.model.json"
    if size is not None:
        with model.open("wb") as stream:
            stream.truncate(size)
    with pytest.raises(InputError, match="no such file" if size is None else "no cost model"):
        release("llvm", write_rows(tmp_path / "new.log", 3), registry, model=model)
    assert contents(registry) == {}


def test_numbers_follow_each_other_and_name_their_base(tmp_path, registry):
    for rows, number in [(1, "v0.01"), (2, "v0.02"), (3, "v0.03")]:
        done = release("llvm", write_rows(tmp_path / "new.log", rows), registry)
        assert str(done.version) == number
        assert done.serial == rows
    assert done.published.base == "v0.02"


def test_a_first_release_takes_the_number_in_the_name(tmp_path, registry):
    assert str(release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 1), registry).version) == "v0.05"
    assert str(release("llvm", write_rows(tmp_path / "other.log", 2), registry).version) == "v0.06"


def test_a_later_number_in_the_name_is_taken(tmp_path, registry):
    release("llvm", write_rows(tmp_path / "new.log", 1), registry)
    done = release("llvm", write_rows(tmp_path / "llvm_v0.40.log", 2), registry)
    assert (str(done.version), done.published.base) == ("v0.40", "v0.01")


@pytest.mark.parametrize("number", ["v0.05", "v0.04"])
def test_a_number_that_is_taken_is_refused_and_nothing_changes(tmp_path, registry, number):
    release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 1), registry)
    before = contents(registry)
    with pytest.raises(UsageError, match=number):
        release("llvm", write_rows(tmp_path / "new" / f"llvm_{number}.log", 2), registry)
    assert contents(registry) == before


def test_a_log_of_another_package_is_refused(tmp_path, registry):
    with pytest.raises(UsageError, match="cuda"):
        release("llvm", write_rows(tmp_path / "cuda_v0.11.log", 1), registry)
    assert not registry.exists()


@pytest.mark.parametrize("name", ["../llvm", "a/b", "..", "LLVM", ""])
def test_attack_a_package_name_that_leaves_the_registry(tmp_path, registry, name):
    with pytest.raises(UsageError, match="not a package name"):
        release(name, write_rows(tmp_path / "new.log", 1), registry)
    assert not registry.exists()


def test_the_bytes_of_the_version_before_are_refused(tmp_path, registry):
    log = write_rows(tmp_path / "new.log", 1)
    release("llvm", log, registry)
    before = contents(registry)
    with pytest.raises(InputError, match="the same bytes as llvm"):
        release("llvm", log, registry)
    assert contents(registry) == before


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, "no record"),
        ("# only a comment\n", None, "no record"),
        (row(1) + "\n{broken\n", 2, "not a JSON row"),
        (row(1) + "\n" + row(2)[:-30] + "\n", 2, "not a JSON row"),
        (row(1) + "\n\n" + row(2, error=4) + "\n", 3, "failed measurement"),
        (row(1) + "\n" + OLD_ROW + "\n", 2, "log version 0.1"),
        (row(1, cost=0.0) + "\n", 1, "not a record"),
        (row(1, cost=float("inf")) + "\n", 1, "not a record"),
        (row(1).replace('"version": 0.2', '"version": 0.3') + "\n", 1, "0.3"),
        (row(1, target="llvm -keys=" + "x" * 2000) + "\n", 1, "the index can't hold this target"),
        (row(1, target="llvm -device=\x1b[2J") + "\n", 1, "the index can't hold this target"),
    ],
)
def test_an_invalid_log_is_refused_with_its_line_and_nothing_changes(tmp_path, registry, text, line, message):
    release("llvm", write_rows(tmp_path / "old.log", 1), registry)
    before = contents(registry)
    log = tmp_path / "new.log"
    log.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        release("llvm", log, registry)
    assert (caught.value.file, caught.value.line) == (str(log), line)
    assert contents(registry) == before


def test_a_missing_log(tmp_path, registry):
    with pytest.raises(InputError, match="no such file"):
        release("llvm", tmp_path / "new.log", registry)
    assert not registry.exists()


def test_a_broken_index_is_named_and_left_alone(tmp_path, registry):
    registry.mkdir(parents=True)
    (registry / INDEX_FILE).write_text("{")
    with pytest.raises(InputError, match="not an index") as caught:
        release("llvm", write_rows(tmp_path / "new.log", 1), registry)
    assert caught.value.file == str(registry / INDEX_FILE)
    assert contents(registry) == {INDEX_FILE: b"{"}


def test_a_gzipped_log_is_published_plain(tmp_path, registry):
    log = write_rows(tmp_path / "new.log", 2)
    packed = tmp_path / "new.log.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))
    done = release("llvm", packed, registry)
    assert done.path.read_bytes() == log.read_bytes()
    assert done.published.bytes == log.stat().st_size


def test_a_release_cut_short_before_the_index_is_completed_by_trying_again(tmp_path, registry):
    release("llvm", write_rows(tmp_path / "old.log", 1), registry)
    log = write_rows(tmp_path / "new.log", 2)
    (registry / "llvm_v0.02.log").write_bytes(log.read_bytes())
    assert str(release("llvm", log, registry).version) == "v0.02"
    again = write_rows(tmp_path / "llvm_v0.03.log", 3)
    (registry / "llvm_v0.03.log").write_bytes(again.read_bytes())
    assert str(release("llvm", again, registry).version) == "v0.03"


def test_a_log_that_lies_in_the_registry_already_is_released_where_it_is(tmp_path, registry):
    release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 1), registry)
    log = write_rows(registry / "llvm_v0.06.log", 2)
    inode = log.stat().st_ino
    assert release("llvm", log, registry).path == log
    assert log.stat().st_ino == inode


def test_a_file_that_the_index_does_not_know_is_never_overwritten(tmp_path, registry):
    release("llvm", write_rows(tmp_path / "old.log", 1), registry)
    write_rows(registry / "llvm_v0.02.log", 7)
    before = contents(registry)
    with pytest.raises(UsageError, match=r"v0\.02 with other bytes"):
        release("llvm", write_rows(tmp_path / "llvm_v0.02.log", 2), registry)
    assert contents(registry) == before
    assert str(release("llvm", write_rows(tmp_path / "new.log", 2), registry).version) == "v0.03"


def test_releases_into_a_folder_of_logs_without_an_index_follow_its_numbers(tmp_path, registry):
    write_rows(registry / "cuda_v0.10.log", 7)
    assert str(release("cuda", write_rows(tmp_path / "new.log", 2, target="cuda"), registry).version) == "v0.11"


def test_a_base_is_never_a_yanked_version(tmp_path, registry):
    for rows in (1, 2):
        release("llvm", write_rows(tmp_path / "new.log", rows), registry)
    fields = json.loads((registry / INDEX_FILE).read_bytes())
    fields["packages"]["llvm"]["v0.02"]["yanked"] = "wrong numbers"
    (registry / INDEX_FILE).write_text(json.dumps(fields))
    assert release("llvm", write_rows(tmp_path / "new.log", 3), registry).published.base == "v0.01"
    fields = json.loads((registry / INDEX_FILE).read_bytes())
    assert fields["packages"]["llvm"]["v0.02"]["yanked"] == "wrong numbers"


def test_releases_at_the_same_time_come_one_after_the_other(tmp_path, registry):
    code = """
import multiprocessing, sys
from tophub_registry.publishing.release import release

forks = multiprocessing.get_context("fork")
processes = [forks.Process(target=release, args=("llvm", log, sys.argv[1])) for log in sys.argv[2:]]
for process in processes:
    process.start()
for process in processes:
    process.join()
sys.exit(any(process.exitcode for process in processes))
"""
    logs = [write_rows(tmp_path / f"{number}.log", 5, start=number) for number in range(6)]
    subprocess.run([sys.executable, "-c", code, registry, *logs], check=True)
    index = read_index(registry)
    assert [str(version) for version in index.versions("llvm")] == [f"v0.0{n}" for n in range(1, 7)]
    assert index.serial == 6
    files = {version: (registry / str(FileName("llvm", version))).read_bytes() for version in index.versions("llvm")}
    assert sorted(files.values()) == sorted(log.read_bytes() for log in logs)


def test_another_release_that_does_not_end_is_given_up(tmp_path, registry, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    code = "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print(flush=True); input()"
    registry.mkdir(parents=True)
    lock = [sys.executable, "-c", code, registry / ".lock"]
    with subprocess.Popen(lock, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        try:
            with pytest.raises(EnvironmentFailure, match="another process is changing"):
                release("llvm", write_rows(tmp_path / "new.log", 1), registry)
        finally:
            other.kill()
    assert contents(registry) == {}


def test_a_registry_that_can_not_be_a_folder(tmp_path):
    (tmp_path / "file").touch()
    log = write_rows(tmp_path / "new.log", 1)
    for folder, why in [
        ("file", "this is a file"),
        ("file/registry", "not a folder"),
        ("typo/registry", "no such folder"),
    ]:
        with pytest.raises(UsageError, match=why):
            release("llvm", log, tmp_path / folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "new.log"]


def test_upstreams_own_logs_can_be_released(upstream, registry):
    for name, package in [("cuda_v0.08.log", "cuda"), ("arm_cpu_v0.06.log", "arm_cpu"), ("llvm_v0.04.log", "llvm")]:
        done = release(package, upstream / name, registry)
        assert done.path.name == name
        assert done.path.read_bytes() == (upstream / name).read_bytes()
    assert list(read_index(registry).versions("cuda")) == [Version.parse("v0.08")]
