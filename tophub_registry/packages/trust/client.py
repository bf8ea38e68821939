"""TUF's client at a location of ours: what it reads, what is tried again, and its errors as ours."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.ngclient import FetcherInterface

from tophub_registry.packages import patience
from tophub_registry.packages.location import NotThere
from tophub_registry.packages.patience import PassingFailure, first_success
from tophub_registry.packages.trust.policy import Expired, Untrusted
from tophub_registry.packages.trust.state import METADATA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuf.api.metadata import TargetFile
    from tuf.ngclient import Updater

    from tophub_registry.packages.location import Location
    from tophub_registry.packages.web import Deadline


class Fetcher(FetcherInterface):
    """Reads metadata from a location, except what was read already; one time limit holds for all of it."""

    def __init__(self, location: Location, known: dict[str, bytes], deadline: Deadline) -> None:
        self._location, self._known, self._deadline = location, known, deadline

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Do what TUF's own does; what fails for the moment is tried again."""
        read = super().download_bytes
        return first_success([url], lambda url, _: read(url, max_length), self._deadline)

    def _fetch(self, url: str) -> Iterator[bytes]:
        if url in self._known:
            yield self._known.pop(url)
            return
        try:
            with self._location.open(url, deadline=self._deadline) as chunks:
                yield from chunks
        except NotThere as error:
            raise DownloadHTTPError(error.message, 404) from error


_LASTING = (ExpiredMetadataError, UnsignedMetadataError, BadVersionNumberError)
"""What is wrong with metadata that arrived as the snapshot lists it."""


class Asker:
    """Asks TUF's client about files; delegated metadata that was damaged on its way is asked for again.

    Attributes
    ----------
    whole
        Whether all of it could be read.
    """

    def __init__(self, updater: Updater) -> None:
        self.whole = True
        self._updater, self._tries = updater, patience.TRIES

    def entry(self, file: str) -> TargetFile | None:
        """Return what is signed of a file, None if nothing is; raise what is wrong with the role that may sign it."""
        while True:
            try:
                return self._updater.get_targetinfo(file)
            except _LASTING:  # noqa: PERF203  # a few tries
                raise
            except (RepositoryError, DownloadError):
                self._tries -= 1
                if self._tries <= 0:
                    self.whole = False
                    raise
                time.sleep(patience.PAUSE)


@contextmanager
def errors_named(location: Location) -> Iterator[None]:
    """Report TUF's errors as ours, with the location."""
    place = location.address(METADATA)
    try:
        yield
    except ExpiredMetadataError as error:
        raise Expired(
            f"the registry's signatures have expired: {one_line(error)}",
            file=place,
            remedy="check this machine's clock; its maintainer renews them with `tophub keys refresh`, "
            "and if that was done, someone holds newer ones back",
        ) from error
    except (RepositoryError, DownloadLengthMismatchError) as error:
        raise Untrusted(
            f"not what the registry's keys signed: {one_line(error)}",
            file=place,
            remedy="nothing was changed; try again, or ask its maintainer; --insecure takes it unverified",
        ) from error
    except DownloadError as error:
        raise PassingFailure(
            f"signed metadata can't be read: {one_line(error)}", file=place, remedy="try again later"
        ) from error


def one_line(error: Exception) -> str:
    """Return an error's text as a short line, or its kind if it has none."""
    text = " ".join(str(error).split())[:200]
    return "".join(letter if letter.isprintable() else "?" for letter in text) or type(error).__name__
