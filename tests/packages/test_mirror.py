"""A mirror is a verified copy that can be verified again, and a complete registry at every moment."""

import shutil
from contextlib import contextmanager, nullcontext

import pytest
from tuf.api.metadata import DelegatedRole, Delegations, MetaFile

from tests.registries import served, write_rows
from tests.signed import key, made
from tophub_registry.errors import EnvironmentFailure, UsageError
from tophub_registry.packages import download as downloads
from tophub_registry.packages import mirror as mirrors
from tophub_registry.packages.digest import Digest
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.folder import read_index
from tophub_registry.packages.location import Folder, NotThere, Web
from tophub_registry.packages.mirror import mirror
from tophub_registry.packages.patience import LocationFailure
from tophub_registry.packages.root import Root
from tophub_registry.packages.trust.policy import Trust, Untrusted
from tophub_registry.packages.version import Reference
from tophub_registry.publishing import roles
from tophub_registry.publishing.release import release
from tophub_registry.publishing.yank import yank


@pytest.fixture
def registry(tmp_path):
    return made(tmp_path, "llvm@v0.05", "cuda@v0.05")


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path / "root")


@pytest.fixture
def copy(tmp_path):
    return tmp_path / "mirror"


def complete(folder):
    """Return the serial of a folder's index after checking that every file that it lists is there."""
    index = read_index(folder)
    for package in index.packages:
        for published in index.versions(package).values():
            assert Digest.of(folder / published.file) == published.digest, published.file
    return index.serial


def test_it_has_all_versions_and_can_be_verified_again(registry, root, copy, tmp_path):
    registry.release("llvm@v0.06", 6)
    done = mirror(registry.location, copy, root)
    assert done.signed
    assert [file.file for file in done.files] == ["cuda_v0.05.log", "llvm_v0.05.log", "llvm_v0.06.log"]
    assert complete(copy) == 3
    trusting = Root(tmp_path / "client", Trust(registry.metadata("root.json")))
    assert [str(each.version) for each in fetch([], Folder(copy), trusting).packages] == ["v0.05", "v0.06"]


def test_it_has_the_roots_from_the_first_one_on(registry, root, copy, tmp_path):
    first = tmp_path / "first.json"
    shutil.copy(registry.metadata("root.json"), first)
    roles.change_keys(registry.path, "root", add=[key("cat").public_key], remove=[key("bob").public_key.keyid])
    registry.sign("ann", "bob", "cat", "online")
    mirror(registry.location, copy, root)  # which trusts the second one
    assert fetch([], Folder(copy), Root(tmp_path / "client", Trust(first))).packages


def test_it_has_delegated_roles(registry, root, copy, tmp_path):
    roles.delegate(registry.path, "cuda", [key("owner").public_key], models=["h100"])
    roles.delegate(registry.path, "mali", [key("owner").public_key])  # which has no files yet
    registry.sign("ann", "bob", "owner", "online")
    registry.release("cuda@v0.06", 6, sign=False, target="cuda -model=h100")
    registry.sign("ann", "bob", "owner", "online")
    mirror(registry.location, copy, root)
    assert fetch([Reference.parse("cuda")], Folder(copy), Root(tmp_path / "client")).packages[0].path.exists()


def test_updating_it_fetches_what_is_new(registry, root, copy):
    with served(registry.path) as server:
        mirror(Web(server.url), copy, root)
        registry.release("llvm@v0.06", 6)
        del server.paths[:]
        done = mirror(Web(server.url), copy, root)
        logs = [path for path in server.paths if path.endswith(".log")]
    assert logs == ["/llvm_v0.06.log"]
    assert [file.file for file in done.files if file.status == "downloaded"] == ["llvm_v0.06.log"]
    assert complete(copy) == 3


def test_a_damaged_file_is_fetched_again(registry, root, copy):
    mirror(registry.location, copy, root)
    (copy / "llvm_v0.05.log").write_text("damaged")
    mirror(registry.location, copy, root)
    assert complete(copy) == 2


