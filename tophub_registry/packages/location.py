"""Locations: where a registry is, and how its files are read from there.

A location is an http(s) address, a folder (as a path or a `file://` address), or the copy inside the
installed wheel. Every one of them serves `index.json` and, beside it, the log files by their names, which
is all that an AutoTVM client asks of a location too.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

from tophub_registry.errors import EnvironmentFailure, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from requests import Response

VARIABLE = "TOPHUB_LOCATION"
"""The environment variable that names the location, for AutoTVM clients and for us."""

SWITCHED_OFF = "NONE"
"""The variable's value that forbids all fetching, in AutoTVM as here."""

BUILTIN = "builtin"
"""The name of the copy inside the installation, the location where none is named."""

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a connection."""

READ_TIMEOUT = 30.0
"""Seconds to wait for the next bytes."""

_CHUNK = 1 << 16


class Location(Protocol):
    """Where a registry's files are read from."""

    @property
    def name(self) -> str:
        """How the location is called, without any password."""

    def address(self, file: str) -> str:
        """Return where a file of the location stands, for messages."""

    def open(self, file: str) -> AbstractContextManager[Iterator[bytes]]:
        """Stream a file in chunks.

        Raises
        ------
        EnvironmentFailure
            The file is not there, or the location does not answer, or stops answering half-way.
        """


def read_small(location: Location, file: str, *, limit: int) -> bytes:
    """Read a whole file of a location.

    Raises
    ------
    EnvironmentFailure
        It can't be read, or is longer than `limit` bytes.
    """
    data = bytearray()
    with location.open(file) as chunks:
        for chunk in chunks:
            data += chunk
            if len(data) > limit:
                raise EnvironmentFailure(f"longer than {limit} bytes", file=location.address(file))
    return bytes(data)


class NotThere(EnvironmentFailure):
    """The location answers, but has no such file."""


@dataclass(frozen=True)
class Folder:
    """A registry in a folder of this machine."""

    path: Path
    builtin: bool = False

    @property
    def name(self) -> str:
        """The folder's path, or `builtin`."""
        return BUILTIN if self.builtin else str(self.path)

    def address(self, file: str) -> str:
        """Return the file's path."""
        return str(self.path / file)

    @contextmanager
    def open(self, file: str) -> Iterator[Iterator[bytes]]:
        """Stream a file in chunks."""
        try:
            stream = (self.path / file).open("rb")
        except FileNotFoundError as error:
            what = "no such file" if self.path.is_dir() else "no such folder"
            raise NotThere(what, file=self.address(file)) from error
        except OSError as error:
            raise self._failure(error, file) from error
        with stream:
            yield self._chunks(iter(lambda: stream.read(_CHUNK), b""), file)

    def _chunks(self, chunks: Iterator[bytes], file: str) -> Iterator[bytes]:
        try:
            yield from chunks
        except OSError as error:
            raise self._failure(error, file) from error

    def _failure(self, error: OSError, file: str) -> EnvironmentFailure:
        return EnvironmentFailure(f"can't be read: {error.strerror or error}", file=self.address(file))


@dataclass(frozen=True)
class Web:
    """A registry at an http(s) address.

    Attributes
    ----------
    url
        The address of the folder, without a slash at its end.
    """

    url: str

    @property
    def name(self) -> str:
        """The address without user and password."""
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    def address(self, file: str) -> str:
        """Return the file's address."""
        return f"{self.name}/{quote(file)}"

    @contextmanager
    def open(self, file: str) -> Iterator[Iterator[bytes]]:
        """Stream a file in chunks."""
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry

        # Bytes are counted and hashed as they arrive: a compressed answer could grow beyond any bound.
        headers = {"Accept-Encoding": "identity", "User-Agent": "tophub-registry"}
        again = Retry(
            total=2,
            backoff_factor=0.2,
            status_forcelist=(502, 503, 504),
            raise_on_status=False,
            respect_retry_after_header=False,
        )
        with requests.Session() as session:
            session.mount("http://", HTTPAdapter(max_retries=again))
            session.mount("https://", HTTPAdapter(max_retries=again))
            try:
                response = session.get(
                    f"{self.url}/{quote(file)}", headers=headers, stream=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)
                )
            except requests.RequestException as error:
                raise self._failure(f"does not answer: {_reason(error)}", file) from error
            with response:
                self._check_status(response, file)
                yield self._chunks(response, file)

    def _check_status(self, response: Response, file: str) -> None:
        if response.status_code in (404, 410):
            raise NotThere("no such file (404)", file=self.address(file), remedy="check the location's address")
        if response.status_code != 200:  # noqa: PLR2004
            raise self._failure(f"answered {response.status_code} {response.reason}", file)

    def _chunks(self, response: Response, file: str) -> Iterator[bytes]:
        from urllib3.exceptions import HTTPError

        try:
            yield from response.raw.stream(_CHUNK, decode_content=False)
        except (HTTPError, OSError) as error:
            raise self._failure(f"the answer broke off: {_reason(error)}", file) from error

    def _failure(self, message: str, file: str) -> EnvironmentFailure:
        return EnvironmentFailure(message, file=self.address(file), remedy="check the address, or try again later")


def _reason(error: BaseException) -> str:
    """Return the innermost cause in words: libraries wrap `Connection refused` in half a page."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text or type(error).__name__)[:200]


def find_location(name: str | None = None, environment: Mapping[str, str] = os.environ) -> Location | None:
    """Return the location of that name; without a name, the one that $TOPHUB_LOCATION names, or the builtin one.

    Parameters
    ----------
    name
        An http(s) or file address, a folder, `builtin`, or `NONE`.

    Returns
    -------
    location
        None where fetching is switched off, by the name `NONE`.

    Raises
    ------
    UsageError
        An address of another kind.
    """
    name = name or environment.get(VARIABLE) or BUILTIN
    if name == SWITCHED_OFF:
        return None
    if name == BUILTIN:
        return builtin()
    if "://" not in name:
        return Folder(Path(os.path.expanduser(name)).absolute())  # noqa: PTH111  # Path's own fails on "~nobody"
    try:
        parts = urlsplit(name)
        host = parts.hostname
    except ValueError as error:
        raise UsageError(f"not an address: {name[:200]!r}: {error}") from error
    if parts.scheme == "file" and host in (None, "", "localhost"):
        return Folder(Path(url2pathname(parts.path)))
    if parts.scheme in ("http", "https") and host and not parts.query and not parts.fragment:
        return Web(name.rstrip("/"))
    raise UsageError(
        f"not a location: {name[:200]!r}", remedy="a location is http://HOST/…, https://HOST/…, file:///… or a folder"
    )


def builtin() -> Folder:
    """Return the registry that comes with the installation: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "registry_data"
    return Folder(inside if inside.is_dir() else package.parent / "registry_data", builtin=True)
