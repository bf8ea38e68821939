"""Each system call that writes, of a fetch and of a release: the process is killed there, or the call fails.

Afterwards each file is the old or the new one, and the next run succeeds and cleans up.
"""

import errno
import hashlib
import shutil
import tempfile

import pytest

from tests.registries import write_rows
from tests.signed import made
from tests.system_calls import CHANGES, NEEDS_SPACE, POSSIBLE, traced
from tophub_registry import files
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.folder import read_index
from tophub_registry.packages.index import INDEX_FILE
from tophub_registry.packages.location import Folder
from tophub_registry.packages.root import Root
from tophub_registry.packages.trust.state import Kept
from tophub_registry.packages.version import Reference
from tophub_registry.publishing import roles
from tophub_registry.publishing.release import release

pytestmark = pytest.mark.skipif(not POSSIBLE, reason="system calls are traced on Linux on x86-64 only")

LOG, MODEL = "llvm_v0.06.log", "llvm_v0.06.model.json"


@pytest.fixture(autouse=True)
def _no_file_is_too_young_to_be_left_over(monkeypatch):
    monkeypatch.setattr(files, "_YOUNG", 0)


class Fetching:
    """A fetch of everything: a log and its cost model, which are new, and a log that is damaged here."""

    serials = 2, 4
    step = 7

    def __init__(self, folder):
        self.registry, self.old, self.folder = folder / "registry", folder / "old", folder / "root"
        release("llvm", write_rows(folder / "llvm_v0.05.log", 5), self.registry)
        release("cuda", write_rows(folder / "cuda_v0.11.log", 5), self.registry)
        other = folder / "other"
        release("rocm", write_rows(folder / "other" / "1" / "rocm_v0.01.log", 4), other)
        for location in (self.registry, other):
            fetch([], Folder(location), Root(self.old))
        (self.old / "cuda_v0.11.log").write_text("damaged")
        (folder / "model.json").write_text('{"a": "model"}' * 1000)
        release("llvm", write_rows(folder / LOG, 700), self.registry, model=folder / "model.json")
        release("rocm", write_rows(folder / "rocm_v0.01.log", 6), self.registry)

    def __call__(self):
        return fetch([], Folder(self.registry), Root(self.folder))

    def check(self):
        """Look at all files: old or new, and nothing else but temporary ones."""
        published = {path.name: path.read_bytes() for path in self.registry.glob("*_v*")}
        before = {path.name: path.read_bytes() for path in self.old.glob("*.log")}
        for path in self.folder.rglob("*"):
            if (
                path.is_file()
                and path.suffix not in (".part", ".lock")
                and not path.is_relative_to(self.folder / ".trust")
                and path.parent.name != ".indexes"
            ):
                allowed = [each[path.name] for each in (before, published) if path.name in each]
                assert path.read_bytes() in allowed, path
        for name in before:
            assert (self.folder / name).exists(), name
        assert Root(self.folder).remembered(Folder(self.registry)).serial in self.serials

    def check_done(self, done):
        self.check()
        assert [fetched.path.read_bytes() for fetched in done.packages] == [
            (self.registry / fetched.path.name).read_bytes() for fetched in done.packages
        ]
        assert (self.folder / MODEL).read_bytes() == (self.registry / MODEL).read_bytes()
        assert not list(self.folder.rglob("*.part*"))
        assert Root(self.folder).remembered(Folder(self.registry)).serial == self.serials[1]


class FetchingSigned(Fetching):
    """The same from a signed registry, whose root is new too."""

    serials = 2, 3
    step = 23

    def __init__(self, folder):
        signed = made(folder, "llvm@v0.05", "cuda@v0.11")
        self.registry, self.old, self.folder = signed.path, folder / "old", folder / "root"
        fetch([], signed.location, Root(self.old))
        (self.old / "cuda_v0.11.log").write_text("damaged")
        (folder / "model.json").write_text('{"a": "model"}' * 1000)
        release("llvm", write_rows(folder / LOG, 700), self.registry, model=folder / "model.json")
        roles.renew(self.registry, "root")
        signed.sign()

    def check(self):
        super().check()
        assert Kept.of(self.folder, Folder(self.registry)).anchor is not None, "it is still demanded that it is signed"

    def check_done(self, done):
        super().check_done(done)
        assert not done.notices or {notice.rule for notice in done.notices} <= {"damaged"}