def test_forged_files_do_not_get_in(registry, root, copy):
    mirror(registry.location, copy, root)
    registry.release("llvm@v0.06", 6)
    registry.edit("timestamp.json", lambda _: None, "eve")
    with pytest.raises(Untrusted):
        mirror(registry.location, copy, root)
    assert complete(copy) == 2


class Evil(Folder):
    """A location that has every metadata file that it is asked for, besides roots."""

    @contextmanager
    def open(self, file, **options):
        try:
            with super().open(file, **options) as stream:
                yield stream
        except (NotThere, LocationFailure, ValueError):
            if file.endswith(".root.json"):
                raise
            yield iter([b"evil"])


@pytest.mark.parametrize("delegated", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        "x/../../../escaped.json",
        "/escaped.json",
        "\0.json",
        f"{'x' * 300}.json",
        "other",
    ],
)
def test_odd_names_of_roles_write_nothing_elsewhere(registry, root, copy, tmp_path, name, delegated):
    """Who has the online key lists metadata of such a name, and serves it; who has all keys delegates to it too."""
    if delegated:
        role = DelegatedRole(name.removesuffix(".json"), [], 1, False, paths=["nothing"])
        delegations = Delegations({}, {role.name: role})
        registry.edit("1.targets.json", lambda signed: setattr(signed, "delegations", delegations), "ann", "bob")
        registry.resign("1.targets.json")
    registry.edit("1.snapshot.json", lambda signed: signed.meta.update({name: MetaFile(1)}), "online")
    registry.resign("1.snapshot.json")
    with pytest.raises(EnvironmentFailure) if delegated and len(name) > 255 else nullcontext():
        mirror(Evil(registry.path), copy, root)
        assert complete(copy) == 2
        assert fetch([], Folder(copy), Root(tmp_path / "client")).packages
    found = [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == b"evil"]
    assert all(path.parent == copy / "metadata" for path in found)


def test_a_yank_reaches_it(registry, root, copy):
    registry.release("llvm@v0.06", 6)
    mirror(registry.location, copy, root)
    yank(Reference.parse("llvm@v0.06"), "wrong", registry.path)
    registry.sign()
    mirror(registry.location, copy, root)
    assert read_index(copy).versions("llvm")[max(read_index(copy).versions("llvm"))].yanked == "wrong"


def test_interrupted_anywhere_it_is_the_old_registry_or_the_new_one(registry, root, copy, tmp_path, monkeypatch):
    mirror(registry.location, copy, root)
    roles.change_keys(registry.path, "root", add=[key("cat").public_key])
    registry.release("llvm@v0.06", 6)
    kept = tmp_path / "kept"
    shutil.copytree(copy, kept)
    write, left = mirrors.atomic_write, [0]

    def interrupted(path, **options):
        left[0] -= 1
        if left[0] < 0:
            raise EnvironmentFailure("no space left")
        return write(path, **options)

    seen, steps = set(), 0
    for module in (mirrors, downloads):
        monkeypatch.setattr(module, "atomic_write", interrupted)
    while True:
        left[0] = steps
        shutil.rmtree(copy)
        shutil.copytree(kept, copy)
        try:
            mirror(registry.location, copy, root)
        except EnvironmentFailure:
            complete(copy)
            left[0] = 99
            client = Root(tmp_path / f"client{steps}", Trust(kept / "metadata" / "root.json"))
            seen.add(max(str(each.version) for each in fetch([], Folder(copy), client).packages))
            steps += 1
        else:
            break
    assert steps >= 6
    assert seen == {"v0.05", "v0.06"}


def test_an_unsigned_registry_is_copied_too(root, copy, tmp_path):
    release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 5), tmp_path / "plain")
    done = mirror(Folder(tmp_path / "plain"), copy, root)
    assert not done.signed
    assert complete(copy) == 1


def test_another_folder_is_left_alone(registry, root, copy, tmp_path):
    other = made(tmp_path / "other")
    for folder, match in (
        (other.path, "not a mirror"),
        (registry.path, "of itself"),
        (registry.path / "index.json", "file"),
    ):
        with pytest.raises(UsageError, match=match):
            mirror(registry.location, folder, root)
    mirror(registry.location, copy, root)
    with pytest.raises(UsageError, match="a mirror of"):
        mirror(other.location, copy, root)
