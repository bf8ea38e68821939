"""Fetching packages into a root, from real folders and servers."""

import os
import subprocess
import sys
import time

import pytest

from tests.registries import change, file_of, served, write_rows
from tests.signed import made
from tophub_registry.errors import InputError, UsageError
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.index import INDEX_FILE
from tophub_registry.packages.location import Folder, NotThere, Web
from tophub_registry.packages.root import Root
from tophub_registry.packages.version import Reference
from tophub_registry.publishing.release import release

LLVM = [Reference.parse("llvm")]


@pytest.fixture
def registry(tmp_path):
    folder = tmp_path / "registry"
    release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 20), folder)
    release("llvm", write_rows(tmp_path / "llvm_v0.06.log", 30), folder)
    release("cuda", write_rows(tmp_path / "cuda_v0.11.log", 10, target="cuda -model=h100"), folder)
    return folder


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path / "home" / ".tvm" / "tophub")


def held(root):
    """Return the root's files as others see them: without what begins with a dot."""
    if not root.path.is_dir():
        return {}
    return {path.name: path.read_bytes() for path in root.path.iterdir() if path.name[0] != "."}


def summary(done):
    return [(fetched.package, str(fetched.version), fetched.status) for fetched in done.packages]


@pytest.mark.parametrize("kind", ["folder", "web"])
def test_the_newest_version_arrives_with_the_published_bytes(registry, root, kind):
    with served(registry) as server:
        done = fetch(LLVM, Folder(registry) if kind == "folder" else Web(server.url), root)
    assert summary(done) == [("llvm", "v0.06", "downloaded")]
    assert [notice.rule for notice in done.notices] == ["unsigned"] * (kind == "web")
    assert held(root) == {"llvm_v0.06.log": (registry / "llvm_v0.06.log").read_bytes()}
    assert not list(root.path.glob("**/*.part"))


def with_model(registry, tmp_path):
    """Release a version with a cost model; return the model's bytes."""
    model = tmp_path / "a.model.json"
    model.write_bytes(b'{"a": "model"}')
    release("llvm", write_rows(tmp_path / "llvm_v0.07.log", 40), registry, model=model)
    return model.read_bytes()


def test_a_cost_model_arrives_beside_its_log(registry, root, tmp_path):
    model = with_model(registry, tmp_path)
    with served(registry) as server:
        assert [notice.rule for notice in fetch(LLVM, Web(server.url), root).notices] == ["unsigned"]
        assert held(root)["llvm_v0.07.model.json"] == model
        asked = len(server.paths)
        fetch(LLVM, Web(server.url), root)
        assert len(server.paths) == asked + 1, "the index, and nothing that is here"


@pytest.mark.parametrize("damage", ["gone", "other bytes", "longer"])
def test_a_log_is_good_without_its_cost_model(registry, root, tmp_path, damage):
    model = with_model(registry, tmp_path)
    path = registry / "llvm_v0.07.model.json"
    path.unlink()
    if damage != "gone":
        path.write_bytes(model[::-1] if damage == "other bytes" else model * 2)
    done = fetch(LLVM, Folder(registry), root)
    assert summary(done) == [("llvm", "v0.07", "downloaded")]
    assert [notice.rule for notice in done.notices] == ["no-model"]
    assert str(path) in done.notices[0].message
    assert held(root).keys() == {"llvm_v0.07.log"}


def test_a_damaged_cost_model_is_replaced(registry, root, tmp_path):
    model = with_model(registry, tmp_path)
    fetch(LLVM, Folder(registry), root)
    (root.path / "llvm_v0.07.model.json").write_bytes(b"damaged")
    fetch(LLVM, Folder(registry), root)
    assert held(root)["llvm_v0.07.model.json"] == model


def test_without_names_all_packages_arrive(registry, root):
    done = fetch([], Folder(registry), root)
    assert summary(done) == [("cuda", "v0.11", "downloaded"), ("llvm", "v0.06", "downloaded")]


def changed(path):
    """Return what tells whether a file was written or replaced."""
    state = path.stat()
    return state.st_ino, state.st_mtime_ns, state.st_ctime_ns


def test_what_is_cached_is_not_fetched_again(registry, root):
    with served(registry) as server:
        fetch(LLVM, Web(server.url), root)
        written = changed(root.path / "llvm_v0.06.log")
        assert summary(fetch(LLVM, Web(server.url), root)) == [("llvm", "v0.06", "cached")]
    assert server.paths.count("/llvm_v0.06.log") == 1
    assert changed(root.path / "llvm_v0.06.log") == written


@pytest.mark.parametrize("left", [b"", b"<html>Please log in</html>", b"half a row"])
def test_a_damaged_file_is_replaced_and_reported(registry, root, left):
    root.path.mkdir(parents=True)
    data = (registry / "llvm_v0.06.log").read_bytes()
    (root.path / "llvm_v0.06.log").write_bytes(data[:-100] if left == b"half a row" else left)
    done = fetch(LLVM, Folder(registry), root)
    assert summary(done) == [("llvm", "v0.06", "replaced")]
    assert [notice.rule for notice in done.notices] == ["damaged"]
    assert held(root) == {"llvm_v0.06.log": (registry / "llvm_v0.06.log").read_bytes()}


