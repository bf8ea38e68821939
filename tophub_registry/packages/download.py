"""Downloading one file: from a location or its mirrors, resumed where it broke off, checked before it gets its name.

The size and hash that an index lists decide what a file is. So it does not matter who sends which part of it, what an
earlier call has left, or which of the mirrors lies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, TYPE_CHECKING, NamedTuple

from tophub_registry.files import atomic_write, make_folders, set_aside_name
from tophub_registry.packages import location as places
from tophub_registry.packages.digest import Digest, Meter
from tophub_registry.packages.index import MAX_PACKAGE
from tophub_registry.packages.patience import LocationFailure, PassingFailure, first_success
from tophub_registry.packages.web import Deadline

if TYPE_CHECKING:
    from pathlib import Path

    from tophub_registry.files import Guard
    from tophub_registry.packages.location import Location

ProgressCallback = Callable[[str, int, int], None]
"""Called as a file arrives, with its name, the bytes received and the total, 0 if unknown."""

_PROGRESS = 1 << 16
"""Bytes that a try must bring to be worth going on."""


class Served(NamedTuple):
    """Who served a file.

    Attributes
    ----------
    name
        The location's or the mirror's name.
    failure
        Why the location itself did not; None if it did.
    """

    name: str
    failure: str | None


def download(
    location: Location,
    file: str,
    path: Path,
    *,
    wanted: Digest | None = None,
    progress: ProgressCallback | None = None,
    overwrite: bool = True,
    guard: Guard | None = None,
) -> Served:
    """Download one file of a location, all or nothing.

    If it is interrupted, or nobody serves it to its end, and its digest is known, the next call goes on where this one
    ended.

    Parameters
    ----------
    location, file
        Where from. The location's mirrors are asked only if `wanted` is given.
    path
        Where to.
    wanted
        The size and hash that the file must have; None for any.
    progress
        Called as it arrives.
    overwrite, guard
        Whether an existing file is replaced, as `atomic_write` has it.

    Raises
    ------
    UsageError
        `path` exists and is not to be replaced.
    LocationFailure
        The location and its mirrors have no such file, do not respond, or send other bytes than wanted, or too many.
    EnvironmentFailure
        The disk is full, or `path` can't be written to.
    """
    make_folders(path.parent)
    aside = None if wanted is None else set_aside_name(path, wanted.sha256)
    with atomic_write(path, overwrite=overwrite, guard=guard, aside=aside) as stream:
        arriving = _Arriving(file, stream, wanted, progress)
        sources = [location] if wanted is None else [location, *location.mirrors]
        source = first_success(sources, arriving.receive, Deadline(places.TOTAL_TIMEOUT))
    return Served(source.name, None if source is location else arriving.failures.get(location.name))


class _Arriving:
    """A file that arrives, from one source after the other."""

    def __init__(self, file: str, stream: IO[bytes], wanted: Digest | None, progress: ProgressCallback | None) -> None:
        self._file, self._stream, self._wanted, self._progress = file, stream, wanted, progress
        self._limit = MAX_PACKAGE if wanted is None else wanted.bytes
        self._meter = Meter()
        self._mark: tuple[Location, str] | None = None
        self.failures: dict[str, str] = {}
        for _ in self._meter.passing(stream):  # what an earlier call has left
            pass

    def receive(self, source: Location, deadline: Deadline) -> Location:
        """Receive the rest of the file; return its source."""
        try:
            self._receive(source, deadline)
        except LocationFailure as error:
            self.failures[source.name] = error.message
            raise
        return source

    def _receive(self, source: Location, deadline: Deadline) -> None:
        mark = self._mark[1] if self._mark is not None and self._mark[0] is source else None
        if self._wanted is None and mark is None:  # nothing would tell whether the parts belong together
            self._begin_anew()
        resumed = self._meter.bytes > 0
        if not resumed or self._meter.bytes < self._limit:
            resumed = self._append(source, mark, deadline) > 0
        wrong = self._wrong(source)
        if wrong is None:
            return
        self._begin_anew()
        if not resumed:
            raise wrong
        # Another source, or an earlier call, may have brought the wrong part.
        self._append(source, None, deadline)
        if (wrong := self._wrong(source)) is not None:
            self._begin_anew()
            raise wrong

    def _append(self, source: Location, mark: str | None, deadline: Deadline) -> int:
        """Append what a source sends; return where it started."""
        before = self._meter.bytes
        try:
            return self._append_body(source, mark, deadline)
        except PassingFailure as error:
            error.progress = self._meter.bytes >= before + _PROGRESS
            raise

    def _append_body(self, source: Location, mark: str | None, deadline: Deadline) -> int:
        with source.open(self._file, start=self._meter.bytes, mark=mark, deadline=deadline) as body:
            if body.start != self._meter.bytes:
                self._begin_anew()
            start = self._meter.bytes
            self._mark = None if body.mark is None else (source, body.mark)
            for chunk in body:
                self._meter.add(chunk)
                if self._meter.bytes > self._limit:
                    return start
                self._stream.write(chunk)
                if self._progress is not None:
                    self._progress(self._file, self._meter.bytes, 0 if self._wanted is None else self._limit)
        if self._wanted is not None and self._meter.bytes < self._limit:
            raise PassingFailure(
                f"not the published file: {_difference(self._meter.digest, self._wanted)}",
                file=source.address(self._file),
                remedy=_REMEDY,
            )
        return start

    def _wrong(self, source: Location) -> LocationFailure | None:
        """Return what is wrong with the file now that it is here; None if nothing is."""
        address = source.address(self._file)
        if self._wanted is not None and self._meter.digest != self._wanted:
            difference = _difference(self._meter.digest, self._wanted)
            return LocationFailure(f"not the published file: {difference}", file=address, remedy=_REMEDY)
        if self._meter.bytes > self._limit:
            return LocationFailure(f"longer than {self._limit} bytes", file=address, remedy=_REMEDY)
        return None

    def _begin_anew(self) -> None:
        self._stream.seek(0)
        self._stream.truncate()
        self._meter = Meter()


_REMEDY = "nothing was changed; try again, or tell the registry's maintainer"


def _difference(found: Digest, wanted: Digest) -> str:
    if found.bytes > wanted.bytes:
        return f"longer than the {wanted.bytes} bytes that the index lists"
    if found.bytes < wanted.bytes:
        return f"{found.bytes} bytes where the index lists {wanted.bytes}"
    return f"its SHA-256 is {found.sha256}, not {wanted.sha256}"
