"""`kill -9` at random moments: afterwards the old state or the complete new one is there."""

import hashlib
import shutil
import time

import pytest

from tests.killing import kill_at_random_moments
from tests.registries import file_of, served, write_rows
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.folder import read_index
from tophub_registry.packages.location import Folder, Web
from tophub_registry.packages.root import Root
from tophub_registry.packages.version import Reference
from tophub_registry.publishing.imports import import_packages
from tophub_registry.publishing.release import release

ROWS = 8_000


@pytest.fixture
def times(exhaustive):
    """Return how often a command is killed."""
    return 30 if exhaustive else 8


@pytest.mark.slow
def test_a_killed_release_leaves_the_old_registry_or_the_new_one(tmp_path, times):
    old, registry = tmp_path / "old", tmp_path / "registry"
    release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 5), old)
    log = write_rows(tmp_path / "new.log", ROWS)
    states = []

    def before():
        shutil.rmtree(registry, ignore_errors=True)
        shutil.copytree(old, registry)

    def check():
        index = read_index(registry)
        versions = {str(version): published for version, published in index.versions("llvm").items()}
        assert list(versions) in (["v0.05"], ["v0.05", "v0.06"])
        for published in versions.values():
            data = (registry / published.file).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (published.bytes, published.sha256)
        orphan = registry / "llvm_v0.06.log"
        if orphan.exists():
            assert orphan.read_bytes() == log.read_bytes()
        states.append((len(versions), orphan.exists()))
        if states[-1] == (1, True):  # killed between the file and the index: the same release completes it
            assert str(release("llvm", log, registry).version) == "v0.06"

    kills = kill_at_random_moments(["release", "llvm", log, "--registry", registry], check, times=times, before=before)
    assert kills.killed >= times // 2
    assert states[0] == (2, True)
    assert (1, False) in states[1:]
    before()
    assert release("llvm", log, registry).serial == 2


@pytest.mark.slow
def test_a_killed_import_leaves_the_old_registry_or_the_new_one(tmp_path, times):
    plain, old, registry = tmp_path / "plain", tmp_path / "old", tmp_path / "registry"
    release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 5), old)
    files = [write_rows(plain / f"cuda_v0.0{number}.log", ROWS // 3, start=number) for number in (1, 2, 3)]
    states = []

    def before():
        shutil.rmtree(registry, ignore_errors=True)
        shutil.copytree(old, registry)

    def check():
        index = read_index(registry)
        assert len(index.versions("cuda")) in (0, 3)
        for path in files:
            if (registry / path.name).exists():
                assert (registry / path.name).read_bytes() == path.read_bytes()
        states.append((len(index.versions("cuda")), len(list(registry.glob("cuda_*.log")))))
        if (
            states[-1][1] > 0 and states[-1][0] == 0
        ):  # killed between the files and the index: trying again completes it
            assert len(import_packages([], Folder(plain), registry).versions) == 3

    kills = kill_at_random_moments(["import", plain, "--registry", registry], check, times=times, before=before)
    assert kills.killed >= times // 2
    assert states[0] == (3, 3)
    assert (0, 0) in states[1:]


@pytest.mark.slow
def test_a_killed_fetch_leaves_the_old_files_or_the_new_ones(tmp_path, times):
    registry, old, home = tmp_path / "registry", tmp_path / "old", tmp_path / "root"
    release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 5), registry)
    published = {"llvm_v0.05.log": (registry / "llvm_v0.05.log").read_bytes()}
    held = []

    def slow(request):
        path = file_of(request)
        data = path.read_bytes()
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        for start in range(0, len(data), 1 << 17):
            request.wfile.write(data[start : start + (1 << 17)])
            time.sleep(0.02)
        request.close_connection = True
        return True

    def before():
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(old, home)

    def check():
        found = {path.name: path.read_bytes() for path in home.glob("*.log")}
        assert found.items() <= published.items()
        assert "llvm_v0.05.log" in found
        assert Root(home).remembered(location).serial in (1, 2)
        held.append(len(found))

    with served(registry, slow) as server:
        location = Web(server.url)
        fetch([], location, Root(old))
        log = write_rows(tmp_path / "new.log", ROWS)
        release("llvm", log, registry)
        published["llvm_v0.06.log"] = log.read_bytes()

        command = ["fetch", "--location", server.url, "--root", home]
        kills = kill_at_random_moments(command, check, times=times, before=before, imports=["requests"])
        assert kills.killed >= times // 2
        assert held[0] == 2
        assert 1 in held[1:]

        before()
        done = fetch([Reference.parse("llvm")], location, Root(home))
        assert [fetched.status for fetched in done.packages] == ["downloaded"]
