"""Many processes at once in one root, or one registry, where locks work, are granted to everybody, or can't be had."""

import errno
import fcntl
import multiprocessing
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.registries import served, target_of, write_rows
from tests.signed import SignedRegistry, key, made
from tophub_registry.errors import EnvironmentFailure
from tophub_registry.packages.folder import read_index
from tophub_registry.packages.index import INDEX_FILE
from tophub_registry.packages.location import Folder
from tophub_registry.packages.root import Root
from tophub_registry.publishing import roles, signing
from tophub_registry.publishing.metadata import Store, latest_index
from tophub_registry.publishing.release import release

LOCKS = ["work", "granted to all", "ENOLCK", "ENOSYS"]

START = """
import errno, fcntl, multiprocessing, os, sys, traceback
from pathlib import Path
from tophub_registry.errors import EnvironmentFailure
from tophub_registry.packages import patience
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.folder import read_index
from tophub_registry.packages.location import Folder, find_location
from tophub_registry.packages.root import Root
from tophub_registry.publishing.release import release
import filelock, requests, urllib3

def flock(descriptor, operation):
    if locks != "granted to all":
        raise OSError(getattr(errno, locks), locks)

locks, processes = sys.argv[1], int(sys.argv[2])
if locks != "work":
    fcntl.flock = flock
forks = multiprocessing.get_context("fork")
together = forks.Barrier(processes)

def start(number):
    together.wait()
    one(number)

def run():
    children = [forks.Process(target=start, args=(number,)) for number in range(processes)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    sys.exit(sum(child.exitcode != 0 for child in children))
"""

FETCHES = """
root, places = Path(sys.argv[3]), sys.argv[4:]

def one(number):
    place = places[number % len(places)]
    done = fetch([], find_location(place), Root(root))
    for fetched in done.packages:
        kept = Path(os.environ["REGISTRIES"]) / place.rpartition("/")[2] / fetched.path.name
        assert fetched.path.read_bytes() == kept.read_bytes(), fetched
    print("".join(fetched.status[0] for fetched in done.packages), flush=True)

run()
"""

FOLLOWS = """
root, folders = Path(sys.argv[3]), Path(sys.argv[4])

def one(number):
    index = read_index(folders / str(number))
    try:
        Root(root).follow(Folder(folders / "registry"), index)
    except EnvironmentFailure as error:
        assert "went back" in str(error), error

run()
"""

RELEASES = """
registry, logs = Path(sys.argv[3]), Path(sys.argv[4])

def one(number):
    package = ("llvm", "cuda")[number % 2]
    for _ in range(200):
        try:
            done = release(package, logs / f"{package}{number}.log", registry)
        except EnvironmentFailure as error:
            assert error.remedy == "nothing is lost; run the command again", error
        else:
            return print(done.package, done.version, flush=True)
    raise SystemExit("never done")

run()
"""


