"""Attacks by name: a registry on loopback plays the attacker.

Each ends in an error of ours, in time, with bounded memory, and the root stays as it was.
"""

from __future__ import annotations

import gzip
import json
import shutil
import time
import tracemalloc
from datetime import datetime, timedelta, timezone

import pytest

from tests.registries import body, change, file_of, reset, served, trickling, write_rows
from tophub_registry.errors import EnvironmentFailure, InputError, TophubError, UsageError
from tophub_registry.packages import location as module
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.index import INDEX_FILE, LIFETIME, iso_time
from tophub_registry.packages.location import Folder, Web, read_small
from tophub_registry.packages.root import Root
from tophub_registry.packages.version import Reference
from tophub_registry.packages.web import careful_session
from tophub_registry.publishing.release import release

LLVM = [Reference.parse("llvm")]
LOG = "llvm_v0.06.log"


@pytest.fixture
def registry(tmp_path):
    folder = tmp_path / "registry"
    release("llvm", write_rows(tmp_path / "llvm_v0.05.log", 20), folder)
    release("llvm", write_rows(tmp_path / LOG, 30), folder)
    release("cuda", write_rows(tmp_path / "cuda_v0.11.log", 10, target="cuda -model=h100"), folder)
    return folder


@pytest.fixture
def root(tmp_path):
    """Return a root with a file of another registry, which stays."""
    root = Root(tmp_path / "home" / ".tvm" / "tophub")
    write_rows(root.path / LOG, 1)
    return root


def held(root):
    """Return the root's files as others see them."""
    return {path.name: path.read_bytes() for path in root.path.iterdir() if path.name[0] != "."}


@pytest.fixture
def refused(registry, root):
    """Return what lets an attacker answer a fetch, and returns the error that this ends in."""

    def refused(answer=None, match=None, *, kind=EnvironmentFailure, seconds=10):
        before = held(root)
        with served(registry, answer) as server:
            began = time.monotonic()
            with pytest.raises(kind, match=match) as caught:
                fetch(LLVM, Web(server.url), root)
            assert time.monotonic() - began < seconds
        assert caught.value.remedy or isinstance(caught.value, InputError)
        assert held(root) == before
        assert not list(root.path.glob("**/*.part*"))
        return caught.value

    return refused


def for_the_log(attack):
    """Return an answer that attacks when the log is asked for; the index is served as it is."""
    return lambda request: file_of(request).name != INDEX_FILE and attack(request)


def rename(registry, path, name):
    """Give one key in the registry's index another name, past all checks."""
    fields = json.loads((registry / INDEX_FILE).read_bytes())
    place = fields
    for step in path[:-1]:
        place = place[step]
    place[name] = place.pop(path[-1])
    (registry / INDEX_FILE).write_text(json.dumps(fields))


class TestEndlessData:
    def test_in_a_file(self, registry, refused):
        size = (registry / LOG).stat().st_size
        sent = []

        def endless(request):
            request.send_response(200)
            request.end_headers()
            while len(sent) < 10_000:
                request.wfile.write(b"x" * 65536)
                sent.append(65536)
            return True

        refused(for_the_log(endless), f"longer than the {size} bytes")
        assert sum(sent) < 64 << 20, "the connection was not closed early"

    def test_in_the_index(self, refused, monkeypatch):
        monkeypatch.setattr("tophub_registry.packages.trust.ask.MAX_INDEX", 1000)
        refused(match="longer than 1000 bytes", kind=TophubError)

    @pytest.mark.parametrize("compressed", [False, True])
    def test_in_what_comes_with_a_redirect(self, refused, compressed):
        """Libraries read that to its end, and uncompressed."""
        sent = []
        data = gzip.compress(bytes(1 << 22)) if compressed else bytes(1 << 16)

        def endless(request):
            request.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n")
            request.wfile.write(b"Content-Encoding: gzip\r\n" if compressed else b"")
            request.wfile.write(b"Connection: close\r\n\r\n")
            while len(sent) < 2000:
                request.wfile.write(data)
                sent.append(len(data))
            return True

        tracemalloc.start()
        try:
            refused(lambda request: file_of(request).name == LOG and endless(request), "no such file")
            assert tracemalloc.get_traced_memory()[1] < 32 << 20
        finally:
            tracemalloc.stop()
        assert len(sent) < 2000

    @pytest.mark.parametrize("where", ["status 100", "header line", "headers", "chunk size", "trailers"])
    def test_around_a_file(self, refused, monkeypatch, where):
        """In places where a library reads on, and no byte of the file arrives."""
        monkeypatch.setattr(module, "TOTAL_TIMEOUT", 1.0)
        start, more = {
            "status 100": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
            "header line": (b"HTTP/1.1 200 OK\r\nA: ", b"a" * 100),
            "headers": (b"HTTP/1.1 200 OK\r\n", b"A: a\r\n"),
            "chunk size": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a" * 100),
            "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", b"A: a\r\n"),
        }[where]

        def endless(request):
            request.wfile.write(start)
            end = time.monotonic() + 20
            while time.monotonic() < end:
                request.wfile.write(more * 10)
                time.sleep(0.001)
            return True

        refused(for_the_log(endless), seconds=6)


