"""What is known of a signed registry: what it spares, and what holds where the network fails or the process ends."""

import multiprocessing
import os
import shutil
import time
from datetime import timedelta

import pytest

from tests.registries import body, file_of, reset, served, trickling
from tests.signed import as_it_is, made, refused, rules, stranger
from tophub_registry.errors import EnvironmentFailure
from tophub_registry.files import atomic_write
from tophub_registry.packages import location
from tophub_registry.packages import root as roots
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.index import now
from tophub_registry.packages.location import Web
from tophub_registry.packages.overview import survey
from tophub_registry.packages.root import Root
from tophub_registry.packages.sources import find_sources
from tophub_registry.packages.trust.policy import Trust
from tophub_registry.packages.trust.state import Kept
from tophub_registry.packages.version import Reference
from tophub_registry.publishing import roles
from tophub_registry.records.target import Target

LLVM = [Reference.parse("llvm")]


@pytest.fixture
def registry(tmp_path):
    return made(tmp_path)


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path / "root")


class TestTheWarmCache:
    @pytest.mark.parametrize("answers", ["304 by ETag", "304 by time", "200"])
    def test_what_is_cached_costs_one_request(self, registry, root, answers):
        seen = []

        def answer(request):
            path = registry.path / request.path[1:]
            tag = f'"{path.stat().st_mtime_ns}"' if path.is_file() else ""
            seen.append((request.path, request.headers.get("If-None-Match"), request.headers.get("If-Modified-Since")))
            if answers == "304 by time" or not path.is_file():
                return False
            if answers == "304 by ETag" and request.headers.get("If-None-Match") == tag:
                request.send_response(304)
                request.end_headers()
                return True
            headers = {"ETag": tag} if answers == "304 by ETag" else {}
            return body(request, path.read_bytes(), **headers)

        old = registry.metadata("timestamp.json").stat().st_mtime - 60
        os.utime(registry.metadata("timestamp.json"), (old, old))
        with served(registry.path, answer) as server:
            location = Web(server.url)
            fetch(LLVM, location, root)
            for _ in range(2):
                del seen[:]
                assert fetch(LLVM, location, root).packages[0].status == "cached"
                assert [path for path, *_ in seen] == ["/metadata/timestamp.json"]
                assert any(seen[0][1:]) == (answers != "200")
            registry.release("llvm@v0.06", 6)
            assert str(fetch(LLVM, location, root).packages[0].version) == "v0.06", "a change is noticed"

    def test_a_change_within_the_second_of_a_response_is_noticed(self, registry, root):
        with served(registry.path) as server:
            fetch(LLVM, Web(server.url), root)
            registry.release("llvm@v0.06", 6)
            assert str(fetch(LLVM, Web(server.url), root).packages[0].version) == "v0.06"

    def test_a_damaged_memory_is_verified_anew(self, registry, root):
        fetch(LLVM, registry.location, root)
        for name in ("state.json", "index.json"):
            (path,) = root.path.glob(f".trust/*/{name}")
            path.write_bytes(path.read_bytes()[:-9])
            assert fetch(LLVM, registry.location, root).packages[0].status == "cached"

    def test_another_root_to_trust_is_verified_anew(self, registry, root, tmp_path):
        fetch(LLVM, registry.location, root)
        other = stranger(tmp_path / "evil")
        with refused(root, "not what the registry's keys signed"):
            fetch(LLVM, registry.location, Root(root.path, Trust(other / "metadata" / "root.json")))

    def test_a_root_that_is_read_only_is_enough_to_verify(self, registry, root, monkeypatch):
        monkeypatch.setattr(Kept, "keep", lambda *_: None)
        assert [package.state for package in survey(registry.location, root).packages] == ["missing"]
        registry.edit("timestamp.json", as_it_is, "eve")
        with refused(root, "not what"):
            survey(registry.location, root)