def run(script, locks, processes, *arguments, **environment):
    """Run a script's function in so many processes at once; return what they print, or fail if one fails."""
    command = [sys.executable, "-c", START + script, locks, str(processes), *map(str, arguments)]
    done = subprocess.run(command, env={**environment, "PATH": ""}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


@pytest.fixture
def registries(tmp_path):
    """Return a folder with two registries that give the same numbers to different files."""
    (tmp_path / "registries").mkdir()
    for name, rows in (("a", 20), ("b", 30)):
        folder = tmp_path / "registries" / name
        release("llvm", write_rows(tmp_path / name / "llvm_v0.06.log", rows), folder)
        release("cuda", write_rows(tmp_path / name / "cuda_v0.11.log", rows // 2), folder)
    return tmp_path / "registries"


@pytest.mark.slow
@pytest.mark.parametrize("locks", LOCKS)
@pytest.mark.parametrize("before", ["nothing", "damaged"])
def test_64_processes_fetch_into_one_root(registries, tmp_path, locks, before, exhaustive):
    if (locks, before) in (("ENOSYS", "nothing"), ("ENOLCK", "damaged")) and not exhaustive:
        pytest.skip("with --exhaustive")
    root = tmp_path / "root"
    names = ("llvm_v0.06.log", "cuda_v0.11.log")
    if before == "damaged":
        root.mkdir()
        for name in names:
            (root / name).write_text("damaged")
    with served(registries) as server:
        said = run(FETCHES, locks, 64, root, f"{server.url}/a", f"{server.url}/b", REGISTRIES=str(registries))
    assert len(said) == 64
    for name in names:
        files = {path.read_bytes() for path in root.rglob(name)}
        assert files == {(registries / registry / name).read_bytes() for registry in ("a", "b")}
    assert not list(root.rglob("*.part*"))
    if locks == "work":
        asked = [path for path in server.paths if path.endswith(".log")]
        assert len(asked) == 4, "each file of each registry once"


@pytest.mark.parametrize("locks", ["work", "granted to all", "ENOLCK"])
def test_of_many_answers_the_root_remembers_the_latest(tmp_path, locks, exhaustive):
    """Otherwise a location could go back unnoticed."""
    registry = tmp_path / "registry"
    for number in range(16):
        release("llvm", write_rows(tmp_path / "new.log", 2 + number), registry)
        (tmp_path / str(number)).mkdir()
        shutil.copy(registry / INDEX_FILE, tmp_path / str(number))
    root = tmp_path / "root"
    for _ in range(5 if exhaustive else 1):
        shutil.rmtree(root, ignore_errors=True)
        run(FOLLOWS, locks, 16, root, tmp_path)
        assert Root(root).remembered(Folder(registry)).serial == 16
        assert not list(root.rglob("*.part*"))


@pytest.mark.parametrize("locks", LOCKS)
def test_of_many_releases_that_wait_for_signatures_none_is_lost(tmp_path, locks):
    signed = made(tmp_path, "llvm@v0.01", "cuda@v0.01")
    for number in range(6):
        package = ("llvm", "cuda")[number % 2]
        write_rows(tmp_path / "new" / f"{package}{number}.log", 3 + number, target=target_of(package))
    run(RELEASES, locks, 6, signed.path, tmp_path / "new")
    index = latest_index(signed.path)
    assert [len(index.versions(package)) for package in ("llvm", "cuda")] == [4, 4]
    signed.sign()
    assert read_index(signed.path) == index


def together(locks, change, names):
    """Let a process for each name change a registry, all at once, and again if another one was quicker."""
    forks = multiprocessing.get_context("fork")
    barrier = forks.Barrier(len(names))

    def flock(*_):
        if locks != "granted to all":
            raise OSError(getattr(errno, locks), locks)

    def one(name):
        if locks != "work":
            fcntl.flock = flock
        barrier.wait()
        for _ in range(200):
            with suppress(EnvironmentFailure):
                return change(name)
        raise SystemExit("never done")

    children = [forks.Process(target=one, args=(name,)) for name in names]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * len(names)


HOLDERS = "ann", "bob", "cat", "dan", "eve", "fay"


@pytest.mark.parametrize("locks", LOCKS)
def test_of_many_signatures_at_once_none_is_lost(tmp_path, locks):
    signed = SignedRegistry(tmp_path / "registry", tmp_path / "logs")
    signed.release("llvm@v0.01", 1, sign=False)
    signed.start(*HOLDERS)
    signed.release("llvm@v0.02", 2, sign=False)
    together(locks, lambda name: signing.sign(signed.path, [key(name)]), HOLDERS)
    (waiting,) = signing.waiting_in(signed.path)
    assert {*waiting.signed} == {key(name).public_key.keyid for name in HOLDERS}


@pytest.mark.parametrize("locks", LOCKS)
def test_of_many_changes_of_keys_at_once_none_is_lost(tmp_path, locks):
    signed = made(tmp_path)
    new = HOLDERS[2:]
    for name in new:  # before the processes part
        key(name)
    together(locks, lambda name: roles.change_keys(signed.path, "root", add=[key(name).public_key]), new)
    root = Store(signed.path).staged("root").signed
    assert {*root.roles["root"].keyids} == {key(name).public_key.keyid for name in HOLDERS}


@pytest.mark.parametrize("locks", LOCKS)
def test_of_many_releases_at_once_none_is_lost(tmp_path, locks):
    registry, logs = tmp_path / "registry", tmp_path / "logs"
    for number in range(8):
        package = ("llvm", "cuda")[number % 2]
        fields = {"target": "cuda -model=h100"} if package == "cuda" else {}
        write_rows(logs / f"{package}{number}.log", 3 + number, **fields)
    said = run(RELEASES, locks, 8, registry, logs)
    index = read_index(registry)
    assert index.serial == 8
    assert len(set(said)) == 8
    if locks == "work":  # otherwise a number may be left out
        assert set(said) == {f"{package} v0.0{number}" for package in ("llvm", "cuda") for number in range(1, 5)}
    for package in ("llvm", "cuda"):
        hashes = {published.sha256 for published in index.versions(package).values()}
        assert len(hashes) == 4
        for published in index.versions(package).values():
            assert (registry / published.file).stat().st_size == published.bytes
    assert not list(registry.glob("*.part*"))
