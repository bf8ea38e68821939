"""Networks that fail: what is tried again, resumed, taken from a mirror or from what is here, and for how long."""

import os
import re
import time
from datetime import datetime, timedelta, timezone

import pytest

from tests.registries import body, file_of, ranged, reset, served, write_rows
from tophub_registry import files
from tophub_registry.errors import EnvironmentFailure, InputError
from tophub_registry.packages import location as module
from tophub_registry.packages import patience
from tophub_registry.packages.digest import Digest
from tophub_registry.packages.download import download
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.index import INDEX_FILE
from tophub_registry.packages.location import Folder, Web, find_location
from tophub_registry.packages.overview import survey
from tophub_registry.packages.root import Root
from tophub_registry.packages.sources import find_sources
from tophub_registry.packages.version import Reference
from tophub_registry.packages.web import Deadline
from tophub_registry.publishing.release import release
from tophub_registry.publishing.yank import yank
from tophub_registry.records.target import Target

LLVM = [Reference.parse("llvm")]
LOG = "llvm_v0.05.log"
ROWS = 1000


@pytest.fixture
def registry(tmp_path):
    folder = tmp_path / "registry"
    release("llvm", write_rows(tmp_path / LOG, ROWS), folder)
    return folder


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path / "root")


@pytest.fixture(autouse=True)
def _small_parts_are_kept(monkeypatch):
    monkeypatch.setattr(files, "_WORTH_KEEPING", 1000)


def whole(root, registry):
    """Return whether the root has the log, as published, and no temporary file."""
    left = [path.name for path in root.path.rglob(".*.part*")]
    return (root.path / LOG).read_bytes() == (registry / LOG).read_bytes() and not left


def told(done):
    """Return the notices but that of a registry without signatures, which every new location gets."""
    return [notice for notice in done.notices if notice.rule != "unsigned"]


def rules(done):
    return [notice.rule for notice in told(done)]


class Log:
    """Requests for the log; the index is served as it is. `answers` has one answer for each request in turn."""

    def __init__(self, *answers):
        self.answers, self.ranges = list(answers), []

    def __call__(self, request):
        if file_of(request).name == INDEX_FILE:
            return False
        self.ranges.append(request.headers["Range"])
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer(request)


def failing(status):
    def answer(request):
        request.send_error(status)
        return True

    return answer