class TestFaults:
    @pytest.fixture
    def gone(self, registry, root):
        """A location that was fetched from, and no longer responds."""
        with served(registry.path) as server:
            location = Web(server.url)
            fetch(LLVM, location, root)
        return location

    def test_without_a_network_what_is_here_is_used_and_told(self, gone, root):
        assert rules(fetch(LLVM, gone, root)) == ["offline"]
        found = find_sources(Target.parse("llvm"), gone, root)
        assert [source.name for source in found.logs] == ["llvm v0.05"]
        assert set(rules(found)) == {"offline"}

    def test_without_a_network_signatures_that_have_expired_meanwhile_are_told(self, gone, root):
        later = now() + timedelta(days=8)
        with refused(root, "does not respond", EnvironmentFailure):
            fetch(LLVM, gone, root, time=later)
        assert rules(survey(gone, root, time=later)) == ["offline", "expired"]
        found = find_sources(Target.parse("llvm"), gone, root, time=later)
        assert [source.name for source in found.logs] == ["llvm v0.05"]
        (told,) = [notice for notice in found.notices if notice.rule == "expired"]
        day = Kept.of(root.path, gone).signed.expires[:10]
        assert told.message == f"the signatures of {gone.name} expired on {day}: newer versions may exist"

    @pytest.mark.parametrize("how", ["503", "reset"])
    def test_metadata_that_fails_for_the_moment_is_asked_for_again(self, registry, root, how):
        asked = []

        def fails_at_first(request):
            asked.append(request.path)
            if asked.count(request.path) > 1 or not file_of(request).exists():
                return False
            if how == "reset":
                return reset(request)
            request.send_error(503)
            return True

        with served(registry.path, fails_at_first) as server:
            assert rules(fetch(LLVM, Web(server.url), root)) == ["first-use"]
        assert asked.count("/metadata/1.snapshot.json") == asked.count("/metadata/1.targets.json") == 2

    @pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.targets.json", ".index.json", "missing"])
    def test_metadata_that_is_damaged_on_its_way_is_asked_for_again(self, registry, root, name):
        damaged = []

        def damages_once(request):
            if damaged or not request.path.endswith("timestamp.json" if name == "missing" else name):
                return False
            damaged.append(request.path)
            if name == "missing":
                request.send_error(404)
                return True
            return body(request, file_of(request).read_bytes()[:99])

        with served(registry.path, damages_once) as server:
            assert rules(fetch(LLVM, Web(server.url), root)) == ["first-use"]
        assert damaged

    def test_metadata_that_can_not_be_read_is_told_with_the_cause(self, registry, root):
        """TUF's client reads it while it is about what is missing on this machine, which is not the cause."""

        def broken(request):
            return request.path.endswith(".snapshot.json") and reset(request)

        with served(registry.path, broken) as server, refused(root, "Connection reset by peer", EnvironmentFailure):
            fetch(LLVM, Web(server.url), root)

    @pytest.mark.parametrize("headers", [True, False], ids=["headers", "body"])
    def test_slow_retrieval_of_metadata(self, registry, root, monkeypatch, headers):
        monkeypatch.setattr(location, "TOTAL_TIMEOUT", 0.5)
        trickle = trickling(headers)

        def slow(request):
            return request.path.endswith((".snapshot.json", ".targets.json")) and trickle(request)

        with served(registry.path, slow) as server, refused(root, "not done in", EnvironmentFailure):
            began = time.monotonic()
            fetch(LLVM, Web(server.url), root)
        assert time.monotonic() - began < 5

    def test_interrupted_anywhere_the_next_fetch_is_as_good(self, registry, root, monkeypatch):
        fetch(LLVM, registry.location, root)
        roles.renew(registry.path, "root")
        registry.release("llvm@v0.06", 6)
        kept = root.path.with_name("kept")
        root.path.rename(kept)
        steps = 0
        while True:
            shutil.rmtree(root.path, ignore_errors=True)
            shutil.copytree(kept, root.path)
            left = [steps]

            def interrupted(path, *, overwrite, left=left):
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
                return atomic_write(path, overwrite=overwrite)

            try:
                with monkeypatch.context() as patched:
                    patched.setattr("tophub_registry.packages.trust.state.atomic_write", interrupted)
                    fetch(LLVM, registry.location, root)
            except KeyboardInterrupt:
                done = fetch(LLVM, registry.location, root)
                assert (str(done.packages[0].version), rules(done)) == ("v0.06", [])
                steps += 1
            else:
                break
        assert steps >= 6

    @pytest.mark.parametrize("turn", [120.0, 0.0])
    def test_many_processes_at_once(self, registry, root, turn):
        """Also where locks lie."""
        forks = multiprocessing.get_context("fork")
        together = forks.Barrier(6)

        def one():
            roots.TURN = turn
            together.wait()
            for _ in range(3):
                (fetched,) = fetch(LLVM, registry.location, root).packages
                assert fetched.path.read_bytes() == (registry.path / "llvm_v0.05.log").read_bytes()

        processes = [forks.Process(target=one) for _ in range(6)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * 6
        assert not list(root.path.rglob("*.part"))