class TestSlowRetrieval:
    @pytest.mark.parametrize("headers", [True, False], ids=["headers", "body"])
    def test_of_a_file(self, headers, refused, monkeypatch):
        monkeypatch.setattr(module, "TOTAL_TIMEOUT", 0.5)
        refused(for_the_log(trickling(headers)), "not done in", seconds=5)

    @pytest.mark.parametrize("headers", [True, False], ids=["headers", "body"])
    def test_of_the_index(self, headers, refused, monkeypatch):
        monkeypatch.setattr(module, "TOTAL_TIMEOUT", 0.5)
        refused(trickling(headers), "not done in", seconds=5)

    def test_by_a_server_that_says_nothing(self, refused, monkeypatch):
        monkeypatch.setattr(module, "READ_TIMEOUT", 0.1)
        refused(for_the_log(lambda _: time.sleep(1) or True), "timed out", seconds=5)

    def test_by_a_server_that_stops_in_the_midst_is_cut_off_at_the_time_limit(self, refused, monkeypatch):
        monkeypatch.setattr(module, "TOTAL_TIMEOUT", 1.0)  # and the time limit of one read is 30 s

        def stalled(request):
            body(request, file_of(request).read_bytes()[:100], length=100_000)
            request.wfile.flush()
            time.sleep(6)
            return True

        refused(for_the_log(stalled), "not done in", seconds=5)

    def test_by_the_location_leaves_time_for_a_mirror(self, registry, tmp_path, monkeypatch):
        monkeypatch.setattr(module, "TOTAL_TIMEOUT", 3.0)
        root = Root(tmp_path / "fresh")
        with served(registry, for_the_log(trickling(False))) as slow, served(registry) as good:
            done = fetch(LLVM, Web(slow.url, mirrors=(Web(good.url),)), root)
        assert held(root) == {LOG: (registry / LOG).read_bytes()}
        assert [notice.rule for notice in done.notices] == ["unsigned", "mirror"]


