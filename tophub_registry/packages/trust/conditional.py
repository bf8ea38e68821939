"""One conditional request: a small file of a location, unless it is still what it was.

HTTP's validators (RFC 9110, section 8.8) are sent back as they came. A modification time counts only if it is
older than its response by more than its resolution of a second; otherwise a second change in the same second
would go unnoticed.
"""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from tophub_registry.errors import EnvironmentFailure
from tophub_registry.packages import location as locations
from tophub_registry.packages.location import NotThere, Web, read_small

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tophub_registry.packages.location import Location

PATIENCE = 60.0
"""Seconds in which a small file must arrive."""

_UNCHANGED, _GONE = 304, (403, 404, 410)

_RESOLUTION = 2.0
"""Seconds between a change and a response from which on the change's time identifies it."""


class Validators(NamedTuple):
    """What identifies a response: its ETag and its Last-Modified, None where it had none."""

    etag: str | None = None
    modified: str | None = None

    @staticmethod
    def of(headers: Mapping[str, str]) -> Validators:
        """Return those of a response."""
        etag, modified = headers.get("ETag"), headers.get("Last-Modified")
        return Validators(_short(etag), modified if _is_older(modified, headers.get("Date")) else None)

    def headers(self) -> dict[str, str]:
        """Return the headers that ask whether it has changed."""
        given = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in given.items() if value is not None}


class Response(NamedTuple):
    """A file, or None if it is unchanged; and its validators."""

    data: bytes | None
    validators: Validators


def ask_if_changed(location: Location, file: str, validators: Validators, *, limit: int) -> Response:
    """Read a small file of a location, unless it still has these validators; one request.

    Raises
    ------
    EnvironmentFailure
        It can't be read, or is longer than `limit` bytes.
    """
    if isinstance(location, Web):
        try:
            return _get(location, file, validators.headers(), limit)
        except NotThere:
            raise
        except EnvironmentFailure:
            pass  # the location knows what to do about that
    return Response(read_small(location, file, limit=limit), Validators())


def _get(location: Web, file: str, headers: Mapping[str, str], limit: int) -> Response:
    import requests
    from urllib3.exceptions import HTTPError

    sent = {"Accept-Encoding": "identity", "User-Agent": "tophub-registry", **headers}
    timeout = (locations.CONNECT_TIMEOUT, locations.READ_TIMEOUT)
    where = location.address(file)
    try:
        with requests.get(f"{location.url}/{quote(file)}", headers=sent, stream=True, timeout=timeout) as response:
            if response.status_code == _UNCHANGED and headers:
                return Response(None, Validators(headers.get("If-None-Match"), headers.get("If-Modified-Since")))
            if response.status_code in _GONE:
                raise NotThere(
                    f"no such file ({response.status_code})", file=where, remedy="check the location's address"
                )
            if response.status_code != requests.codes.ok:
                raise EnvironmentFailure(f"answered {response.status_code} {response.reason}", file=where)
            if location.url.startswith("https:") and not response.url.startswith("https:"):
                raise EnvironmentFailure("redirects from https to http, which is not followed", file=where)
            return Response(_all_of(response, limit), Validators.of(response.headers))
    except (requests.RequestException, HTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise EnvironmentFailure(
            f"does not respond: {reason}", file=where, remedy="check the address, or try again later"
        ) from error


def _all_of(response: Any, limit: int) -> bytes:
    """Return a response's bytes; ValueError if they are too many or too slow."""
    data, end = bytearray(), time.monotonic() + PATIENCE
    while chunk := response.raw.read1(limit, decode_content=False):
        data += chunk
        if len(data) > limit:
            raise ValueError(f"longer than {limit} bytes")
        if time.monotonic() > end:
            raise ValueError(f"not done in {PATIENCE:.0f} s")
    return bytes(data)


def _short(etag: str | None) -> str | None:
    return etag if etag is not None and len(etag) <= 200 and etag.isprintable() else None  # noqa: PLR2004


def _is_older(modified: str | None, date: str | None) -> bool:
    try:
        passed = parsedate_to_datetime(date or "") - parsedate_to_datetime(modified or "")
    except (TypeError, ValueError):
        return False
    return passed.total_seconds() >= _RESOLUTION