def test_a_pinned_version_arrives_beside_the_newest(registry, root):
    fetch(LLVM, Folder(registry), root)
    assert summary(fetch([Reference.parse("llvm@v0.05")], Folder(registry), root)) == [("llvm", "v0.05", "downloaded")]
    assert sorted(held(root)) == ["llvm_v0.05.log", "llvm_v0.06.log"]


def test_the_newest_version_that_is_not_yanked_is_taken_and_a_pin_on_a_yanked_one_warns(registry, root):
    change(registry, ["packages", "llvm", "v0.06", "yanked"], "wrong device")
    change(registry, ["packages", "cuda", "v0.11", "yanked"], "wrong device")
    done = fetch([], Folder(registry), root)
    assert summary(done) == [("llvm", "v0.05", "downloaded")]
    assert "every version of cuda is yanked" in str(done.notices[0])
    done = fetch([Reference.parse("llvm@v0.06")], Folder(registry), root)
    assert summary(done) == [("llvm", "v0.06", "downloaded")]
    assert [notice.rule for notice in done.notices] == ["yanked"]


@pytest.mark.parametrize("name", ["rocm", "llvm@v0.07"])
def test_what_the_registry_does_not_have_is_an_error_before_anything_is_fetched(registry, root, name):
    with pytest.raises(UsageError, match="no "):
        fetch([*LLVM, Reference.parse(name)], Folder(registry), root)
    assert held(root) == {}


def test_the_location_none_fetches_nothing(root):
    done = fetch(LLVM, None, root)
    assert (done.packages, [notice.rule for notice in done.notices]) == ((), ["switched-off"])
    assert not root.path.exists()


def test_a_location_without_an_index_is_no_registry(registry, root):
    (registry / INDEX_FILE).unlink()
    with served(registry) as server:
        for location in (Folder(registry), Web(server.url), Folder(registry / "nowhere")):
            with pytest.raises(NotThere, match="not a registry") as caught:
                fetch(LLVM, location, root)
            assert caught.value.remedy
    assert held(root) == {}


def test_a_location_whose_index_is_none(registry, root):
    (registry / INDEX_FILE).write_text("<html>Please log in</html>")
    with served(registry) as server, pytest.raises(InputError, match="not an index") as caught:
        fetch(LLVM, Web(server.url), root)
    assert caught.value.file == f"{server.url}/index.json"


def test_progress_tells_how_much_of_which_file_is_here(registry, root):
    seen = []
    fetch(LLVM, Folder(registry), root, progress=lambda *step: seen.append(step))
    size = (registry / "llvm_v0.06.log").stat().st_size
    assert seen[-1] == ("llvm_v0.06.log", size, size)


def test_what_killed_processes_left_behind_is_cleared_even_if_nothing_is_fetched(registry, root):
    fetch(LLVM, Folder(registry), root)
    left = root.path / ".llvm_v0.06.log.0123456789abcdef.part"
    left.touch()
    os.utime(left, (time.time() - 7200,) * 2)
    assert summary(fetch(LLVM, Folder(registry), root)) == [("llvm", "v0.06", "cached")]
    assert not left.exists()


@pytest.mark.parametrize("folder", [".", "metadata", "metadata/root_history"])
def test_what_they_left_of_signatures_is_cleared_too(tmp_path, root, folder):
    signed = made(tmp_path)
    fetch(LLVM, signed.location, root)
    (kept,) = root.path.glob(".trust/*")
    left = kept / folder / ".root.json.0123456789abcdef.part"
    left.touch()
    os.utime(left, (time.time() - 7200,) * 2)
    fetch(LLVM, signed.location, root)
    assert not left.exists()


EIGHT_FETCHES = """
import multiprocessing, sys
from pathlib import Path
from tophub_registry.packages import root
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.location import find_location

url, folder, root.TURN = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
forks = multiprocessing.get_context("fork")
together = forks.Barrier(8)

def one():
    together.wait()
    done = fetch([], find_location(url), root.Root(folder))
    sys.stdout.write(" ".join(fetched.status for fetched in done.packages) + "\\n")
    sys.stdout.flush()

processes = [forks.Process(target=one) for _ in range(8)]
for process in processes:
    process.start()
for process in processes:
    process.join()
sys.exit(any(process.exitcode for process in processes))
"""


@pytest.mark.parametrize("turn", ["120", "0"])
def test_eight_processes_at_once_leave_whole_files(registry, root, turn):
    def slow(request):
        data = file_of(request).read_bytes()
        if file_of(request).name == INDEX_FILE:
            return False
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        for start in range(0, len(data), 1000):
            request.wfile.write(data[start : start + 1000])
            time.sleep(0.05)
        request.close_connection = True
        return True

    with served(registry, slow) as server:
        command = [sys.executable, "-c", EIGHT_FETCHES, server.url, root.path, turn]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    statuses = [line.split() for line in done.stdout.splitlines()]
    assert len(statuses) == 8
    assert held(root) == {name: (registry / name).read_bytes() for name in ("cuda_v0.11.log", "llvm_v0.06.log")}
    assert not list(root.path.glob("**/*.part"))
    if turn == "120":
        assert server.paths.count("/llvm_v0.06.log") == 1
        assert statuses.count(["cached", "cached"]) >= 6
