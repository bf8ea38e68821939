"""Locations: where a registry is, and how its files are read from there.

A location is an http(s) address, a folder (as a path or a `file://` address), or the copy inside the
installed wheel. Each serves `index.json` and, beside it, the log files by name, which is all that an AutoTVM
client needs too.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

from tophub_registry.errors import UsageError
from tophub_registry.packages.patience import LocationFailure, PassingFailure, first_success
from tophub_registry.packages.web import Deadline, careful_session, goes_on, mark_of, reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from requests import Response

VARIABLE = "TOPHUB_LOCATION"
"""The environment variable that names the location, for AutoTVM clients and for us."""

MIRRORS = "TOPHUB_MIRRORS"
"""The environment variable that names mirrors, separated by spaces."""

SWITCHED_OFF = "NONE"
"""The value of the variable that switches fetching off, in AutoTVM as here."""

BUILTIN = "builtin"
"""The name of the copy inside the installation, which is the default location."""

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a connection."""

READ_TIMEOUT = 30.0
"""Seconds to wait for the next bytes."""

TOTAL_TIMEOUT = 1800.0
"""Seconds in which a whole file must arrive, from wherever and in however many tries."""

_CHUNK = 1 << 16

_HOST = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}(?:/.*)?")
"""`host:8000`, perhaps with a path."""


class NotThere(LocationFailure):
    """The location responds, but has no such file."""


class Body:
    """The bytes of a file, as they arrive.

    Attributes
    ----------
    start
        Where in the file they start.
    mark
        What identifies this state of the file at its server; None if it does not say.
    """

    def __init__(self, chunks: Iterator[bytes], *, start: int = 0, mark: str | None = None) -> None:
        self._chunks, self.start, self.mark = chunks, start, mark

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def __next__(self) -> bytes:
        return next(self._chunks)


class Location(Protocol):
    """Where a registry's files are read from."""

    @property
    def name(self) -> str:
        """The location's name, without any password."""

    @property
    def mirrors(self) -> tuple[Location, ...]:
        """Where the same files are, in the order in which they are tried; an unsigned index is not."""

    def address(self, file: str) -> str:
        """Return the address of a file of the location, for messages."""

    def open(
        self, file: str, *, start: int = 0, mark: str | None = None, deadline: Deadline | None = None
    ) -> AbstractContextManager[Body]:
        """Stream a file in chunks; it is asked for once, and not of the mirrors.

        Parameters
        ----------
        file
            Its name.
        start
            Where to go on. The body starts at 0 nevertheless if the location can't do that, or if the file is no
            longer the one with this mark.
        mark
            What an earlier body was marked with.
        deadline
            When it must have arrived; by default `TOTAL_TIMEOUT` from now.

        Raises
        ------
        NotThere
            There is no such file.
        PassingFailure
            The location does not respond, or the response breaks off.
        LocationFailure
            The location refuses.
        """


def read_small(location: Location, file: str, *, limit: int, deadline: Deadline | None = None) -> bytes:
    """Read a whole file of a location, not of its mirrors; what fails for the moment is tried again.

    Raises
    ------
    EnvironmentFailure
        It can't be read, or is longer than `limit` bytes.
    """

    def read(source: Location, deadline: Deadline) -> bytes:
        data = bytearray()
        with source.open(file, deadline=deadline) as body:
            for chunk in body:
                data += chunk
                if len(data) > limit:
                    raise LocationFailure(f"longer than {limit} bytes", file=source.address(file), remedy=_REMEDY)
        return bytes(data)

    return first_success([location], read, deadline or Deadline(TOTAL_TIMEOUT))


@dataclass(frozen=True)
class Folder:
    """A registry in a folder of this machine."""

    path: Path
    builtin: bool = False
    mirrors: tuple[Location, ...] = ()

    @property
    def name(self) -> str:
        """The folder's path, or `builtin`."""
        return BUILTIN if self.builtin else str(self.path)

    def address(self, file: str) -> str:
        """Return the file's path."""
        return str(self.path / file)

    @contextmanager
    def open(
        self, file: str, *, start: int = 0, mark: str | None = None, deadline: Deadline | None = None
    ) -> Iterator[Body]:
        """Stream a file in chunks."""
        del start, mark, deadline  # a folder is read anew, and is quick or hangs in the system
        try:
            stream = (self.path / file).open("rb")
        except FileNotFoundError as error:
            what = "no such file" if self.path.is_dir() else "no such folder"
            raise NotThere(what, file=self.address(file)) from error
        except OSError as error:
            raise self._failure(error, file) from error
        with stream:
            yield Body(self._chunks(iter(lambda: stream.read(_CHUNK), b""), file))

    def _chunks(self, chunks: Iterator[bytes], file: str) -> Iterator[bytes]:
        try:
            yield from chunks
        except OSError as error:
            raise self._failure(error, file) from error

    def _failure(self, error: OSError, file: str) -> LocationFailure:
        return LocationFailure(f"can't be read: {error.strerror or error}", file=self.address(file))


