"""Logs: files of one record a line, with `#` comments between them.

Reading streams, so that memory does not grow with the file; an error names the file, the line and the way
out. A log is untrusted text: lines are bounded, nothing is evaluated or unpickled.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from pydantic import ValidationError

from tophub_registry.errors import EnvironmentFailure, InputError
from tophub_registry.files import atomic_write
from tophub_registry.records.record import LOG_VERSION, Record

MAX_LINE = 1 << 20
"""The longest line that is read, in bytes; upstream's longest row has 1,500."""


class Row(NamedTuple):
    """One line of a log: a record, or a comment (with its `#`)."""

    line: int
    record: Record | None
    comment: str | None


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
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            if packed:
                with gzip.GzipFile(fileobj=raw) as stream:
                    yield stream  # type: ignore[misc]  # a GzipFile reads like a binary file
            else:
                yield raw
    except FileNotFoundError as error:
        raise InputError("no such file", file=path) from error
    except (EOFError, gzip.BadGzipFile) as error:
        raise InputError(f"damaged gzip data: {error}", file=path) from error
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror or error}", file=path) from error


def read_rows(path: str | Path) -> Iterator[Row]:
    """Yield the rows of a log in their order; empty lines are passed over.

    Raises
    ------
    InputError
        At the first line that is no record.
    """
    with open_log(path) as stream:
        number = 0
        while line := stream.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise InputError(f"the line is longer than {MAX_LINE} bytes", file=path, line=number)
            text = line.strip()
            if not text:
                continue
            if text.startswith(b"#"):
                yield Row(number, None, text.decode("utf-8", "replace"))
            else:
                yield Row(number, parse_record(text, file=path, line=number), None)


def read_records(path: str | Path) -> Iterator[Record]:
    """Yield the records of a log in their order, without the comments."""
    return (row.record for row in read_rows(path) if row.record is not None)


def parse_record(text: str | bytes, *, file: str | Path | None = None, line: int | None = None) -> Record:
    """Parse one row of log version 0.2.

    Raises
    ------
    InputError
        The text is no such row; `file` and `line` are named in the message.
    """
    try:
        record = Record.model_validate_json(text)
    except ValidationError as error:
        raise InputError(*_explain(error, text), file=file, line=line) from error
    if record.version != LOG_VERSION:
        raise InputError(f"log version {record.version} is not supported", file=file, line=line)
    try:
        record.target  # noqa: B018  # parsed here, so that no later look at it can fail
    except InputError as error:
        raise InputError(error.message, file=file, line=line, remedy=error.remedy) from error
    return record


def _explain(error: ValidationError, text: str | bytes) -> tuple[str]:
    """Say in one sentence what is wrong with a row: the first of pydantic's findings."""
    finding = error.errors(include_url=False, include_context=False)[0]
    if finding["type"] == "json_invalid":
        return (f"not a JSON row: {finding['msg'].removeprefix('Invalid JSON: ')}",)
    place = ".".join(str(step) for step in finding["loc"])
    return (f"not a record: {place}: {finding['msg'][0].lower()}{finding['msg'][1:]}",)


def write_log(path: str | Path, rows: Iterable[Record | str], *, overwrite: bool = False) -> None:
    """Write records and comments (strings that start with `#`) as a new log, all or nothing.

    Raises
    ------
    UsageError
        The file is already there and `overwrite` is false.
    """
    with atomic_write(path, overwrite=overwrite) as stream:
        for row in rows:
            stream.write((row if isinstance(row, str) else row.to_json()).encode() + b"\n")


class LogAppender:
    """A log that grows row by row while tuning goes on; each row is on disk when `append` returns.

    A row cut short by a crash is cut off when the log is opened again.

    Parameters
    ----------
    path
        The log; it is made if it is missing.

    Raises
    ------
    EnvironmentFailure
        The disk is full or the file can't be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self.path.open("ab+")
            self._cut_torn_row()
        except OSError as error:
            raise self._failure(error) from error

    def _cut_torn_row(self) -> None:
        """Drop what follows the last line break: a row is complete only with its end of line."""
        end = self._stream.seek(0, os.SEEK_END)
        start = max(0, end - MAX_LINE)
        self._stream.seek(start)
        tail = self._stream.read()
        if tail and not tail.endswith(b"\n"):
            self._stream.truncate(start + tail.rfind(b"\n") + 1)

    def append(self, records: Iterable[Record]) -> None:
        """Append records and sync them to disk."""
        try:
            self._stream.write(b"".join(record.to_json().encode() + b"\n" for record in records))
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> EnvironmentFailure:
        return EnvironmentFailure(f"can't be written: {error.strerror or error}", file=self.path)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __enter__(self) -> LogAppender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
