"""Signed registries: each test is an attack, by its name in The Update Framework, and fails without its defence."""

import hashlib
import json
import multiprocessing
import os
import shutil
import time
from contextlib import contextmanager
from datetime import timedelta, timezone
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from tuf.api.metadata import Metadata, MetaFile, TargetFile
from tuf.ngclient._internal import trusted_metadata_set

from tests.registries import body, file_of, reset, served, trickling, write_rows
from tests.signed import SignedRegistry, ago, disguised, key, made
from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.files import atomic_write
from tophub_registry.packages import location
from tophub_registry.packages import root as roots
from tophub_registry.packages.digest import Digest
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.index import Index, now
from tophub_registry.packages.location import Folder, Web
from tophub_registry.packages.overview import survey
from tophub_registry.packages.root import Root
from tophub_registry.packages.sources import find_sources
from tophub_registry.packages.trust.policy import Expired, Trust, Untrusted
from tophub_registry.packages.trust.state import Kept
from tophub_registry.packages.version import Reference
from tophub_registry.publishing import roles, signing
from tophub_registry.publishing.imports import import_packages
from tophub_registry.publishing.metadata import Store, latest_index
from tophub_registry.publishing.release import release
from tophub_registry.publishing.yank import yank
from tophub_registry.records.target import Target

LLVM, CUDA = [Reference.parse("llvm")], [Reference.parse("cuda")]


@pytest.fixture
def registry(tmp_path):
    return made(tmp_path)


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path / "root")


def rules(done):
    return [notice.rule for notice in done.notices]


def held(root):
    """Return the root's logs, which no attack may change."""
    return {path.name: path.read_bytes() for path in root.path.glob("*.log")}


@contextmanager
def refused(root, match, kind=Untrusted):
    before = held(root)
    with pytest.raises(kind, match=match) as caught:
        yield caught
    assert held(root) == before


class TestTheFirstTime:
    def test_its_own_keys_are_trusted_and_named(self, registry, root):
        done = fetch(LLVM, registry.location, root)
        assert rules(done) == ["first-use"]
        assert all(key(name).public_key.keyid in str(done.notices[0]) for name in ("ann", "bob")), "as a whole"
        assert rules(fetch(LLVM, registry.location, root)) == []

    def test_keys_that_are_called_like_somebody_elses_are_named_as_what_they_are(self, root, tmp_path):
        """Metadata may call a key by any name, and Eve calls hers like Ann's and Bob's."""
        registry = SignedRegistry(tmp_path / "registry", tmp_path)
        registry.release("llvm@v0.05", 5, sign=False)
        eves = {name: disguised(f"eve {name}", name) for name in ("ann", "bob")}
        given = [each.public_key for each in eves.values()]
        roles.start(registry.path, roles.FirstKeys(given, given, [key("online").public_key]))
        signing.sign(registry.path, [*eves.values(), key("online")])
        (notice,) = fetch(LLVM, registry.location, root).notices
        assert notice.rule == "first-use"
        for name in ("ann", "bob"):
            assert key(name).public_key.keyid not in str(notice)
            assert key(f"eve {name}").public_key.keyid in str(notice)

    def test_a_root_that_was_given_needs_no_notice(self, registry, root):
        trusting = Root(root.path, Trust(registry.metadata("root.json")))
        assert rules(fetch(LLVM, registry.location, trusting)) == []
        assert rules(fetch(LLVM, registry.location, root)) == [], "it is remembered"

    def test_another_root_than_the_given_one_is_refused(self, registry, root, tmp_path):
        (tmp_path / "given.json").write_bytes(registry.metadata("root.json").read_bytes())
        trusting = Root(root.path, Trust(tmp_path / "given.json"))
        shutil.rmtree(registry.path)
        stranger(tmp_path / "evil").rename(registry.path)
        with refused(root, "not what the registry's keys signed"):
            fetch(LLVM, registry.location, trusting)

    def test_a_root_that_is_given_and_no_signatures_is_refused(self, registry, root, tmp_path):
        release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 5), tmp_path / "unsigned")
        trusting = Root(root.path, Trust(registry.metadata("root.json")))
        with refused(root, "is not signed, and a root to trust is given"):
            fetch(LLVM, Folder(tmp_path / "unsigned"), trusting)

    def test_a_root_that_is_no_root_is_an_error(self, registry, root, tmp_path):
        with pytest.raises(InputError, match="can't be read"):
            fetch(LLVM, registry.location, Root(root.path, Trust(tmp_path / "nowhere.json")))
        timestamp = registry.metadata("timestamp.json").read_text()
        for text in ("{}", "[]", "[" * 100_000, "\0", timestamp):
            (tmp_path / "root.json").write_text(text)
            with refused(root, "root.json: the root to trust is not root metadata", InputError):
                fetch(LLVM, registry.location, Root(root.path, Trust(tmp_path / "root.json")))
        (tmp_path / "root.json").write_text('{"signed": {"_type": "root"}}')
        with refused(root, "not what the registry's keys signed"):
            fetch(LLVM, registry.location, Root(root.path, Trust(tmp_path / "root.json")))

    def test_the_environment_names_a_root_too(self, registry, monkeypatch, tmp_path):
        monkeypatch.setenv("TOPHUB_TRUST", str(registry.metadata("root.json")))
        assert Root.at(tmp_path).trust == Trust(registry.metadata("root.json"))
        assert Root.at(tmp_path, trust=Trust.of(insecure=True)).trust == Trust(None, insecure=True)

    def test_a_root_in_the_installation_is_that_of_its_locations_alone(self, tmp_path, root, monkeypatch):
        registry = made(tmp_path, locations=[str(tmp_path / "registry")])
        other = made(tmp_path / "elsewhere")
        monkeypatch.setattr("tophub_registry.packages.trust.ask.builtin", lambda: registry.location)
        assert rules(fetch(LLVM, registry.location, root)) == []
        assert rules(fetch(LLVM, other.location, root)) == ["first-use"]

    def test_the_installation_needs_no_signature(self, root):
        from tophub_registry.packages.location import builtin

        assert rules(fetch([Reference.parse("llvm@v0.05")], builtin(), Root(root.path, Trust(root.path / "no")))) == []


