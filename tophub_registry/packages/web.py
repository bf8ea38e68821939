"""One request to a web server that may be slow, broken or hostile: it ends in time, and nothing grows without bound."""

from __future__ import annotations

import inspect
import random
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from requests import Response, Session

_REDIRECTS = 10


def careful_session() -> Session:
    """Return a session that follows redirects to http and https only, and from https to https only.

    It sends each request once: what is tried again, and for how long, is decided elsewhere.
    """
    import requests

    class Careful(requests.Session):
        def get_redirect_target(self, resp: Response) -> str | None:
            target = super().get_redirect_target(resp)
            if target is not None:
                resp.raw.close()  # the library would read what comes with it, to its end and uncompressed
                before = urlsplit(resp.url).scheme
                scheme = urlsplit(urljoin(resp.url, target)).scheme
                if scheme != "https" and (before, scheme) != ("http", "http"):
                    raise requests.exceptions.InvalidURL(
                        f"redirects from {before} to {scheme[:20]}, which is not followed"
                    )
            return target

    session = Careful()
    session.max_redirects = _REDIRECTS
    return session


class Deadline:
    """A time limit, by a clock that never jumps.

    Parameters
    ----------
    seconds
        From now.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until then, 0 if the time is up."""
        return max(0.0, self._end - time.monotonic())

    @property
    def exceeded(self) -> str:
        """What is said when the time is up."""
        return f"not done in {self._seconds:.0f} s"

    def check(self) -> None:
        """Raise TimeoutError if the time is up."""
        if not self.left:
            raise TimeoutError(self.exceeded)

    def share(self, parts: int) -> Deadline:
        """Return the deadline after an equal part of the time that is left."""
        return Deadline(self.left / parts)

    def at_most(self, seconds: float) -> Deadline:
        """Return the deadline, or the one in so many seconds if that is earlier."""
        return self if self.left <= seconds else Deadline(seconds)

    def pause(self, seconds: float) -> None:
        """Sleep for about so long, though not beyond the deadline."""
        time.sleep(min(self.left, seconds * random.uniform(0.7, 1.3)))  # noqa: S311  # so that clients spread out

    def within(self, ask: Callable[[], Response]) -> Response:
        """Return what a function returns, or raise what it raises; TimeoutError if that takes too long.

        Its thread then runs on until it returns or the process ends.
        """
        outcome: list[Response | BaseException] = []
        gone = threading.Event()

        def run() -> None:
            try:
                outcome.append(found := ask())
                if gone.is_set():
                    found.close()
            except BaseException as error:  # noqa: BLE001  # it is raised below
                outcome.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(self.left)
        if not outcome:
            gone.set()
            raise TimeoutError(self.exceeded)
        (found,) = outcome
        if isinstance(found, BaseException):
            raise found
        return found

    @contextmanager
    def cutting(self, response: Response) -> Iterator[None]:
        """Cut a response off at the deadline, even while it is being read; reading then fails or ends."""

        def cut() -> None:
            with suppress(Exception):  # it has ended meanwhile
                response.raw.shutdown()

        timer = threading.Timer(self.left, cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def mark_of(response: Response) -> str | None:
    """Return what identifies the state of a file at its server, None if it does not say."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def goes_on(response: Response, start: int, mark: str | None) -> bool:
    """Return whether a response has the rest of a file from `start` on, the file being as it was."""
    given = mark_of(response)
    said = response.headers.get("Content-Range", "").strip()
    return (
        response.status_code == 206  # noqa: PLR2004
        and said.startswith(f"bytes {start}-")
        and (mark is None or given is None or mark == given)
    )


def reason(error: BaseException) -> str:
    """Return the innermost cause: libraries wrap `Connection refused` in half a page."""
    while (inner := error.__cause__ or _context(error) or _argument(error)) is not None:
        error = inner
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text or type(error).__name__)[:200]


def _context(error: BaseException) -> BaseException | None:
    """Return the error while which another one came up, unless it is our caller who is still about it."""
    context = error.__context__
    frame = inspect.currentframe()
    while frame is not None and context is not None and context.__traceback__ is not None:
        if frame is context.__traceback__.tb_frame:
            return None
        frame = frame.f_back
    return context


def _argument(error: BaseException) -> BaseException | None:
    """Return an error that another one has among its arguments, as those of urllib3 and requests do."""
    parts = (part for argument in error.args for part in (argument if isinstance(argument, tuple) else (argument,)))
    return next((part for part in parts if isinstance(part, BaseException)), None)
