"""Signed registries whose location fails: a mirror's metadata is as good, and never older, expired or another's."""

import shutil
import time
from datetime import timedelta

import pytest

from tests.registries import body, file_of, reset, served, trickling, write_rows
from tests.signed import SignedRegistry, ago, as_it_is, expire, key, made, refused, rules, stranger
from tophub_registry.errors import EnvironmentFailure
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.index import now
from tophub_registry.packages.location import Folder, Web
from tophub_registry.packages.root import Root
from tophub_registry.packages.sources import find_sources
from tophub_registry.packages.trust import verified
from tophub_registry.packages.trust.policy import Trust, Untrusted
from tophub_registry.packages.version import Reference
from tophub_registry.publishing import roles
from tophub_registry.publishing.release import release
from tophub_registry.records.target import Target

LLVM, CUDA = [Reference.parse("llvm")], [Reference.parse("cuda")]


@pytest.fixture
def registry(tmp_path):
    return made(tmp_path)


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path / "root")


@pytest.fixture
def down(registry, root):
    """Return a location that was fetched from, and no longer responds."""
    with served(registry.path) as server:
        location = Web(server.url)
        fetch(LLVM, location, root)
    return location


def with_mirrors(location, *mirrors):
    return type(location)(location.url, mirrors=tuple(map(Folder, mirrors)))


def got(done):
    return str(done.packages[0].version), rules(done)


class TestALocationThatIsDown:
    def test_and_a_good_mirror(self, registry, root, down):
        registry.release("llvm@v0.06", 6)
        done = fetch(LLVM, with_mirrors(down, registry.path), root)
        assert got(done) == ("v0.06", ["mirror", "mirror"])
        assert f"index of {down.name} came from the mirror {registry.path}; the location itself: does not" in str(done)
        assert rules(fetch(LLVM, with_mirrors(down, registry.path), root)) == ["mirror"], "and a warm cache"
        found = find_sources(Target.parse("llvm"), with_mirrors(down, registry.path), root)
        assert [source.name for source in found.logs] == ["llvm v0.06"]

    @pytest.mark.parametrize(
        ("broken", "how"),
        [
            ("timestamp.json", "500"),
            ("timestamp.json", "404"),
            ("timestamp.json", "other bytes"),
            ("2.snapshot.json", "404"),
            ("2.targets.json", "reset"),
            ("2.targets.json", "other bytes"),
            (".index.json", "500"),
            (".index.json", "cut off"),
        ],
    )
    def test_for_some_of_the_metadata(self, registry, root, broken, how):
        failing = []

        def answer(request):
            if not failing or not request.path.endswith(broken):
                return False
            if how in ("500", "404"):
                request.send_error(int(how))
                return True
            data = file_of(request).read_bytes()
            return reset(request) if how == "reset" else body(request, data[:99] if how == "cut off" else data[::-1])

        with served(registry.path, answer) as server:
            fetch(LLVM, Web(server.url), root)
            registry.release("llvm@v0.06", 6)
            failing.append(how)
            done = fetch(LLVM, with_mirrors(Web(server.url), registry.path), root)
            assert got(done) == ("v0.06", ["mirror"])

    @pytest.mark.parametrize("headers", [True, False], ids=["headers", "body"])
    def test_slow_retrieval_leaves_time_for_a_mirror(self, registry, root, monkeypatch, headers):
        monkeypatch.setattr(verified, "PATIENCE", 0.3)
        trickle = trickling(headers)
        with served(registry.path, lambda request: "2.snap" in request.path and trickle(request)) as server:
            fetch(LLVM, Web(server.url), root)
            registry.release("llvm@v0.06", 6)
            began = time.monotonic()
            assert got(fetch(LLVM, with_mirrors(Web(server.url), registry.path), root)) == ("v0.06", ["mirror"])
        assert time.monotonic() - began < 5

    def test_mirrors_are_tried_in_order_and_the_one_that_served_is_named(self, registry, root, down, tmp_path):
        registry.release("llvm@v0.06", 6)
        done = fetch(LLVM, with_mirrors(down, tmp_path / "none", registry.path, tmp_path / "other"), root)
        assert f"from the mirror {registry.path};" in str(done.notices[0])

    def test_a_mirror_is_not_asked_as_long_as_the_location_serves(self, registry, root):
        with served(registry.path) as server, served(registry.path) as mirror:
            location = Web(server.url, mirrors=(Web(mirror.url),))
            for number in (6, 7):
                registry.release(f"llvm@v0.0{number}", number)
                fetch(LLVM, location, root)
            del server.paths[:]
            assert rules(fetch(LLVM, location, root)) == []
            assert (server.paths, mirror.paths) == (["/metadata/timestamp.json"], [])

    def test_what_identifies_an_answer_is_sent_to_who_gave_it_alone(self, registry, root):
        """The mirror may call its timestamp what the location will call a later one."""
        asked, failing = {"location": [], "mirror": []}, []

        def answering(name):
            def answer(request):
                if request.path != "/metadata/timestamp.json":
                    return False
                asked[name].append(request.headers.get("If-None-Match"))
                if name in failing:
                    request.send_error(503)
                    return True
                return body(request, file_of(request).read_bytes(), ETag=f'"of the {name}"')

            return answer

        with (
            served(registry.path, answering("location")) as server,
            served(registry.path, answering("mirror")) as mirror,
        ):
            location = Web(server.url, mirrors=(Web(mirror.url),))
            fetch(LLVM, location, root)
            failing.append("location")
            fetch(LLVM, location, root)
            registry.release("llvm@v0.06", 6)
            assert got(fetch(LLVM, location, root))[0] == "v0.06"
            failing.clear()
            fetch(LLVM, location, root)
            fetch(LLVM, location, root)
        its = '"of the location"'
        assert asked == {"location": [None, its, its, None, its], "mirror": [None, None]}

    def test_the_first_root_never_comes_from_a_mirror(self, registry, root, tmp_path):
        with served(registry.path) as server:
            location = Web(server.url)
        with refused(root, "does not respond", EnvironmentFailure):
            fetch(LLVM, with_mirrors(location, registry.path), root)
        trusting = Root(root.path, Trust(registry.metadata("root.json")))
        assert fetch(LLVM, with_mirrors(location, registry.path), trusting).packages[0].status == "downloaded"
        assert got(fetch(LLVM, with_mirrors(location, registry.path), root)) == ("v0.05", ["mirror"])

    def test_an_index_that_is_not_signed_never_comes_from_a_mirror(self, root, tmp_path):
        release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 5), tmp_path / "plain")
        with (
            served(tmp_path / "plain", reset) as server,
            refused(root, "index.json: does not respond", EnvironmentFailure),
        ):
            fetch(LLVM, with_mirrors(Web(server.url), tmp_path / "plain"), root)


