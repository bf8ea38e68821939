"""Signed registries: attacks with what was once signed, by their names in The Update Framework, and what expires."""

import shutil
from datetime import timedelta, timezone
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from tuf.api.metadata import Metadata
from tuf.ngclient._internal import trusted_metadata_set

from tests.registries import body, served
from tests.signed import ago, expire, key, made, refused, rules
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.index import now
from tophub_registry.packages.location import Web
from tophub_registry.packages.root import Root
from tophub_registry.packages.sources import find_sources
from tophub_registry.packages.trust.policy import Expired
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


def replaced(registry, copy):
    shutil.rmtree(registry.path)
    shutil.copytree(copy, registry.path)


class TestOldMetadata:
    def test_rollback_to_an_older_registry(self, registry, root):
        old = registry.copy()
        registry.release("llvm@v0.06", 6)
        fetch(LLVM, registry.location, root)
        replaced(registry, old)
        for _ in range(2):
            with refused(root, "New timestamp version 1 must be >= 2"):
                fetch(LLVM, registry.location, root)

    def test_rollback_of_the_snapshot_by_who_has_the_online_key(self, registry, root):
        registry.release("llvm@v0.06", 6)
        fetch(LLVM, registry.location, root)
        entry = Metadata.from_file(str(registry.metadata("timestamp.json"))).signed.snapshot_meta

        def back(signed):
            entry.version, entry.length = 1, None
            entry.hashes = None
            signed.version, signed.snapshot_meta = 3, entry

        registry.edit("timestamp.json", back, "online")
        with refused(root, "New snapshot version must be >= 2"):
            fetch(LLVM, registry.location, root)

    def test_rollback_of_targets_by_who_has_the_online_key(self, registry, root):
        """A new snapshot lists the targets of before the last release."""
        registry.release("llvm@v0.06", 6)
        fetch(LLVM, registry.location, root)
        registry.release("llvm@v0.07", 7)

        def back(signed):
            signed.meta["targets.json"].version = 1
            signed.meta["targets.json"].hashes = signed.meta["targets.json"].length = None

        registry.edit("3.snapshot.json", back, "online")
        registry.resign("1.targets.json")
        with refused(root, "Expected targets.json version 1, got 2"):
            fetch(LLVM, registry.location, root)

    def test_rollback_of_the_root(self, registry, root):
        """An old root, signed by keys that are still good, under the next number."""
        roles.renew(registry.path, "root")
        registry.sign()
        fetch(LLVM, registry.location, root)
        registry.refresh()
        shutil.copy(registry.metadata("1.root.json"), registry.metadata("3.root.json"))
        with refused(root, "Expected root version 3 instead got version 1"):
            fetch(LLVM, registry.location, root)

    def test_freeze_ends_when_the_timestamp_expires(self, tmp_path, root):
        registry = made(tmp_path, time=ago(6))
        fetch(LLVM, registry.location, root)
        registry.release("llvm@v0.06", 6, sign=False)  # which the attacker holds back
        assert fetch(LLVM, registry.location, root).packages[0].status == "cached"
        frozen = made(tmp_path / "later", time=ago(8))
        with refused(root, "timestamp.json is expired", Expired):
            fetch(LLVM, frozen.location, root)

    def test_freeze_of_the_warm_cache_ends_too(self, registry, root):
        """304 to every request: the kept metadata is good until it expires, and no longer."""

        def unchanged(request):
            if request.headers.get("If-None-Match"):
                request.send_response(304)
                request.end_headers()
                return True
            data = registry.path.joinpath(request.path[1:])
            return data.is_file() and body(request, data.read_bytes(), ETag='"same"')

        with served(registry.path, unchanged) as server:
            location = Web(server.url)
            fetch(LLVM, location, root)
            del server.paths[:]
            fetch(LLVM, location, root)
            assert server.paths == ["/metadata/timestamp.json"]
            del server.paths[:]
            fetch(LLVM, location, root, time=now() + timedelta(days=8))
            assert len(server.paths) > 1, "it is asked without conditions, and verified anew"

    @pytest.mark.parametrize(
        ("days", "what"),
        [(8, "timestamp.json is expired"), (31, "timestamp.json is expired"), (366, "root.json is expired")],
    )
    def test_expired_metadata(self, tmp_path, root, days, what):
        registry = made(tmp_path, time=ago(days))
        with refused(root, what, Expired):
            fetch(LLVM, registry.location, root)

    def test_expired_snapshot(self, tmp_path, root):
        registry = made(tmp_path, time=ago(31))
        entry = Metadata.from_file(str(registry.metadata("timestamp.json"))).signed
        registry.edit(
            "timestamp.json", lambda signed: setattr(signed, "expires", entry.expires + timedelta(99)), "online"
        )
        with refused(root, "snapshot.json is expired", Expired):
            fetch(LLVM, registry.location, root)

    def test_expired_targets(self, tmp_path, root):
        registry = made(tmp_path, time=ago(366))
        roles.renew(registry.path, "root")
        registry.sign()
        with refused(root, "targets is expired", Expired):
            fetch(LLVM, registry.location, root)

    def test_a_clock_that_was_ahead_locks_nobody_out(self, registry, root, monkeypatch):
        later = now() + timedelta(days=400)
        fetch(LLVM, registry.location, root)
        with monkeypatch.context() as ahead:
            ahead.setattr(
                trusted_metadata_set, "datetime", SimpleNamespace(datetime=Mock(now=lambda _: later), timezone=timezone)
            )
            with refused(root, "root.json is expired .*check this machine's clock", Expired):
                fetch(LLVM, registry.location, root, time=later)
        assert rules(fetch(LLVM, registry.location, root)) == []

    def test_expired_signatures_do_not_stop_who_compiles_with_what_is_here(self, tmp_path, root):
        registry = made(tmp_path, time=ago(6.9))
        fetch(LLVM, registry.location, root)
        registry.refresh()
        registry.edit("timestamp.json", expire, "online")
        found = find_sources(Target.parse("llvm"), registry.location, root, time=now() + timedelta(days=1))
        assert [source.name for source in found.logs] == ["llvm v0.05"]
        assert set(rules(found)) == {"offline"}
        assert "expired" in str(found.notices[0])

    def test_mix_and_match_of_two_releases(self, registry, root):
        """Metadata of one release, and the targets of another under its name."""
        registry.release("llvm@v0.06", 6)
        registry.release("llvm@v0.07", 7)
        shutil.copy(registry.metadata("2.targets.json"), registry.metadata("3.targets.json"))
        with refused(root, "not what the registry's keys signed"):
            fetch(LLVM, registry.location, root)

    def test_mix_and_match_of_an_index(self, registry, root):
        """The index of one release with the metadata of another."""
        old = registry.copy()
        registry.release("llvm@v0.06", 6)
        for path in registry.path.glob("metadata/*.index.json"):
            path.unlink()
        shutil.copy(old / "index.json", registry.path / "index.json")
        with refused(root, "not what the registry's keys signed"):
            fetch(LLVM, registry.location, root)

    def test_fast_forward_is_recovered_from_by_new_online_keys(self, registry, root):
        """The online key was stolen, and signed versions that no honest server will ever reach."""
        fetch(LLVM, registry.location, root)
        honest = registry.copy()
        registry.edit("1.snapshot.json", lambda signed: setattr(signed, "version", 1 << 40), "online")
        registry.metadata("1.snapshot.json").rename(registry.metadata(f"{1 << 40}.snapshot.json"))

        def forward(signed):
            signed.version = 1 << 50
            signed.snapshot_meta.version = 1 << 40
            signed.snapshot_meta.hashes = signed.snapshot_meta.length = None

        registry.edit("timestamp.json", forward, "online")
        fetch(LLVM, registry.location, root)
        replaced(registry, honest)
        registry.refresh()
        with refused(root, "New timestamp version 2 must be >="):
            fetch(LLVM, registry.location, root)
        new, old = key("online2").public_key, key("online").public_key.keyid
        roles.change_keys(registry.path, "online", add=[new], remove=[old])
        registry.sign("ann", "bob", "online2")
        assert rules(fetch(LLVM, registry.location, root)) == []
