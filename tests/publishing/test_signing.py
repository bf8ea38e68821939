"""Signing: nothing is published before it has its signatures, and then all of it at once."""

import pytest

from tests.registries import write_rows
from tests.signed import ago, disguised, key, made
from tophub_registry.errors import InputError, UsageError
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.index import now
from tophub_registry.packages.location import Folder
from tophub_registry.packages.root import Root
from tophub_registry.packages.trust.policy import Trust
from tophub_registry.packages.version import Reference
from tophub_registry.publishing import roles, signing
from tophub_registry.publishing.imports import import_packages
from tophub_registry.publishing.keys import make_keys, read_public, read_signer
from tophub_registry.publishing.metadata import STAGED, Store
from tophub_registry.publishing.release import release
from tophub_registry.publishing.summary import summary_of
from tophub_registry.publishing.yank import yank

LLVM = [Reference.parse("llvm")]


@pytest.fixture
def registry(tmp_path):
    return made(tmp_path)


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path / "root")


def newest(registry, root):
    return str(fetch(LLVM, registry.location, root).packages[0].version)


def waiting(registry):
    return [(each.role, each.needed) for each in signing.waiting_in(registry.path)]


def test_a_release_waits_for_two_signatures(registry, root):
    registry.release("llvm@v0.06", 6, sign=False)
    served = {path: path.read_bytes() for path in registry.path.rglob("*.json") if STAGED not in path.parts}
    assert waiting(registry) == [("targets", 2)]
    assert newest(registry, root) == "v0.05"
    registry.sign("ann")
    assert waiting(registry) == [("targets", 1)]
    registry.sign("bob")
    assert waiting(registry) == [("targets", 0)], "the online key is missing"
    assert all(path.read_bytes() == data for path, data in served.items())
    registry.refresh()
    assert waiting(registry) == []
    assert newest(registry, root) == "v0.06"
    assert newest(registry, Root(root.path / "new", Trust(insecure=True))) == "v0.06", "for old clients too"


def test_the_second_signature_can_be_given_elsewhere(registry, root, tmp_path):
    registry.release("llvm@v0.06", 6, sign=False)
    registry.sign("ann")
    carried = tmp_path / "targets.json"
    carried.write_bytes((registry.path / STAGED / "targets.json").read_bytes())
    signing.sign_file(carried, [key("bob")])
    (registry.path / STAGED / "targets.json").write_bytes(carried.read_bytes())
    registry.refresh()
    assert newest(registry, root) == "v0.06"


def test_a_change_after_a_signature_must_be_signed_anew(registry, root):
    registry.release("llvm@v0.06", 6, sign=False)
    registry.sign("ann")
    yank(Reference.parse("llvm@v0.06"), "wrong", registry.path)
    assert waiting(registry) == [("targets", 2)]
    registry.sign()
    assert newest(registry, root) == "v0.05"


def test_a_second_release_builds_on_the_one_that_waits(registry, root):
    registry.release("llvm@v0.06", 6, sign=False)
    registry.release("llvm@v0.07", 7, sign=False)
    registry.sign()
    assert [str(version) for version in registry.index().versions("llvm")] == ["v0.05", "v0.06", "v0.07"]
    assert newest(registry, root) == "v0.07"


def test_an_import_waits_too(registry, root, tmp_path):
    release("cuda", write_rows(tmp_path / "cuda_v0.07.log", 7), tmp_path / "theirs")
    import_packages([], Folder(tmp_path / "theirs"), registry.path)
    assert waiting(registry) == [("targets", 2)]
    registry.sign()
    assert fetch([Reference.parse("cuda")], registry.location, root).packages


def test_a_log_that_was_exchanged_before_signing_is_not_signed(registry):
    registry.release("llvm@v0.06", 6, sign=False)
    path = registry.path / "llvm_v0.06.log"
    path.write_bytes(path.read_bytes().replace(b"0.0001", b"0.0009"))
    with pytest.raises(InputError, match="not the file that would be signed"):
        registry.sign("ann")
    assert waiting(registry) == [("targets", 2)]


def test_an_index_that_was_exchanged_after_signing_is_not_published(registry, root):
    registry.release("llvm@v0.06", 6, sign=False)
    registry.sign("ann", "bob")
    path = registry.path / STAGED / "index.json"
    path.write_bytes(path.read_bytes().replace(b'"serial": 2', b'"serial": 9'))
    with pytest.raises(InputError, match="not the index that was signed"):
        registry.refresh()
    assert newest(registry, root) == "v0.05"


def test_a_key_that_is_exchanged_under_its_name_is_seen_before_signing(registry):
    """Who can write to the registry stages what looks like a renewal, in which Bob's key is Eve's."""
    roles.renew(registry.path, "root")
    store = Store(registry.path)
    staged = store.staged("root")
    staged.signed.keys[key("bob").public_key.keyid] = disguised("eve", "bob").public_key
    store.stage("root", staged)
    (waiting,) = signing.waiting_in(registry.path)
    assert waiting.changes == tuple(
        f"{what}: key {key(who).public_key.keyid} of {role}"
        for role in ("root", "targets")
        for what, who in (("new", "eve"), ("gone", "bob"))
    )