@dataclass(frozen=True)
class Web:
    """A registry at an http(s) address.

    Attributes
    ----------
    url
        The address of the folder, without a slash at its end.
    """

    url: str
    mirrors: tuple[Location, ...] = ()

    @property
    def name(self) -> str:
        """The address without user and password."""
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    def address(self, file: str) -> str:
        """Return the file's address."""
        return f"{self.name}/{quote(file)}"

    @contextmanager
    def open(
        self, file: str, *, start: int = 0, mark: str | None = None, deadline: Deadline | None = None
    ) -> Iterator[Body]:
        """Stream a file in chunks."""
        deadline = deadline or Deadline(TOTAL_TIMEOUT)
        with self.ask(file, _range(start, mark), deadline) as response:
            part = start > 0 and goes_on(response, start, mark)
            if part or not start or response.status_code not in (206, 416):
                yield self.body_of(response, file, deadline, start=start if part else 0)
                return
        with self.ask(file, {}, deadline) as response:  # that was another part, or the file is no longer that long
            yield self.body_of(response, file, deadline)

    @contextmanager
    def ask(self, file: str, headers: Mapping[str, str], deadline: Deadline) -> Iterator[Response]:
        """Yield the response to one request; its body is not read yet, and is cut off at the deadline.

        Parameters
        ----------
        file
            Its name.
        headers
            What to send besides the usual headers.
        deadline
            When the response must have been read.

        Raises
        ------
        PassingFailure
            The location does not respond.
        LocationFailure
            It redirects to where this project does not follow.
        """
        import requests

        # Bytes are counted and hashed as they arrive: a compressed response could grow without bound.
        sent = {"Accept-Encoding": "identity", "User-Agent": "tophub-registry", **headers}
        with careful_session() as session:

            def get() -> Response:
                return session.get(
                    f"{self.url}/{quote(file)}", headers=sent, stream=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)
                )

            try:
                response = deadline.within(get)
            except (requests.exceptions.InvalidURL, requests.TooManyRedirects) as error:
                raise LocationFailure(str(error), file=self.address(file), remedy=_REMEDY) from error
            except (requests.RequestException, TimeoutError, OSError) as error:
                raise self._failure(f"does not respond: {reason(error)}", file) from error
            with response, deadline.cutting(response):
                yield response

    def body_of(self, response: Response, file: str, deadline: Deadline, *, start: int = 0) -> Body:
        """Return the body of a response to `ask`, which has the file from `start` on.

        Raises
        ------
        NotThere
            There is no such file.
        PassingFailure
            The location does not respond, or the response breaks off.
        LocationFailure
            The location refuses.
        """
        self._check_status(response, file, part=start > 0)
        return Body(self._chunks(response, file, deadline), start=start, mark=mark_of(response))

    def _check_status(self, response: Response, file: str, *, part: bool) -> None:
        status = response.status_code
        if status in (403, 404, 410):  # 403 is what stores of objects answer to whoever may not list them
            raise NotThere(f"no such file ({status})", file=self.address(file), remedy="check the location's address")
        if status != (206 if part else 200):
            failure = f"answered {status} {(response.reason or '')[:200]}"
            if status < 500 and status not in (408, 429):  # noqa: PLR2004  # it will say so again
                raise LocationFailure(failure, file=self.address(file), remedy=_REMEDY)
            raise self._failure(failure, file)

    def _chunks(self, response: Response, file: str, deadline: Deadline) -> Iterator[bytes]:
        from urllib3.exceptions import HTTPError

        raw = response.raw
        try:
            # Whatever has arrived, even one byte: a slow server may take forever to fill a chunk.
            while chunk := raw.read1(_CHUNK, decode_content=False):
                deadline.check()
                yield chunk
            deadline.check()  # it ends when it is cut off too
        except (HTTPError, OSError, ValueError) as error:
            why = reason(error) if deadline.left else deadline.exceeded
            raise self._failure(f"the response broke off: {why}", file) from error

    def _failure(self, message: str, file: str) -> PassingFailure:
        return PassingFailure(message, file=self.address(file), remedy=_REMEDY)


def _range(start: int, mark: str | None) -> dict[str, str]:
    """Return the headers that ask for the rest of a file, if it still has that mark."""
    if not start:
        return {}
    return {"Range": f"bytes={start}-", **({} if mark is None else {"If-Range": mark})}


_REMEDY = "check the address, or try again later"


def find_location(
    name: str | None = None, environment: Mapping[str, str] = os.environ, *, mirrors: Sequence[str] = ()
) -> Location | None:
    """Return the location of a name; without a name, the one in $TOPHUB_LOCATION, or the builtin one.

    Parameters
    ----------
    name
        An http(s) or file address, a folder, `builtin`, or `NONE`.
    environment
        Where the variables are looked up.
    mirrors
        The names of its mirrors; by default those in $TOPHUB_MIRRORS.

    Returns
    -------
    location
        None if fetching is switched off, by the name `NONE`.

    Raises
    ------
    UsageError
        The name is an address of another kind, or without its scheme, or a file.
    """
    name = name or environment.get(VARIABLE) or BUILTIN
    if name == SWITCHED_OFF:
        return None
    location = _place(name)
    others = tuple(_place(mirror) for mirror in mirrors or environment.get(MIRRORS, "").split())
    return replace(location, mirrors=others) if others else location


def _place(name: str) -> Folder | Web:
    if name == BUILTIN:
        return builtin()
    if "://" not in name:
        return _folder(name)
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


def _folder(name: str) -> Folder:
    path = Path(os.path.expanduser(name)).absolute()  # noqa: PTH111  # Path's own fails on "~nobody"
    if path.is_file():
        raise UsageError("this is a file; a location is a folder or an address", file=name)
    if _HOST.fullmatch(name) and not path.exists():
        raise UsageError(f"the address has no scheme: {name[:200]!r}", remedy=f"write http://{name[:200]}")
    return Folder(path)


def builtin() -> Folder:
    """Return the registry that comes with the installation: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "registry_data"
    return Folder(inside if inside.is_dir() else package.parent / "registry_data", builtin=True)
