"""Signed registries: each test is an attack, by its name in The Update Framework, and fails without its defence."""

import hashlib
import json
import shutil
from datetime import timedelta

import pytest
from tuf.api.metadata import MetaFile

from tests.registries import served, write_rows
from tests.signed import SignedRegistry, as_it_is, disguised, key, made, refused, rules, stranger
from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.index import now
from tophub_registry.packages.location import Folder, Web
from tophub_registry.packages.overview import survey
from tophub_registry.packages.root import Root
from tophub_registry.packages.sources import find_sources
from tophub_registry.packages.trust.policy import Trust, Untrusted
from tophub_registry.packages.version import Reference
from tophub_registry.publishing import roles, signing
from tophub_registry.publishing.imports import import_packages
from tophub_registry.publishing.release import release
from tophub_registry.publishing.yank import yank
from tophub_registry.records.target import Target

LLVM = [Reference.parse("llvm")]


@pytest.fixture
def registry(tmp_path):
    return made(tmp_path)


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path / "root")


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

    @pytest.mark.parametrize("before", [0, 2])
    def test_a_new_root_that_is_given_replaces_the_known_one(self, registry, root, before):
        """Two keys of root were stolen, and the registry was signed anew: what the thieves sign is void."""
        for _ in range(before):
            roles.renew(registry.path, "root")
            registry.sign()
        fetch(LLVM, registry.location, root)
        stolen = registry.copy()
        shutil.rmtree(registry.path / "metadata")
        cat = [key("cat").public_key]
        roles.start(registry.path, roles.FirstKeys(cat, cat, cat, 1))
        registry.sign("cat")
        with refused(root, "not what the registry's keys signed"):
            fetch(LLVM, registry.location, root)
        trusting = Root(root.path, Trust(registry.metadata("root.json")))
        for each in (trusting, root):
            assert rules(fetch(LLVM, registry.location, each)) == []
        shutil.rmtree(registry.path)
        stolen.rename(registry.path)
        registry.release("llvm@v0.06", 6)
        with refused(root, "not what the registry's keys signed"):
            fetch(LLVM, registry.location, root)

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