def stranger(folder):
    """Return a registry with the same packages, signed by somebody else's keys."""
    other = made(folder)
    shutil.rmtree(other.path)
    other.release("llvm@v0.05", 9, sign=False)
    first = roles.FirstKeys([key("eve").public_key], [key("eve").public_key], [key("eve").public_key], 1)
    roles.start(other.path, first)
    other.sign("eve")
    return other.path


class TestUnsigned:
    def test_it_is_followed_and_told_once(self, root, tmp_path):
        release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 5), tmp_path / "plain")
        with served(tmp_path / "plain") as server:
            assert rules(fetch(LLVM, Web(server.url), root)) == ["unsigned"]
            assert rules(fetch(LLVM, Web(server.url), root)) == []

    def test_it_is_verified_from_the_day_when_it_is_signed(self, root, tmp_path):
        release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 5), tmp_path / "registry")
        fetch(LLVM, Folder(tmp_path / "registry"), root)
        registry = made(tmp_path / "2")
        shutil.rmtree(tmp_path / "registry")
        registry.path.rename(tmp_path / "registry")
        assert "first-use" in rules(fetch(LLVM, Folder(tmp_path / "registry"), root, time=now() + timedelta(days=1)))

    def test_what_was_signed_is_refused_without_signatures(self, registry, root):
        fetch(LLVM, registry.location, root)
        shutil.rmtree(registry.path / "metadata")
        for _ in range(2):
            with refused(root, "is not signed, and it was signed before"):
                fetch(LLVM, registry.location, root)
        with pytest.raises(Untrusted):
            survey(registry.location, root)
        with pytest.raises(Untrusted):
            find_sources(Target.parse("llvm"), registry.location, root)

    def test_insecure_takes_it_and_says_so(self, registry, root):
        fetch(LLVM, registry.location, root)
        shutil.rmtree(registry.path / "metadata")
        assert rules(fetch(LLVM, registry.location, Root(root.path, Trust(insecure=True)))) == ["insecure"]

    def test_what_was_taken_insecurely_is_not_remembered(self, registry, root, tmp_path):
        fetch(LLVM, registry.location, root)
        known = root.remembered(registry.location)
        shutil.rmtree(registry.path)
        release("llvm", write_rows(tmp_path / "llvm_v9.99.log", 9), registry.path)
        fetch(LLVM, registry.location, Root(root.path, Trust(insecure=True)))
        assert root.remembered(registry.location) == known

    def test_a_signed_source_is_verified_when_it_is_imported(self, registry, root, tmp_path):
        import_packages([], registry.location, tmp_path / "mine", root=root)
        registry.edit("timestamp.json", as_it_is, "eve")
        with pytest.raises(Untrusted):
            import_packages([], registry.location, tmp_path / "other", root=root)

    def test_a_lying_serial_locks_nobody_out(self, root, tmp_path):
        plain = tmp_path / "plain"
        release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 5), plain)
        honest = (plain / "index.json").read_text()
        (plain / "index.json").write_text(honest.replace('"serial": 1,', f'"serial": {1 << 53},'))
        fetch(LLVM, Folder(plain), root)
        (plain / "index.json").write_text(honest)
        assert rules(fetch(LLVM, Folder(plain), root)) == ["went-back"]
        assert rules(fetch(LLVM, Folder(plain), root)) == []

    def test_a_yank_can_not_be_taken_back_with_an_older_index(self, root, tmp_path):
        plain = tmp_path / "plain"
        release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 5), plain)
        release("llvm", write_rows(tmp_path / "llvm_v0.06.log", 6), plain)
        before = (plain / "index.json").read_bytes()
        yank(Reference.parse("llvm@v0.06"), "wrong device", plain)
        fetch(LLVM, Folder(plain), root)
        (plain / "index.json").write_bytes(before)
        with pytest.raises(EnvironmentFailure, match=r"from serial 3 to 2: llvm v0.06 was yanked there"):
            fetch(LLVM, Folder(plain), root)


