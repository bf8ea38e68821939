"""Locations: where a registry is, and how its files are read from there.

A location is an http(s) address, a folder (as a path or a `file://` address), or the copy inside the
installed wheel. Each serves `index.json` and, beside it, the log files by name, which is all that an AutoTVM
client needs too.
"""

from __future__ import annotations

import os
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import url2pathname

from tophub_registry.errors import EnvironmentFailure, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from requests import Response, Session

VARIABLE = "TOPHUB_LOCATION"
"""The environment variable that names the location, for AutoTVM clients and for us."""

SWITCHED_OFF = "NONE"
"""The value of the variable that switches fetching off, in AutoTVM as here."""

BUILTIN = "builtin"
"""The name of the copy inside the installation, which is the default location."""

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a connection."""

READ_TIMEOUT = 30.0
"""Seconds to wait for the next bytes."""

TOTAL_TIMEOUT = 1800.0
"""Seconds in which a whole file must arrive."""

_CHUNK = 1 << 16

_HOST = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}(?:/.*)?")
"""`host:8000`, perhaps with a path."""


class Location(Protocol):
    """Where a registry's files are read from."""

    @property
    def name(self) -> str:
        """The location's name, without any password."""

    def address(self, file: str) -> str:
        """Return the address of a file of the location, for messages."""

    def open(self, file: str) -> AbstractContextManager[Iterator[bytes]]:
        """Stream a file in chunks.

        Raises
        ------
        EnvironmentFailure
            There is no such file, or the location does not respond, or the response breaks off.
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
    """The location responds, but has no such file."""


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

        # Bytes are counted and hashed as they arrive: a compressed response could grow without bound.
        headers = {"Accept-Encoding": "identity", "User-Agent": "tophub-registry"}
        again = Retry(
            total=2,
            backoff_factor=0.2,
            status_forcelist=(502, 503, 504),
            raise_on_status=False,
            respect_retry_after_header=False,
        )
        deadline = _Deadline(TOTAL_TIMEOUT)
        with _session() as session:
            session.mount("http://", HTTPAdapter(max_retries=again))
            session.mount("https://", HTTPAdapter(max_retries=again))

            def ask() -> Response:
                return session.get(
                    f"{self.url}/{quote(file)}", headers=headers, stream=True, timeout=(CONNECT_TIMEOUT, READ_TIMEOUT)
                )

            try:
                response = deadline.within(ask)
            except requests.exceptions.InvalidURL as error:
                raise self._failure(str(error), file) from error
            except (requests.RequestException, TimeoutError) as error:
                raise self._failure(f"does not respond: {_reason(error)}", file) from error
            with response:
                self._check_status(response, file)
                yield self._chunks(response, file, deadline)

    def _check_status(self, response: Response, file: str) -> None:
        if response.status_code in (403, 404, 410):  # 403 is what stores of objects answer to whoever may not list them
            raise NotThere(
                f"no such file ({response.status_code})", file=self.address(file), remedy="check the location's address"
            )
        if response.status_code != 200:  # noqa: PLR2004
            raise self._failure(f"answered {response.status_code} {response.reason}", file)

    def _chunks(self, response: Response, file: str, deadline: _Deadline) -> Iterator[bytes]:
        from urllib3.exceptions import HTTPError

        raw = response.raw
        try:
            # Whatever has arrived, even one byte: a slow server may take forever to fill a chunk.
            while chunk := raw.read1(_CHUNK, decode_content=False):
                deadline.check()
                yield chunk
        except (HTTPError, OSError) as error:
            raise self._failure(f"the response broke off: {_reason(error)}", file) from error

    def _failure(self, message: str, file: str) -> EnvironmentFailure:
        return EnvironmentFailure(message, file=self.address(file), remedy="check the address, or try again later")


def _session() -> Session:
    """Return a session that does not follow a redirect from https to anything else."""
    import requests

    class Careful(requests.Session):
        def get_redirect_target(self, resp: Response) -> str | None:
            target = super().get_redirect_target(resp)
            if target is not None and urlsplit(resp.url).scheme == "https":
                scheme = urlsplit(urljoin(resp.url, target)).scheme
                if scheme != "https":
                    raise requests.exceptions.InvalidURL(f"redirects from https to {scheme}, which is not followed")
            return target

    return Careful()


class _Deadline:
    """A time limit for a whole download.

    Parameters
    ----------
    seconds
        From now.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Raise TimeoutError if the time is up."""
        if time.monotonic() > self._end:
            raise TimeoutError(f"not done in {self._seconds:.0f} s")

    def within(self, ask: Callable[[], Response]) -> Response:
        """Return what a function returns, or raise what it raises; TimeoutError if that takes too long.

        Its thread then runs on until the process ends.
        """
        outcome: list[Response | BaseException] = []

        def run() -> None:
            try:
                outcome.append(ask())
            except BaseException as error:  # noqa: BLE001  # it is raised below
                outcome.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(max(0.0, self._end - time.monotonic()))
        if not outcome:
            raise TimeoutError(f"not done in {self._seconds:.0f} s")
        (found,) = outcome
        if isinstance(found, BaseException):
            raise found
        return found


def _reason(error: BaseException) -> str:
    """Return the innermost cause: libraries wrap `Connection refused` in half a page."""
    while (inner := error.__cause__ or error.__context__ or _argument(error)) is not None:
        error = inner
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text or type(error).__name__)[:200]


def _argument(error: BaseException) -> BaseException | None:
    """Return an error that another one has among its arguments, as those of urllib3 and requests do."""
    parts = (part for argument in error.args for part in (argument if isinstance(argument, tuple) else (argument,)))
    return next((part for part in parts if isinstance(part, BaseException)), None)


def find_location(name: str | None = None, environment: Mapping[str, str] = os.environ) -> Location | None:
    """Return the location of a name; without a name, the one in $TOPHUB_LOCATION, or the builtin one.

    Parameters
    ----------
    name
        An http(s) or file address, a folder, `builtin`, or `NONE`.

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
