"""Delegation: the owner of a device signs its records, and nothing else."""

import json
import shutil

import pytest
from tuf.api.metadata import Metadata, TargetFile

from tests.registries import body, file_of, served, write_rows
from tests.signed import as_it_is, expire, key, made, refused, rules
from tophub_registry.packages.digest import Digest
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.index import Index
from tophub_registry.packages.location import Web
from tophub_registry.packages.root import Root
from tophub_registry.packages.sources import find_sources
from tophub_registry.packages.version import Reference
from tophub_registry.publishing import roles
from tophub_registry.publishing.metadata import Store, latest_index
from tophub_registry.records.target import Target

LLVM, CUDA = [Reference.parse("llvm")], [Reference.parse("cuda")]


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path / "root")


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

    @pytest.mark.parametrize("times", [1, 99])
    def test_its_metadata_that_is_damaged_on_its_way_is_asked_for_again(self, registry, root, times):
        """In the same fetch, and if that is not enough in the next one."""
        registry.release("cuda@v0.06", 6, sign=False, target="cuda -model=h100")
        registry.sign("ann", "bob", "owner", "online")
        left = [times]

        def damages(request):
            left[0] -= request.path.endswith("cuda-h100.json")
            return (
                request.path.endswith("cuda-h100.json")
                and left[0] >= 0
                and body(request, file_of(request).read_bytes()[:-9])
            )

        with served(registry.path, damages) as server:
            if times > 1:
                with refused(root, "not a signed file: "):
                    fetch(CUDA, Web(server.url), root)
                left[0] = 0
            assert fetch(CUDA, Web(server.url), root).packages[0].status == "downloaded"
            del server.paths[:]
            fetch(CUDA, Web(server.url), root)
            assert server.paths == ["/metadata/timestamp.json"]

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