def stalled(request):
    data = file_of(request).read_bytes()
    body(request, data[: len(data) // 2], length=len(data))
    request.wfile.flush()
    time.sleep(1)
    return True


def truncated(request):
    return ranged(request, most=len(file_of(request).read_bytes()) // 2)


FAULTS = {"500": failing(500), "503": failing(503), "429": failing(429), "reset": reset, "truncated": truncated}


@pytest.mark.parametrize("fault", [*FAULTS, "stalled"])
@pytest.mark.parametrize("file", [INDEX_FILE, LOG])
def test_what_fails_for_the_moment_is_tried_again(registry, root, fault, file, monkeypatch):
    monkeypatch.setattr(module, "READ_TIMEOUT", 0.2)
    failures = []

    def once(request):
        if file_of(request).name != file or failures:
            return False
        failures.append(request.path)
        return {**FAULTS, "stalled": stalled}[fault](request)

    with served(registry, once) as server:
        assert rules(fetch(LLVM, Web(server.url), root)) == []
    assert failures
    assert whole(root, registry)


@pytest.mark.parametrize("status", [401, 403, 404, 410, 451])
def test_what_would_fail_again_is_not(registry, root, status):
    log = Log(failing(status))
    with served(registry, log) as server, pytest.raises(EnvironmentFailure):
        fetch(LLVM, Web(server.url), root)
    assert len(log.ranges) == 1


def test_tries_end_and_pauses_grow(registry, root, monkeypatch):
    slept = []
    monkeypatch.setattr(patience, "PAUSE", 1.0)
    monkeypatch.setattr(Deadline, "pause", lambda _, seconds: slept.append(seconds))
    log = Log(failing(500))
    with served(registry, log) as server, pytest.raises(EnvironmentFailure, match="answered 500"):
        fetch(LLVM, Web(server.url), root)
    assert (len(log.ranges), slept) == (3, [1.0, 3.0])


def test_one_time_limit_holds_for_all_tries_and_mirrors(registry, root, monkeypatch):
    monkeypatch.setattr(module, "TOTAL_TIMEOUT", 1.0)
    monkeypatch.setattr(patience, "TRIES", 1000)
    monkeypatch.setattr(patience, "PAUSE", 0.1)
    with served(registry, Log(stalled)) as server, served(registry, Log(failing(500))) as mirror:
        began = time.monotonic()
        with pytest.raises(EnvironmentFailure):
            fetch(LLVM, Web(server.url, mirrors=(Web(mirror.url),)), root)
        assert time.monotonic() - began < 3


class TestResuming:
    def test_goes_on_where_it_broke_off(self, registry, root):
        log = Log(truncated, ranged)
        with served(registry, log) as server:
            fetch(LLVM, Web(server.url), root)
        assert log.ranges == [None, f"bytes={(registry / LOG).stat().st_size // 2}-"]
        assert whole(root, registry)

    def test_gets_a_file_through_that_breaks_off_again_and_again(self, registry, root, monkeypatch):
        """Tries are not counted while more arrives."""
        monkeypatch.setattr("tophub_registry.packages.download._PROGRESS", 10_000)
        log = Log(lambda request: ranged(request, most=30_000))
        with served(registry, log) as server:
            fetch(LLVM, Web(server.url), root)
        assert len(log.ranges) > patience.TRIES + 2
        assert whole(root, registry)

    def test_a_server_that_ignores_ranges_starts_anew(self, registry, root):
        log = Log(truncated, lambda request: body(request, file_of(request).read_bytes()))
        with served(registry, log) as server:
            fetch(LLVM, Web(server.url), root)
        assert len(log.ranges) == 2
        assert whole(root, registry)

    def test_a_server_that_sends_another_part_is_asked_for_all_of_it(self, registry, root):
        def another(request):
            if not request.headers["Range"]:
                return ranged(request)
            request.send_response(206)
            request.send_header("Content-Range", "bytes 5-6/7")
            request.end_headers()
            request.wfile.write(b"xx")
            return True

        log = Log(truncated, another)
        with served(registry, log) as server:
            fetch(LLVM, Web(server.url), root)
        assert log.ranges[2] is None
        assert whole(root, registry)

    @pytest.mark.parametrize("obedient", [True, False])
    def test_a_file_that_has_changed_starts_anew(self, registry, root, obedient):
        """The tag says so, to a server that knows `If-Range` and about one that does not."""

        def before(request):
            data = file_of(request).read_bytes()
            return body(request, b"x" * (len(data) // 2), length=len(data), ETag='"before"')

        def after(request):
            if not obedient:
                del request.headers["If-Range"]
            return ranged(request, tag='"after"')

        log = Log(before, after)
        with served(registry, log) as server:
            fetch(LLVM, Web(server.url), root)
        assert whole(root, registry)
        assert len(log.ranges) == (2 if obedient else 3)

    def test_a_wrong_part_of_one_source_does_no_harm_to_the_next(self, registry, root):
        def lying(request):
            data = file_of(request).read_bytes()
            return body(request, b"x" * (len(data) // 2), length=len(data))

        good = Log(ranged)
        with served(registry, Log(lying)) as bad, served(registry, good) as mirror:
            done = fetch(LLVM, Web(bad.url, mirrors=(Web(mirror.url),)), root)
        assert good.ranges[1:] == [None], "its first part was checked with the liar's"
        assert rules(done) == ["mirror"]
        assert whole(root, registry)

    def test_a_file_without_a_known_hash_is_resumed_only_if_its_server_tells_states_apart(self, registry, tmp_path):
        for number, tag in enumerate((None, '"tag"')):
            log = Log(
                lambda request, tag=tag: ranged(request, tag=tag, most=50_000), lambda r, tag=tag: ranged(r, tag=tag)
            )
            with served(registry, log) as server:
                download(Web(server.url), LOG, tmp_path / f"{number}.log")
            assert log.ranges == [None, tag and "bytes=50000-"]
            assert (tmp_path / f"{number}.log").read_bytes() == (registry / LOG).read_bytes()


class TestTheNextCall:
    """An interrupted download is set aside under the hash of the whole, and the next call goes on with it."""

    @pytest.fixture
    def interrupted(self, registry, root):
        log = Log(truncated, failing(500))
        with served(registry, log) as server, pytest.raises(EnvironmentFailure):
            fetch(LLVM, Web(server.url), root)
        (left,) = root.path.glob(".*.partial")
        assert left.stat().st_size == (registry / LOG).stat().st_size // 2
        assert root.files() == (), "nobody takes it for a log"
        return left

    def test_goes_on_with_it_and_leaves_nothing(self, registry, root, interrupted):
        log = Log(ranged)
        size = interrupted.stat().st_size
        with served(registry, log) as server:
            fetch(LLVM, Web(server.url), root)
        assert log.ranges == [f"bytes={size}-"]
        assert whole(root, registry)

    @pytest.mark.parametrize("damage", [b"x" * 20_000, b"x" * 10_000_000])
    def test_does_without_it_if_it_is_damaged(self, registry, root, interrupted, damage):
        interrupted.write_bytes(damage)
        with served(registry, Log(ranged)) as server:
            fetch(LLVM, Web(server.url), root)
        assert whole(root, registry)

    def test_asks_for_nothing_if_it_is_whole(self, registry, root, interrupted):
        interrupted.write_bytes((registry / LOG).read_bytes())
        log = Log(failing(500))
        with served(registry, log) as server:
            fetch(LLVM, Web(server.url), root)
        assert log.ranges == []
        assert whole(root, registry)

    def test_keeps_it_if_it_fails_too(self, registry, root, interrupted):
        with served(registry, Log(failing(500))) as server, pytest.raises(EnvironmentFailure):
            fetch(LLVM, Web(server.url), root)
        assert interrupted.exists()

    def test_of_another_version_leaves_it_and_in_a_week_it_is_deleted(self, registry, root, interrupted, tmp_path):
        release("llvm", write_rows(tmp_path / "new.log", 3), registry)
        fetch(LLVM, Folder(registry), root)
        assert interrupted.exists()
        os.utime(interrupted, (time.time() - 8 * 86400,) * 2)
        fetch(LLVM, Folder(registry), root)
        assert not interrupted.exists()

    def test_after_ctrl_c_goes_on_too(self, registry, root):
        def interrupt(_, done, total):
            if done > total // 2:
                raise KeyboardInterrupt

        with served(registry, Log(ranged)) as server, pytest.raises(KeyboardInterrupt):
            fetch(LLVM, Web(server.url), root, progress=interrupt)
        assert len(list(root.path.glob(".*.partial"))) == 1

    def test_a_full_disk_keeps_nothing(self, registry, root, monkeypatch):
        monkeypatch.setattr(files._Raw, "write", _full_after(files._Raw.write, 50_000))
        with served(registry) as server, pytest.raises(EnvironmentFailure, match="No space left"):
            fetch(LLVM, Web(server.url), root)
        assert not list(root.path.rglob("*.part*"))


def _full_after(write, most):
    """Return a write to a disk that is full once so much is written."""

    def limited(raw, data):
        if raw.tell() + len(data) > most:
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, raw.fileno())
            os.close(full)
        return write(raw, data)

    return limited


class TestMirrors:
    def test_are_tried_in_order_and_the_one_that_served_is_named(self, registry, root):
        with (
            served(registry, Log(failing(500))) as first,
            served(registry, Log(failing(404))) as second,
            served(registry) as third,
            served(registry) as fourth,
        ):
            mirrors = tuple(Web(server.url) for server in (second, third, fourth))
            done = fetch(LLVM, Web(first.url, mirrors=mirrors), root)
        assert whole(root, registry)
        (notice,) = told(done)
        assert notice.rule == "mirror"
        assert f"{LOG} came from the mirror {third.url}; the location itself: answered 500" in str(notice)
        assert fourth.paths == []

    def test_are_not_asked_as_long_as_the_location_serves(self, registry, root):
        with served(registry) as server, served(registry) as mirror:
            done = fetch(LLVM, Web(server.url, mirrors=(Web(mirror.url),)), root)
        assert (mirror.paths, rules(done)) == ([], [])

    def test_cannot_lie_and_the_next_one_is_tried(self, registry, root):
        lying = Log(lambda request: body(request, file_of(request).read_bytes().replace(b"0.0001", b"0.0002")))
        with served(registry, Log(reset)) as first, served(registry, lying) as second, served(registry) as third:
            fetch(LLVM, Web(first.url, mirrors=(Web(second.url), Web(third.url))), root)
        assert whole(root, registry)

    def test_serve_what_the_last_known_index_lists_when_the_location_is_gone(self, registry, root):
        with served(registry) as mirror:
            with served(registry) as server:
                location = Web(server.url, mirrors=(Web(mirror.url),))
                survey(location, root)
            done = fetch(LLVM, location, root)
        assert whole(root, registry)
        assert rules(done) == ["offline", "mirror"]
        assert f"/{INDEX_FILE}" not in mirror.paths

    def test_that_all_fail_are_all_told(self, registry, root):
        with served(registry, Log(failing(500))) as first, served(registry, Log(failing(404))) as second:
            with pytest.raises(EnvironmentFailure) as caught:
                fetch(LLVM, Web(first.url, mirrors=(Web(second.url),)), root)
            assert caught.value.file == f"{first.url}/{LOG}"
            assert f"answered 500 Internal Server Error; {second.url}/{LOG}: no such file" in caught.value.message

    def test_are_named_by_option_or_environment(self):
        environment = {"TOPHUB_LOCATION": "http://a.example", "TOPHUB_MIRRORS": "http://b.example /srv/c"}
        named = find_location(None, environment)
        assert [mirror.name for mirror in named.mirrors] == ["http://b.example", "/srv/c"]
        named = find_location(None, environment, mirrors=["https://d.example/"])
        assert named.mirrors == (Web("https://d.example"),)


class TestOffline:
    @pytest.fixture
    def gone(self, registry, root):
        """Return a location that has served the log, and is gone."""
        with served(registry) as server:
            location = Web(server.url)
            fetch(LLVM, location, root)
        return location

    def test_the_cached_copy_serves_and_says_how_old_its_index_is(self, root, gone):
        now = datetime.now(timezone.utc)
        for days, age in ((0, "0 hours old"), (1.5, "36 hours old"), (5, "5 days old")):
            for seen in (
                fetch(LLVM, gone, root, time=now + timedelta(days=days)),
                survey(gone, root, time=now + timedelta(days=days)),
                find_sources(Target.parse("llvm"), gone, root, time=now + timedelta(days=days)),
            ):
                (notice,) = seen.notices
                assert notice.rule == "offline"
                assert re.search(rf"using its last known index, of {now:%Y-%m-%d}T[0-9:]+Z, {age}", notice.message)
        assert [fetched.status for fetched in fetch(LLVM, gone, root).packages] == ["cached"]

    def test_a_clock_that_was_set_back_gives_the_date_alone(self, root, gone):
        (notice,) = fetch(LLVM, gone, root, time=datetime.now(timezone.utc) - timedelta(days=400)).notices
        assert notice.message.endswith("Z")

    def test_the_age_is_that_of_the_last_answer_not_of_the_last_change(self, registry, root):
        with served(registry) as server:
            location = Web(server.url)
            fetch(LLVM, location, root)
            os.utime(root._memory(location), (0, 0))
            fetch(LLVM, location, root)
        assert abs(root.seen(location).timestamp() - time.time()) < 60

    def test_an_index_that_has_expired_meanwhile_is_told_too(self, root, gone):
        later = datetime.now(timezone.utc) + timedelta(days=400)
        assert rules(fetch(LLVM, gone, root, time=later)) == ["offline", "expired"]

    def test_a_login_page_in_place_of_the_index_is_being_offline(self, registry, root):
        pages = []

        def login(request):
            return bool(pages) and body(request, pages[0])

        with served(registry, login) as server:
            fetch(LLVM, Web(server.url), root)
            pages.append(b"<html>Please log in</html>")
            assert rules(fetch(LLVM, Web(server.url), root)) == ["offline"]
            with pytest.raises(InputError, match="not an index"):
                fetch(LLVM, Web(server.url), Root(root.path / "another"))

    def test_what_is_not_here_is_an_error(self, root, gone):
        (root.path / LOG).unlink()
        with pytest.raises(EnvironmentFailure, match="does not respond"):
            fetch(LLVM, gone, root)


@pytest.mark.parametrize("days", [1, -1], ids=["forward", "back"])
def test_time_limits_do_not_depend_on_the_clock_of_the_day(registry, root, monkeypatch, days):
    """It jumps by a day whenever somebody looks, and neither ends a download nor lets one go on for ever."""
    true, jumps = time.time, []

    def jumping():
        jumps.append(days * 86400)
        return true() + sum(jumps)

    monkeypatch.setattr(time, "time", jumping)
    with served(registry, Log(truncated, ranged)) as server:
        fetch(LLVM, Web(server.url), root)
    assert jumps
    assert whole(root, registry)

    def trickling(request):
        body(request, b"", length=1000)
        for _ in range(100):
            request.wfile.write(b"x")
            time.sleep(0.05)
        return True

    monkeypatch.setattr(module, "TOTAL_TIMEOUT", 0.3)
    began = time.monotonic()
    with served(registry, Log(trickling)) as server, pytest.raises(EnvironmentFailure, match="not done in"):
        fetch(LLVM, Web(server.url), Root(root.path / "another"))
    assert time.monotonic() - began < 3


def test_of_copies_of_one_registry_the_latest_counts_whatever_the_clock_says(registry, root):
    with served(registry) as server:
        fetch(LLVM, Web(server.url), root)
    yank(Reference.parse("llvm@v0.05"), "wrong device", registry)
    survey(Folder(registry), root)
    assert Digest.of(root.path / LOG) is not None
    for folder, seconds in ((Web(server.url), 0), (Folder(registry), -10_000_000)):  # the clock was set back
        os.utime(root._memory(folder), (time.time() + seconds,) * 2)
    assert root.origin(root.path / LOG).published.yanked == "wrong device"
