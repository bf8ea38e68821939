"""A download ends, however it is spun out, and never leaves https for something that anybody can change."""

from __future__ import annotations

import time

import pytest

from tests.registries import served
from tophub_registry.errors import EnvironmentFailure
from tophub_registry.packages import location as module
from tophub_registry.packages.location import Web, _session, read_small


def trickling(headers: bool):
    """Return an answer that sends a byte now and then, of its headers or of its body."""

    def answer(request):
        request.wfile.write(b"HTTP/1.0 200 OK\r\n" if headers else b"HTTP/1.0 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(100):
            request.wfile.write(b"x")
            request.wfile.flush()
            time.sleep(0.1)
        return True

    return answer


@pytest.mark.parametrize("headers", [True, False], ids=["headers", "body"])
def test_a_file_that_trickles_in_is_given_up_after_a_time_in_all(headers, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TOTAL_TIMEOUT", 0.5)
    with served(tmp_path, trickling(headers)) as server:
        began = time.monotonic()
        with pytest.raises(EnvironmentFailure, match="not done in"):
            read_small(Web(server.url), "index.json", limit=1 << 20)
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("first", "target", "followed"),
    [
        ("https://example.org/a", "http://example.org/b", False),
        ("https://example.org/a", "ftp://example.org/b", False),
        ("https://example.org/a", "https://elsewhere.example.org/b", True),
        ("https://example.org/a", "/b", True),
        ("http://example.org/a", "http://example.org/b", True),
        ("http://example.org/a", "https://example.org/b", True),
    ],
)
def test_no_redirect_leads_from_https_to_anything_else(first, target, followed):
    import requests

    response = requests.Response()
    response.status_code, response.url = 302, first
    response.headers["location"] = target
    with _session() as session:
        if followed:
            assert session.get_redirect_target(response) == target
        else:
            with pytest.raises(requests.exceptions.InvalidURL, match="redirects from https to"):
                session.get_redirect_target(response)


def test_a_reset_is_told_in_words(tmp_path):
    def reset(request):
        import socket
        import struct

        request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.connection.close()
        return True

    with served(tmp_path, reset) as server, pytest.raises(EnvironmentFailure) as caught:
        read_small(Web(server.url), "index.json", limit=1 << 20)
    assert "(" not in caught.value.message.partition(": ")[2]
    assert "Connection reset by peer" in caught.value.message or "closed connection" in caught.value.message
