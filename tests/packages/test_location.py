"""Locations, read through real files and real servers."""

import gzip
import time

import pytest

from tests.registries import body, served
from tophub_registry.errors import EnvironmentFailure, UsageError
from tophub_registry.packages import location as module
from tophub_registry.packages.location import Folder, NotThere, Web, builtin, find_location, read_small


def read(name, file="index.json", limit=1000):
    return read_small(find_location(name), file, limit=limit)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "index.json").write_bytes(b"the index")
    return tmp_path


def test_a_folder_is_read_by_path_and_by_address(folder):
    assert read(str(folder)) == b"the index"
    assert read(folder.as_uri()) == b"the index"


def test_a_web_location_is_read_with_and_without_a_slash_at_its_end(folder):
    with served(folder) as server:
        assert read(server.url) == b"the index"
        assert read(server.url + "/") == b"the index"
    assert server.paths == ["/index.json", "/index.json"]


def test_the_environment_names_the_location_as_for_autotvm(folder):
    assert find_location(None, {}) == builtin()
    assert find_location(None, {"TOPHUB_LOCATION": ""}) == builtin()
    assert find_location(None, {"TOPHUB_LOCATION": "https://example.org/tophub"}) == Web("https://example.org/tophub")
    assert find_location(None, {"TOPHUB_LOCATION": "NONE"}) is None
    assert find_location("NONE", {}) is None
    assert find_location(str(folder), {"TOPHUB_LOCATION": "NONE"}) == Folder(folder)


def test_the_builtin_location_has_an_index():
    assert b'"schema_version": 2' in read_small(builtin(), "index.json", limit=1 << 20)


@pytest.mark.parametrize(
    "name", ["ftp://example.org/x", "http://", "http://[::1", "file://elsewhere/x", "https://example.org/x?token=1"]
)
def test_other_addresses_are_refused(name):
    with pytest.raises(UsageError):
        find_location(name)


@pytest.mark.parametrize("name", ["127.0.0.1:8765", "localhost:80/tophub", "[::1]:8000", "tophub.example.org:443"])
def test_an_address_without_its_scheme_is_no_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="has no scheme") as caught:
        find_location(name)
    assert caught.value.remedy == f"write http://{name}"
    (tmp_path / name).mkdir(parents=True)
    assert find_location(name) == Folder(tmp_path / name), "unless there is one"


def test_a_file_is_no_location(folder):
    with pytest.raises(UsageError, match="a location is a folder or an address"):
        find_location(str(folder / "index.json"))


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_a_file_that_is_not_in_a_folder(folder, name):
    with pytest.raises(NotThere) as caught:
        read(str(folder / name), "llvm_v0.05.log")
    assert caught.value.exit_code == 3


def test_a_file_that_is_not_on_the_web(folder):
    with served(folder) as server, pytest.raises(NotThere, match="404"):
        read(server.url, "llvm_v0.05.log")


def test_a_server_that_refuses_connections():
    with pytest.raises(EnvironmentFailure, match="Connection refused") as caught:
        read("http://127.0.0.1:1")
    assert caught.value.file == "http://127.0.0.1:1/index.json"


def test_a_server_that_fails(folder):
    failing = served(folder, lambda request: request.send_error(500) or True)
    with failing as server, pytest.raises(EnvironmentFailure, match="answered 500"):
        read(server.url)


def test_a_server_that_is_busy_for_a_moment_is_asked_again(folder):
    def busy_once(request):
        if len(server.paths) == 1:
            request.send_error(503)
            return True
        return False

    with served(folder, busy_once) as server:
        assert read(server.url) == b"the index"
    assert len(server.paths) == 2


def test_a_server_that_says_nothing_is_not_waited_for_for_ever(folder, monkeypatch):
    monkeypatch.setattr(module, "READ_TIMEOUT", 0.05)
    with served(folder, lambda _: time.sleep(0.5) or True) as server:
        start = time.monotonic()
        with pytest.raises(EnvironmentFailure, match="timed out"):
            read(server.url)
        assert time.monotonic() - start < 5


def test_an_answer_that_breaks_off(folder):
    breaking = served(folder, lambda request: body(request, b"the", length=9))
    with breaking as server, pytest.raises(EnvironmentFailure, match="broke off"):
        read(server.url)


def test_a_longer_answer_than_allowed_is_given_up(folder):
    with pytest.raises(EnvironmentFailure, match="longer than 4 bytes"):
        read(str(folder), limit=4)
    with served(folder) as server, pytest.raises(EnvironmentFailure, match="longer than 4 bytes"):
        read(server.url, limit=4)


def test_a_compressed_answer_does_not_unfold(folder):
    bomb = gzip.compress(b"0" * 10_000_000)
    with served(folder, lambda request: body(request, bomb, Content_Encoding="gzip")) as server:
        assert read(server.url, limit=len(bomb)) == bomb


def test_a_password_in_the_address_is_in_no_message():
    location = find_location("http://me:secret@127.0.0.1:1/x")
    assert location.name == "http://127.0.0.1:1/x"
    with pytest.raises(EnvironmentFailure) as caught:
        read_small(location, "index.json", limit=10)
    assert "secret" not in str(caught.value)


def test_an_error_of_the_one_who_reads_is_not_blamed_on_the_location(folder):
    with pytest.raises(OSError, match="disk full"), Folder(folder).open("index.json"):
        raise OSError("disk full")