class Releasing:
    """A release of a log and a cost model into a registry that has a version."""

    step = 7

    def __init__(self, folder):
        self.old, self.folder = folder / "old", folder / "registry"
        release("llvm", write_rows(folder / "llvm_v0.05.log", 5), self.old)
        self.log, self.model = write_rows(folder / LOG, 100), folder / "model.json"
        self.model.write_text('{"a": "model"}' * 1000)

    def __call__(self):
        return release("llvm", self.log, self.folder, model=self.model)

    def check(self):
        index = read_index(self.folder)
        assert index.serial in (1, 2)
        for published in index.versions("llvm").values():
            for file in (published, published.model):
                if file is not None:
                    data = (self.folder / file.file).read_bytes()
                    assert (len(data), hashlib.sha256(data).hexdigest()) == file.digest
        for name, source in ((LOG, self.log), (MODEL, self.model)):
            if (self.folder / name).exists():
                assert (self.folder / name).read_bytes() == source.read_bytes()

    def check_done(self, done):
        self.check()
        assert (done.serial, str(done.version)) == (2, "v0.06")
        names = {".lock", INDEX_FILE, "llvm_v0.05.log", LOG, MODEL}
        assert {path.name for path in self.folder.iterdir()} - {".lock"} == names - {".lock"}


@pytest.fixture(params=[Fetching, FetchingSigned, Releasing])
def work(request, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return request.param(tmp_path)


def start_over(work):
    shutil.rmtree(work.folder, ignore_errors=True)
    shutil.copytree(work.old, work.folder)


def run_once(work):
    start_over(work)
    work.check_done(work())  # here, so that all modules are imported
    start_over(work)
    undisturbed = traced(work)
    assert undisturbed.code == 0
    return undisturbed.calls


def released(work):
    """Return whether the release is done: a second one would be refused."""
    return isinstance(work, Releasing) and read_index(work.folder).serial == 2


def finish(work):
    if not released(work):
        work.check_done(work())


def sample(work, calls, exhaustive):
    """Return the numbers of the calls to try: all, or a part."""
    return range(0, len(calls), 1 if exhaustive else work.step)


def test_killed_before_any_of_them(work, exhaustive):
    calls = run_once(work)
    assert len(calls) > 20
    assert {"write", "fsync", "openat"} <= set(calls)
    for number in sample(work, calls, exhaustive):
        start_over(work)
        assert traced(work, kill=number).code == -9, number
        work.check()
        finish(work)


@pytest.mark.slow
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("lasting", [True, False], ids=["lasting", "once"])
def test_a_full_or_broken_disk_from_any_of_them_on(work, error, lasting, exhaustive):
    if error != errno.ENOSPC and not exhaustive:
        pytest.skip("one error is enough; all with --exhaustive")
    calls = run_once(work)
    for number in sample(work, calls, exhaustive):
        start_over(work)

        def fail(at, name, number=number):
            return error if name in NEEDS_SPACE and (at >= number if lasting else at == number) else 0

        done = traced(work, fail=fail)
        assert done.code in (0, 3), (number, calls[number])
        work.check()
        temporary = [path.name for path in work.folder.rglob("*.part*")]
        assert not temporary, (number, calls[number])
        finish(work)


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES, errno.EPERM], ids=errno.errorcode.get)
def test_nothing_may_be_written(work, error):
    run_once(work)
    start_over(work)
    before = {path: path.read_bytes() for path in work.folder.rglob("*") if path.is_file()}
    done = traced(work, fail=lambda _, name: error if name in CHANGES else 0)
    assert done.code == 3
    assert {path: path.read_bytes() for path in work.folder.rglob("*") if path.is_file()} == before
    finish(work)


def test_a_fetch_of_what_is_here_from_a_root_that_is_read_only(tmp_path):
    work = Fetching(tmp_path)
    start_over(work)
    work()
    assert traced(work, fail=lambda _, name: errno.EROFS if name in CHANGES else 0).code == 0
    pinned = traced(
        lambda: fetch([Reference.parse("llvm@v0.05")], Folder(work.registry), Root(work.folder)),
        fail=lambda _, name: errno.EACCES if name in CHANGES else 0,
    )
    assert pinned.code == 0
