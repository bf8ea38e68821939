"""One conditional request: a small file of a location, unless it is still what it was.

HTTP's validators (RFC 9110, section 8.8) are sent back as they came. A modification time counts only if it is
older than its response by more than its resolution of a second; otherwise a second change in the same second
would go unnoticed.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple

from tophub_registry.packages.location import Web, read_small
from tophub_registry.packages.patience import LocationFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tophub_registry.packages.location import Location
    from tophub_registry.packages.web import Deadline

PATIENCE = 60.0
"""Seconds in which a small file must arrive."""

_UNCHANGED = 304

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


def ask_if_changed(
    location: Location, file: str, validators: Validators, *, limit: int, deadline: Deadline
) -> Response:
    """Read a small file of a location, unless it still has these validators; one request.

    Raises
    ------
    EnvironmentFailure
        It can't be read, or is longer than `limit` bytes.
    """
    if not isinstance(location, Web):
        return Response(read_small(location, file, limit=limit, deadline=deadline), Validators())
    deadline = deadline.at_most(PATIENCE)
    with location.ask(file, validators.headers(), deadline) as response:
        if response.status_code == _UNCHANGED and any(validators):
            return Response(None, validators)
        data = bytearray()
        for chunk in location.body_of(response, file, deadline):
            data += chunk
            if len(data) > limit:
                raise LocationFailure(f"longer than {limit} bytes", file=location.address(file))
        return Response(bytes(data), Validators.of(response.headers))


def _short(etag: str | None) -> str | None:
    return etag if etag is not None and len(etag) <= 200 and etag.isprintable() else None  # noqa: PLR2004


def _is_older(modified: str | None, date: str | None) -> bool:
    try:
        passed = parsedate_to_datetime(date or "") - parsedate_to_datetime(modified or "")
    except (TypeError, ValueError):
        return False
    return passed.total_seconds() >= _RESOLUTION