class TestAMirror:
    def test_with_older_metadata_is_refused_and_the_next_one_tried(self, registry, root):
        old = registry.copy()
        registry.release("llvm@v0.06", 6)
        with served(registry.path) as server:
            location = Web(server.url)
            fetch(LLVM, location, root)
        registry.release("llvm@v0.07", 7)
        assert got(fetch(LLVM, with_mirrors(location, old, registry.path), root)) == ("v0.07", ["mirror"] * 2)
        trusting = Root(root.path, Trust(registry.metadata("root.json")))
        with refused(root, "does not respond.*New timestamp version 1 must be >= 3", EnvironmentFailure):
            fetch(LLVM, with_mirrors(location, old), trusting, time=now() + timedelta(days=8))

    def test_with_older_metadata_is_refused_and_what_is_known_is_used(self, registry, root):
        old = registry.copy()
        registry.release("llvm@v0.06", 6)
        with served(registry.path) as server:
            location = Web(server.url)
            fetch(LLVM, location, root)
        assert got(fetch(LLVM, with_mirrors(location, old), root)) == ("v0.06", ["offline"])

    def test_what_a_mirror_served_can_not_be_taken_back_by_the_location(self, registry, root):
        old = registry.copy()
        with served(old) as server:
            location = Web(server.url)
            fetch(LLVM, location, root)
            registry.release("llvm@v0.06", 6)
            (old / "metadata" / "timestamp.json").rename(old / "kept.json")
            assert got(fetch(LLVM, with_mirrors(location, registry.path), root))[0] == "v0.06"
            (old / "kept.json").rename(old / "metadata" / "timestamp.json")
            with refused(root, "New timestamp version 1 must be >= 2"):
                fetch(LLVM, location, root)

    def test_that_is_a_little_behind_is_good_as_long_as_nothing_newer_was_seen(self, registry, root, down):
        registry.release("llvm@v0.06", 6)
        behind = registry.copy()
        registry.release("llvm@v0.07", 7)
        assert got(fetch(LLVM, with_mirrors(down, behind), root)) == ("v0.06", ["mirror", "mirror"])

    def test_with_expired_metadata_is_refused_and_the_next_one_tried(self, tmp_path, root):
        """Freeze: it serves what was current eight days ago."""
        registry = made(tmp_path, time=ago(8))
        trusting = Root(root.path, Trust(registry.metadata("root.json")))
        frozen = registry.copy()
        registry.refresh()
        with served(registry.path) as server:
            location = Web(server.url)
        with refused(root, "does not respond.*timestamp.json is expired", EnvironmentFailure):
            fetch(LLVM, with_mirrors(location, frozen), trusting)
        assert got(fetch(LLVM, with_mirrors(location, frozen, registry.path), trusting))[0] == "v0.05"

    def test_with_another_registrys_metadata_is_refused_and_the_next_one_tried(self, registry, root, down, tmp_path):
        other = stranger(tmp_path / "evil")
        registry.release("llvm@v0.06", 6)
        assert got(fetch(LLVM, with_mirrors(down, other, registry.path), root)) == ("v0.06", ["mirror"] * 2)
        later = now() + timedelta(days=8)  # so that what is known is not used
        with refused(root, "does not respond.*not what the registry's keys signed", EnvironmentFailure):
            fetch(LLVM, with_mirrors(down, other), root, time=later)