class TestForgery:
    def test_wrong_hash_of_a_log(self, registry, root):
        path = registry.path / "llvm_v0.05.log"
        path.write_bytes(path.read_bytes().replace(b"0.0001", b"0.0009"))
        with refused(root, "SHA-256", EnvironmentFailure):
            fetch(LLVM, registry.location, root)

    def test_wrong_length_of_a_log(self, registry, root):
        path = registry.path / "llvm_v0.05.log"
        path.write_bytes(path.read_bytes() + b"\n")
        with refused(root, "longer than", EnvironmentFailure):
            fetch(LLVM, registry.location, root)

    def test_wrong_hash_of_a_log_and_an_index_that_lists_it(self, registry, root):
        """Whoever controls the server, and has no key, replaces a log and its entry in the index."""
        for each in (registry.path / "index.json", *registry.path.glob("metadata/*.index.json")):
            fields = json.loads(each.read_bytes())
            path = registry.path / "llvm_v0.05.log"
            evil = path.read_bytes().replace(b"0.0001", b"0.0009")
            entry = fields["packages"]["llvm"]["v0.05"]
            entry["sha256"], entry["bytes"] = hashlib.sha256(evil).hexdigest(), len(evil)
            each.write_text(json.dumps(fields))
        path.write_bytes(evil)
        with refused(root, "not what the registry's keys signed"):
            fetch(LLVM, registry.location, root)

    def test_wrong_length_of_metadata(self, registry, root):
        path = registry.metadata("1.targets.json")
        path.write_bytes(path.read_bytes() + b" ")
        with refused(root, "bytes exceeding the maximum allowed length"):
            fetch(LLVM, registry.location, root)

    def test_wrong_hash_of_metadata(self, registry, root):
        """Other bytes of the same length that mean the same, so that all signatures are good."""
        path = registry.metadata("1.targets.json")
        data = path.read_bytes()
        signature = json.loads(data)["signatures"][0]["sig"]
        path.write_bytes(data.replace(signature.encode(), signature.upper().encode()))
        with refused(root, "hash"):
            fetch(LLVM, registry.location, root)

    def test_endless_metadata(self, registry, root):
        for name in ("timestamp.json", "1.snapshot.json", "1.targets.json", "root.json"):
            kept = registry.metadata(name).read_bytes()
            with registry.metadata(name).open("r+b") as stream:
                stream.truncate(1 << 26)
            with refused(root, "longer than|exceeding", EnvironmentFailure):
                fetch(LLVM, registry.location, root)
            registry.metadata(name).write_bytes(kept)

    @pytest.mark.parametrize("name", ["1.root.json", "1.targets.json", "1.snapshot.json", "timestamp.json"])
    def test_arbitrary_keys(self, registry, root, name):
        """A stranger signs one role's metadata, and the others list it."""
        registry.edit(name, as_it_is, "eve")
        if name == "1.root.json":
            shutil.copy(registry.metadata(name), registry.metadata("root.json"))
        elif name == "1.targets.json":
            registry.resign(name)
        elif name == "1.snapshot.json":
            entry = MetaFile.from_data(1, registry.metadata(name).read_bytes(), ["sha256"])
            registry.edit("timestamp.json", lambda signed: setattr(signed, "snapshot_meta", entry), "online")
        with refused(root, "was signed by 0/"):
            fetch(LLVM, registry.location, root)

    def test_one_key_of_two(self, registry, root):
        """Ann alone signs a release, with the online key to publish it."""
        fetch(LLVM, registry.location, root)
        registry.release("llvm@v0.06", 6)
        registry.edit("2.targets.json", as_it_is, "ann")
        registry.resign("2.targets.json")
        with refused(root, "targets was signed by 1/2 keys"):
            fetch(LLVM, registry.location, root)

    def test_one_key_twice(self, tmp_path):
        with pytest.raises(UsageError, match="the same key is given twice"):
            SignedRegistry(tmp_path / "registry", tmp_path).start("ann", "ann")

    def test_one_key_of_two_for_a_new_root(self, registry, root):
        """Ann alone takes the registry over: a root with her keys only."""
        fetch(LLVM, registry.location, root)
        mine = [key("ann").public_key.keyid]

        def take_over(signed):
            signed.version = 2
            for role in signed.roles.values():
                role.keyids, role.threshold = mine, 1

        registry.refresh()
        shutil.copy(registry.metadata("1.root.json"), registry.metadata("2.root.json"))
        registry.edit("2.root.json", take_over, "ann")
        with refused(root, "root was signed by 1/2 keys"):
            fetch(LLVM, registry.location, root)

    def test_a_revoked_key(self, registry, root):
        """Bob's key was stolen and replaced; what the thief and Ann's former key sign is worth nothing."""
        fetch(LLVM, registry.location, root)
        for role in ("root", "targets"):
            roles.change_keys(
                registry.path, role, add=[key("cat").public_key], remove=[key("bob").public_key.keyid[:9]]
            )
        registry.sign("ann", "bob", "cat", "online")
        fetch(LLVM, registry.location, root)
        registry.release("llvm@v0.06", 6, sign=False)
        registry.sign("ann", "cat", "online")
        registry.edit("3.targets.json", as_it_is, "ann", "bob")
        registry.resign("3.targets.json")
        with refused(root, "targets was signed by 1/2 keys"):
            fetch(LLVM, registry.location, root)


