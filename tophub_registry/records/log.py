"""Logs: files of one record a line, with `#` comments between them, in log version 0.2 or 0.1 or both.

Reading streams, so that memory does not grow with the file; an error names the file, the line and a remedy.
"""

from __future__ import annotations

import gzip
import os
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from tophub_registry.errors import InputError, UsageError
from tophub_registry.files import atomic_write
from tophub_registry.records.record import Record
from tophub_registry.records.rows import MAX_LINE, RowError, parse_comment, parse_record
from tophub_registry.records.unconvertible import NoConversionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_PROGRESS_LINES = 5000

GZIP = b"\x1f\x8b"

_MOST_UNPACKED = 100
"""How many times its size a gzipped log may unpack to. Logs pack to a tenth, and hardly any to a fiftieth."""


class Line(NamedTuple):
    """A line that is not empty, stripped of white space.

    Attributes
    ----------
    number
        Counts from 1.
    text
        Truncated after MAX_LINE + 1 bytes.
    whole
        Whether it ends with a line break; the last line of a truncated log does not.
    """

    number: int
    text: bytes
    whole: bool


class Row(NamedTuple):
    """One line of a log: a record, or a comment (with its `#`)."""

    line: int
    record: Record | None
    comment: str | None


class _Unpacked(gzip.GzipFile):
    """A gzipped log, which can not be a small file that hardly ends."""

    def __init__(self, packed: IO[bytes], path: str | Path) -> None:
        super().__init__(fileobj=packed)
        self._path = path
        self._most = max(MAX_LINE, _MOST_UNPACKED * os.fstat(packed.fileno()).st_size)

    def readline(self, size: int | None = -1) -> bytes:
        """Return a line, or so many bytes of it; InputError if that is too much for so small a file."""
        return self._checked(super().readline(size))

    def read(self, size: int | None = -1) -> bytes:
        """Return so many bytes; InputError if that is too much for so small a file."""
        return self._checked(super().read(size))

    def _checked(self, data: bytes) -> bytes:
        if self.tell() > self._most:
            reason = f"it unpacks to more than {_MOST_UNPACKED} times its size"
            raise InputError(reason, file=self._path, remedy="unpack it, if you trust it")
        return data


@contextmanager
def open_log(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a log for reading, gzipped or not.

    Raises
    ------
    InputError
        There is no such file, or it can't be read.
    """
    try:
        with Path(path).open("rb") as raw:
            if raw.peek(2)[:2] == GZIP:
                with _Unpacked(raw, path) as stream:
                    yield stream  # type: ignore[misc]  # a GzipFile reads like a binary file
            else:
                yield raw
    except FileNotFoundError as error:
        raise InputError("no such file", file=path) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"damaged gzip data: {error}", file=path, remedy="fetch or pack the file again") from error
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror or error}", file=path) from error


def read_lines(path: str | Path, *, progress: Callable[[int], None] | None = None) -> Iterator[Line]:
    """Yield the lines of a log, however broken, in bounded memory; empty lines are skipped.

    Parameters
    ----------
    path
        The log, gzipped or not.
    progress
        Called now and then with the number of bytes read.

    Raises
    ------
    InputError
        The file can't be read.
    """
    with open_log(path) as stream:
        number = 0
        while line := stream.readline(MAX_LINE + 1):
            number += 1
            if progress is not None and number % _PROGRESS_LINES == 0:
                progress(getattr(stream, "fileobj", stream).tell())
            if len(line) <= MAX_LINE:
                text = line.strip()
                if text:
                    yield Line(number, text, line.endswith(b"\n"))
            else:
                yield Line(number, line, whole=True)
                while line and not line.endswith(b"\n"):
                    line = stream.readline(MAX_LINE)  # the rest of the same line


def read_rows(path: str | Path) -> Iterator[Row]:
    """Yield the rows of a log in order.

    Raises
    ------
    InputError
        At the first line that is neither a record nor a comment.
    """
    return (parse_row(line, file=path) for line in read_lines(path))


def read_convertible_rows(path: str | Path) -> Iterator[Row]:
    """Yield the rows of a log in order, without rows of log version 0.1 that can't be converted.

    Those belong to no workload of today, so a look-up does not need them. To lose no row, use `read_rows`.

    Raises
    ------
    InputError
        At the first line that is neither a record nor a comment.
    """
    for line in read_lines(path):
        try:
            yield parse_row(line, file=path)
        except NoConversionError:  # noqa: PERF203  # it is the row that decides
            continue


def read_records(path: str | Path) -> Iterator[Record]:
    """Yield the records of a log in order, without comments and without rows that can't be converted."""
    return (row.record for row in read_convertible_rows(path) if row.record is not None)


def parse_row(line: Line, *, file: str | Path) -> Row:
    """Parse one line of a log.

    Raises
    ------
    NoConversionError
        The line is a well-formed row of log version 0.1 that can't be converted with certainty.
    InputError
        The line is neither a record nor a comment.
    """
    if line.text.startswith(b"#"):
        return Row(line.number, None, parse_comment(line.text, file=file, line=line.number))
    try:
        return Row(line.number, parse_record(line.text, file=file, line=line.number), None)
    except InputError as error:
        if line.whole or isinstance(error, NoConversionError):
            raise
        remedy = "delete it, or let `tophub tune --resume` do so"
        raise RowError("the last row was cut short", "torn", file=file, line=line.number, remedy=remedy) from error


def write_log(path: str | Path, rows: Iterable[Record | str]) -> None:
    """Write records and comments (strings that start with `#`) as a new log, all or nothing.

    Raises
    ------
    UsageError
        The file exists, or a string is not a comment.
    """
    with atomic_write(path) as stream:
        for row in rows:
            if isinstance(row, str) and (not row.startswith("#") or "\n" in row):
                raise UsageError(f"not a comment line: {row[:80]!r}", file=path)
            stream.write((row if isinstance(row, str) else row.to_json()).encode() + b"\n")