class TestWrongLength:
    def test_shorter_and_told_so(self, refused):
        def truncated(request):
            data = file_of(request).read_bytes()
            return body(request, data[:-100], length=len(data))

        refused(for_the_log(truncated), "broke off")

    def test_shorter_and_hidden(self, refused):
        refused(
            for_the_log(lambda request: body(request, file_of(request).read_bytes()[:-100])), "where the index lists"
        )

    def test_empty(self, refused):
        refused(for_the_log(lambda request: body(request, b"")), "0 bytes where the index lists")

    def test_longer(self, refused):
        refused(for_the_log(lambda request: body(request, file_of(request).read_bytes() + b"\n")), "longer than")

    @pytest.mark.parametrize("length", ["-1", "1e3", "99999999999999999999"])
    def test_of_a_length_that_is_none(self, refused, length):
        def strange(request):
            request.wfile.write(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n".encode())
            request.wfile.write(b"not the log\n")
            return True

        refused(for_the_log(strange))


class TestWrongHash:
    def test_other_bytes_of_the_same_size(self, registry, refused):
        log = registry / LOG
        log.write_bytes(log.read_bytes().replace(b"0.0001", b"0.0002"))
        assert refused(match="SHA-256").file.endswith(f"/{LOG}")

    def test_another_registrys_log_of_that_name(self, registry, tmp_path, refused):
        shutil.copy(registry / "llvm_v0.05.log", registry / LOG)
        refused(match="where the index lists")

    def test_a_login_page(self, refused):
        refused(for_the_log(lambda request: body(request, b"<html>Please log in</html>")), "where the index lists")

    def test_a_published_version_rewritten_with_a_new_hash(self, registry, root):
        fetch([Reference.parse("cuda")], Folder(registry), root)
        change(registry, ["packages", "llvm", "v0.06", "sha256"], "0" * 64)
        change(registry, ["serial"], 9)
        with pytest.raises(EnvironmentFailure, match="other bytes"):
            fetch(LLVM, Folder(registry), root)


ODD_FILES = [
    "../../.bashrc",
    "/etc/cron.d/x",
    f"{LOG}/../../x",
    f"./{LOG}",
    f"{LOG}\0",
    f"{LOG}\n",
    "~/x.log",
    "llvm_v0.06.log" * 1000,
    "llvm_\u03bd0.06.l\u043eg",  # Greek and Cyrillic letters that look like v and o
    "llvm_v0.06.log\u200b",
    "file:///etc/passwd",
    "other.log",
    "",
]
ODD_PACKAGES = [
    "../llvm",
    "/llvm",
    "..",
    "",
    "ll\0vm",
    "llvm\n",
    "a" * 65,
    "a" * 100_000,
    "\u217cl\u0475m",
    "\uff4clvm",
    "l\u0131vm",
    "LLVM",
    "-llvm",
    "ll vm",
    "~",
    "llvm:x",
    "llvm\\x",
    "llvm%2f..",
    "\x1b[2Jllvm",
    "\u202emvll",
]

ODD_VERSIONS = [
    "../v0.06",
    "v0.06/..",
    "v\u0660.\u0660\u0666",
    "v0.06\0",
    "v0.06\n",
    "v0.6",
    "v00.06",
    "v" + "1" * 9999,
    "",
]


class TestOddNames:
    """In the index, which is read as a whole or not at all; so nothing is asked for, and nothing written."""

    @pytest.mark.parametrize("name", ODD_FILES, ids=ascii)
    def test_of_a_file(self, registry, root, refused, name):
        change(registry, ["packages", "llvm", "v0.06", "file"], name)
        error = refused(match="is named", kind=InputError)
        assert str(error).isprintable()
        assert len(str(error)) < 1000
        assert sorted(path.name for path in root.path.parents[1].iterdir()) == [".tvm"]

    @pytest.mark.parametrize("name", ODD_FILES, ids=ascii)
    def test_of_a_cost_models_file(self, registry, refused, name):
        model = {"file": name, "bytes": 1, "sha256": "0" * 64}
        change(registry, ["schema_version"], 2)
        change(registry, ["packages", "llvm", "v0.06", "model"], model)
        refused(match="is named", kind=InputError)

    @pytest.mark.parametrize("name", ODD_PACKAGES, ids=ascii)
    def test_of_a_package(self, registry, refused, name):
        for version in ("v0.05", "v0.06"):
            change(registry, ["packages", "llvm", version, "file"], f"{name}_{version}.log")
        rename(registry, ["packages", "llvm"], name)
        error = refused(match="not an index", kind=InputError)
        assert str(error).isprintable()
        assert len(str(error)) < 1000

    @pytest.mark.parametrize("name", ODD_VERSIONS, ids=ascii)
    def test_of_a_version(self, registry, refused, name):
        change(registry, ["packages", "llvm", "v0.06", "file"], f"llvm_{name}.log")
        rename(registry, ["packages", "llvm", "v0.06"], name)
        assert str(refused(match="not an index", kind=InputError)).isprintable()

    @pytest.mark.parametrize("name", [*ODD_PACKAGES, *(f"llvm@{version}" for version in ODD_VERSIONS)], ids=ascii)
    def test_that_a_user_is_made_to_type(self, name):
        with pytest.raises(UsageError):
            Reference.parse(name)


class TestRedirect:
    @pytest.mark.parametrize(
        "target", ["ftp://example.org/x", "file:///etc/passwd", "data:,x", "javascript:x", "gopher://x"]
    )
    def test_to_another_scheme(self, refused, target):
        def redirecting(request):
            request.send_response(302)
            request.send_header("Location", target)
            request.end_headers()
            return True

        refused(for_the_log(redirecting), "redirects from http to .* is not followed")

    @pytest.mark.parametrize(
        ("first", "target", "followed"),
        [
            ("https://example.org/a", "http://example.org/b", False),
            ("https://example.org/a", "ftp://example.org/b", False),
            ("https://example.org/a", "https://elsewhere.example.org/b", True),
            ("https://example.org/a", "/b", True),
            ("https://example.org/a", "//example.org/b", True),
            ("http://example.org/a", "http://example.org/b", True),
            ("http://example.org/a", "https://example.org/b", True),
            ("http://example.org/a", "file:///b", False),
        ],
    )
    def test_from_https_to_anything_else(self, first, target, followed):
        import requests
        from urllib3 import HTTPResponse

        response = requests.Response()
        response.status_code, response.url, response.raw = 302, first, HTTPResponse()
        response.headers["location"] = target
        with careful_session() as session:
            if followed:
                assert session.get_redirect_target(response) == target
            else:
                with pytest.raises(requests.exceptions.InvalidURL, match=r"redirects from https? to"):
                    session.get_redirect_target(response)

    def test_in_a_circle(self, refused):
        def circle(request):
            request.send_response(302)
            request.send_header("Location", request.path)
            request.end_headers()
            return True

        refused(for_the_log(circle), "[Ee]xceeded 10 redirects")


class TestCompressedBomb:
    BOMB = gzip.compress(bytes(50_000_000))

    @pytest.mark.parametrize("what", [LOG, INDEX_FILE])
    def test_does_not_unfold(self, refused, what):
        def bomb(request):
            return file_of(request).name == what and body(request, self.BOMB, Content_Encoding="gzip")

        tracemalloc.start()
        try:
            refused(bomb, kind=TophubError)
            assert tracemalloc.get_traced_memory()[1] < 20_000_000
        finally:
            tracemalloc.stop()


class TestOfTheIndex:
    def test_rollback(self, registry, root, tmp_path):
        kept = tmp_path / "kept"
        shutil.copytree(registry, kept)
        release("llvm", write_rows(tmp_path / "llvm_v0.07.log", 3), registry)
        with served(tmp_path) as server:
            location = Web(f"{server.url}/registry")
            fetch([Reference.parse("cuda")], location, root)
            shutil.rmtree(registry)
            kept.rename(registry)
            before = held(root)
            for _ in range(2):  # being told off once does not make it forget
                with pytest.raises(EnvironmentFailure, match="from serial 4 to 3") as caught:
                    fetch(LLVM, location, root)
        assert held(root) == before
        memory = root._memory(location)
        assert str(memory) in caught.value.remedy
        assert root.remembered(location).serial == 4

    def test_freeze_is_noticed_when_it_expires(self, registry, root):
        time = datetime.now(timezone.utc) + LIFETIME
        done = fetch(LLVM, Folder(registry), root, time=time + timedelta(days=1))
        assert [notice.rule for notice in done.notices] == ["expired", "name-taken"]
        assert iso_time(time)[:10] in str(done.notices[0])


def test_a_reset_is_told_in_words(tmp_path):
    with served(tmp_path, reset) as server, pytest.raises(EnvironmentFailure) as caught:
        read_small(Web(server.url), "index.json", limit=1 << 20)
    assert "(" not in caught.value.message.partition(": ")[2]
    assert "Connection reset by peer" in caught.value.message or "closed connection" in caught.value.message