def as_it_is(_signed):
    """Change nothing: what is signed again has the attacker's signatures alone."""


def expire(signed):
    signed.expires = ago(1).replace(microsecond=0)


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


class TestDelegation:
    """The owner of an H100 signs its records, and nothing else."""

    @pytest.fixture
    def registry(self, tmp_path):
        registry = made(tmp_path, "llvm@v0.05", "cuda@v0.05")
        roles.delegate(registry.path, "cuda", [key("owner").public_key], models=["h100"])
        registry.sign("ann", "bob", "owner", "online")
        return registry

    def test_the_owner_signs_a_version(self, registry, root):
        registry.release("cuda@v0.06", 6, sign=False, target="cuda -model=h100")
        assert registry.sign("ann", "bob", "online").waiting[1].role == "cuda-h100", "it waits for the owner"
        registry.sign("owner", "online")
        (fetched,) = fetch(CUDA, registry.location, root).packages
        assert str(fetched.version) == "v0.06"
        assert fetch([Reference.parse("cuda@v0.05")], registry.location, root).packages

    def test_another_device_in_the_index_is_signed_by_targets(self, registry, root):
        registry.release("cuda@v0.06", 6, target="cuda -model=v100")
        assert fetch(CUDA, registry.location, root).packages
        assert "cuda_v0.06.log" in Metadata.from_file(str(registry.metadata("3.targets.json"))).signed.targets

    def _evil(self, registry):
        """Let the owner sign a log of a V100, which the index says to be of the owner's H100."""
        registry.release("cuda@v0.06", 6, sign=False, target="cuda -model=h100")
        path = write_rows(registry.path / "cuda_v0.06.log", 6, target="cuda -model=v100")
        store = Store(registry.path)
        role, targets, index = store.staged("cuda-h100"), store.staged("targets"), latest_index(registry.path)
        role.signed.targets[path.name] = TargetFile.from_file(path.name, str(path), ["sha256"])
        store.stage("cuda-h100", role)
        fields = json.loads(index.to_bytes())
        entry = fields["packages"]["cuda"]["v0.06"]
        entry["bytes"], entry["sha256"] = Digest.of(path)
        index = Index.parse(json.dumps(fields).encode())
        store.stage_index(index)
        targets.signed.targets["index.json"] = TargetFile.from_data("index.json", index.to_bytes(), ["sha256"])
        store.stage("targets", targets)
        registry.sign("ann", "bob", "owner", "online")

    def test_records_of_another_device_are_refused_whatever_the_index_says(self, registry, root):
        self._evil(registry)
        with refused(root, "line 1 is of the device 'v100', and who signed the log may sign for h100 only"):
            fetch(CUDA, registry.location, root)

    def test_they_are_refused_if_the_file_is_there_already(self, registry, root):
        self._evil(registry)
        root.path.mkdir()
        shutil.copy(registry.path / "cuda_v0.06.log", root.path)
        with refused(root, "of the device 'v100'"):
            fetch(CUDA, registry.location, root)
        with refused(root, "of the device 'v100'"):
            find_sources(Target.parse("cuda -model=h100"), registry.location, root)

    def test_another_package_is_refused(self, registry, root):
        """The owner signs `llvm` too."""
        entry = TargetFile.from_file("llvm_v0.05.log", str(registry.path / "llvm_v0.05.log"), ["sha256"])
        registry.edit("2.targets.json", lambda signed: signed.targets.pop("llvm_v0.05.log"), "ann", "bob")
        registry.edit("1.cuda-h100.json", lambda signed: signed.targets.update({"llvm_v0.05.log": entry}), "owner")
        registry.resign("2.targets.json")
        registry.resign("1.cuda-h100.json")
        with refused(root, "no role signed it"):
            fetch(LLVM, registry.location, root)

    def test_a_package_that_begins_alike_is_refused(self, tmp_path, root):
        """`cuda_v*.log` is also a pattern of `cuda_v2_v0.05.log`, which is a version of `cuda_v2`."""
        registry = made(tmp_path, "llvm@v0.05", "cuda@v0.05", "cuda_v2@v0.05")
        roles.delegate(registry.path, "cuda", [key("owner").public_key])
        registry.sign("ann", "bob", "owner", "online")
        file = "cuda_v2_v0.05.log"
        entry = TargetFile.from_file(file, str(registry.path / file), ["sha256"])
        registry.edit("2.targets.json", lambda signed: signed.targets.pop(file), "ann", "bob")
        registry.edit("1.cuda.json", lambda signed: signed.targets.update({file: entry}), "owner")
        registry.resign("2.targets.json")
        registry.resign("1.cuda.json")
        with refused(root, "may not sign for its package"):
            fetch([Reference.parse("cuda_v2")], registry.location, root)

    def test_another_key_than_the_owners_is_refused(self, registry, root):
        registry.release("cuda@v0.06", 6, sign=False, target="cuda -model=h100")
        registry.sign("ann", "bob", "owner", "online")
        registry.edit("2.cuda-h100.json", as_it_is, "ann", "bob")
        registry.resign("2.cuda-h100.json")
        with refused(root, "not a signed file: cuda-h100 was signed by 0/1 keys"):
            fetch(CUDA, registry.location, root)
        done = fetch([], registry.location, root)
        assert [fetched.package for fetched in done.packages] == ["llvm"], "the others are good"
        assert "not-signed" in rules(done)

    def test_an_owner_who_lets_it_expire_stops_only_that(self, registry, root):
        registry.release("cuda@v0.06", 6, sign=False, target="cuda -model=h100")
        registry.sign("ann", "bob", "owner", "online")
        registry.edit("2.cuda-h100.json", expire, "owner")
        registry.resign("2.cuda-h100.json")
        with refused(root, "cuda-h100 is expired"):
            fetch(CUDA, registry.location, root)
        assert fetch(LLVM, registry.location, root).packages

    def test_when_it_ends_targets_signs_all(self, registry, root):
        registry.release("cuda@v0.06", 6, sign=False, target="cuda -model=h100")
        registry.sign("ann", "bob", "owner", "online")
        fetch([], registry.location, root)
        roles.delegate(registry.path, "cuda", [], name="cuda-h100")
        registry.sign("ann", "bob", "online")
        assert fetch(CUDA, registry.location, root).packages[0].status == "cached"


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