class TestAHostileLocation:
    @pytest.fixture
    def hostile(self, registry, root, tmp_path):
        """A location that was good, and a folder with what it serves from now on."""
        shown = tmp_path / "shown"
        shutil.copytree(registry.path, shown)
        with served(shown) as server:
            fetch(LLVM, Web(server.url), root)
            registry.release("llvm@v0.06", 6)
            yield Web(server.url), shown

    @pytest.mark.parametrize("what", ["another registry's", "no signatures", "the thief's keys", "expired", "older"])
    def test_and_a_good_mirror(self, registry, root, hostile, tmp_path, what):
        location, shown = hostile
        if what == "older":
            away = (shown / "metadata").rename(tmp_path / "away")
            fetch(LLVM, with_mirrors(location, registry.path), root)
            away.rename(shown / "metadata")
        elif what == "another registry's":
            shutil.rmtree(shown)
            stranger(tmp_path / "evil").rename(shown)
        else:
            shutil.copytree(registry.path, shown, dirs_exist_ok=True)
        if what == "no signatures":
            shutil.rmtree(shown / "metadata")
        elif what in ("the thief's keys", "expired"):
            change, signer = (as_it_is, "eve") if what == "the thief's keys" else (expire, "online")
            SignedRegistry(shown, tmp_path).edit("timestamp.json", change, signer)
        with pytest.raises(Untrusted):
            fetch(LLVM, location, root)
        done = fetch(LLVM, with_mirrors(location, registry.path), root)
        assert got(done)[0] == "v0.06"
        assert rules(done)[0] == "mirror"

    def test_that_spoils_a_delegated_role(self, registry, root, hostile):
        """Its other files would be good; the mirror has all of it."""
        location, shown = hostile
        roles.delegate(registry.path, "cuda", [key("owner").public_key], models=["h100"])
        registry.release("cuda@v0.06", 6, sign=False, target="cuda -model=h100")
        registry.sign("ann", "bob", "owner", "online")
        shutil.copytree(registry.path, shown, dirs_exist_ok=True)
        (role,) = (shown / "metadata").glob("*.cuda-h100.json")
        role.write_bytes(role.read_bytes()[:-9])
        with refused(root, "not a signed file"):
            fetch(CUDA, location, root)
        assert got(fetch(LLVM, with_mirrors(location, shown), root))[0] == "v0.06", "as without mirrors"
        assert got(fetch(CUDA, with_mirrors(location, shown, registry.path), root)) == ("v0.06", ["mirror"])