def test_discarding_leaves_the_published_registry(registry, root):
    registry.release("llvm@v0.06", 6, sign=False)
    assert Store(registry.path).discard()
    assert not Store(registry.path).discard()
    assert newest(registry, root) == "v0.05"
    registry.release("llvm@v0.06", 6)
    assert newest(registry, root) == "v0.06"


@pytest.mark.parametrize("change", ["a release", "other online keys", "other keys of targets"])
def test_interrupted_anywhere_clients_see_the_old_registry_or_the_new_one(tmp_path, monkeypatch, change):
    write, left = Store.write, [0]

    def interrupted(self, name, data):
        if not name.startswith(STAGED):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        write(self, name, data)

    steps, seen = 0, set()
    while True:
        registry = made(tmp_path / str(steps))
        known = Root(tmp_path / str(steps) / "known")
        fetch(LLVM, registry.location, known)
        cat = key("cat").public_key
        if change == "other online keys":
            roles.change_keys(registry.path, "online", add=[cat], remove=[key("online").public_key.keyid])
        elif change == "other keys of targets":
            roles.change_keys(registry.path, "targets", add=[cat], remove=[key("bob").public_key.keyid])
        registry.release("llvm@v0.06", 6, sign=False)
        left[0] = steps
        try:
            with monkeypatch.context() as patched:
                patched.setattr(Store, "write", interrupted)
                registry.sign("ann", "bob", "cat", "online")
        except KeyboardInterrupt:
            new = Root(tmp_path / str(steps) / "new")
            seen |= {newest(registry, known), newest(registry, new)}
            registry.refresh("online", "cat")
            assert {newest(registry, known), newest(registry, new)} == {"v0.06"}
            assert not (registry.path / STAGED).exists()
            steps += 1
        else:
            break
    assert steps >= 5
    assert seen == {"v0.05", "v0.06"}


def test_a_stolen_online_key_can_be_replaced_without_it(registry, root):
    fetch(LLVM, registry.location, root)
    roles.change_keys(registry.path, "online", add=[key("new").public_key], remove=[key("online").public_key.keyid])
    registry.sign("ann", "bob")
    with pytest.raises(UsageError, match="new root has other keys"):
        registry.refresh("online")
    registry.refresh("new")
    assert newest(registry, root) == "v0.05"


def test_refreshing_renews_the_timestamp_and_in_time_the_snapshot(tmp_path, root):
    registry = made(tmp_path, time=ago(6))
    assert registry.refresh().published == ("timestamp",)
    assert newest(registry, root) == "v0.05"
    registry = made(tmp_path / "old", time=ago(20))
    assert registry.refresh().published == ("snapshot", "timestamp")
    assert newest(registry, Root(tmp_path / "another")) == "v0.05"


def test_refreshing_goes_on_while_a_release_waits(tmp_path, root):
    registry = made(tmp_path, time=ago(8))
    registry.release("llvm@v0.06", 6, sign=False)
    assert registry.refresh().published == ("timestamp",)
    assert newest(registry, root) == "v0.05"
    assert waiting(registry) == [("targets", 2)]


def test_renewing_root_and_targets(tmp_path, root):
    registry = made(tmp_path, time=ago(360))
    for role in ("root", "targets"):
        roles.renew(registry.path, role)
    registry.sign()
    assert newest(registry, root) == "v0.05"
    expiries = [role.expires for role in summary_of(registry.path).roles]
    assert min(expiries[:2])[:4] >= str(now().year + 1)
    with pytest.raises(UsageError, match="no such role"):
        roles.renew(registry.path, "nobody")


def test_keys_that_may_not_sign(registry):
    with pytest.raises(UsageError, match="nothing waits for the signature of"):
        registry.sign("ann")
    with pytest.raises(UsageError, match="none of the keys may sign"):
        registry.refresh("ann")
    with pytest.raises(UsageError, match="root has 2 keys, of which 3 must sign"):
        roles.change_keys(registry.path, "root", threshold=3)
    with pytest.raises(UsageError, match="0 keys begin with"):
        roles.change_keys(registry.path, "root", remove=["f" * 64])
    with pytest.raises(UsageError, match="signed already"):
        registry.start()


def test_key_files(tmp_path):
    made_keys = make_keys(tmp_path / "ann", b"secret")
    assert made_keys.private.stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED" in made_keys.private.read_bytes()
    assert read_signer(made_keys.private, lambda _: b"secret").public_key.keyid == made_keys.identifier
    assert read_public(made_keys.public).keyid == made_keys.identifier
    with pytest.raises(InputError, match="wrong passphrase"):
        read_signer(made_keys.private, lambda _: b"guess")
    with pytest.raises(UsageError, match="already there"):
        make_keys(tmp_path / "ann", None)
    with pytest.raises(InputError, match="this is a private key"):
        read_public(made_keys.private)
    for read in (read_public, lambda path: read_signer(path, lambda _: b"")):
        (tmp_path / "odd").write_text("odd")
        with pytest.raises(InputError):
            read(tmp_path / "odd")
        with pytest.raises(InputError, match="can't be read"):
            read(tmp_path / "nowhere")
