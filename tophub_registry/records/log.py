"""Logs: files of one record a line, with `#` comments between them, in log version 0.2 or 0.1 or both.

Reading streams, so that memory does not grow with the file; an error names the file, the line and a remedy.
A log is untrusted text: lines are bounded, nothing is evaluated or unpickled.
"""

from __future__ import annotations

import codecs
import fcntl
import gzip
import os
import re
import zlib
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from tophub_registry.errors import EnvironmentFailure, InputError, TophubError, UsageError
from tophub_registry.files import atomic_write, check_place
from tophub_registry.records.conversion import to_new
from tophub_registry.records.names import with_todays_name
from tophub_registry.records.old_row import OLD_LOG_VERSION, OldInput, OldRow
from tophub_registry.records.record import LOG_VERSION, Input, Record, Result, Value, finite
from tophub_registry.records.target import Target
from tophub_registry.records.unconvertible import NoConversionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from typing_extensions import Self

MAX_LINE = 1 << 16
"""The longest line that is read, in bytes; upstream's longest row has 1,500. JSON may nest up to 200 levels."""

SHORT_LINE = MAX_LINE // 8
"""A row up to this length stays below MAX_LINE in AutoTVM's longer spelling too."""

# The names of the items of arrays.
_FIELDS = {"input": Input._fields, "result": Result._fields, "i": OldInput._fields, "r": Result._fields}

_TOO_LONG = f"the line is longer than {MAX_LINE} bytes"
_REPAIR = "repair or delete the line"

# A number that may be too big for a float.
_HUGE = re.compile(rb"[0-9](?:[eE]\+?[0-9]{3}|[0-9]{308})")

_PROGRESS_LINES = 5000

_FLAT = 150
"""With so many lists at most, no row is nested as deeply as JSON may be, 200 levels, nor will its conversion be."""

_GZIP = b"\x1f\x8b"

_MOST_UNPACKED = 100
"""How many times its size a gzipped log may unpack to. Logs pack to a tenth, and hardly any to a fiftieth."""

# AutoTVM's pickle protocol had four fields in log version 0.1 and has six in 0.2, the first one plain text.
_PICKLE_TABS = (3, 5)
_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}")


class RowError(InputError):
    """A line that is neither a record nor a comment.

    Parameters
    ----------
    rule
        The rule that it breaks: `length`, `encoding`, `json`, `shape`, `knob`, `cost`, `number`,
        `target`, `version`, `pickle` or `torn`.
    """

    def __init__(self, message: str, rule: str = "row", **place: Any) -> None:
        self.rule = rule
        super().__init__(message, **place)


_Row = TypeVar("_Row", Record, OldRow)


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
            if raw.peek(2)[:2] == _GZIP:
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


def parse_comment(text: bytes, *, file: str | Path | None = None, line: int | None = None) -> str:
    """Decode a comment; InputError if it is too long or not UTF-8, at which AutoTVM clients would stop."""
    if len(text) > MAX_LINE:
        raise RowError(_TOO_LONG, "length", file=file, line=line, remedy="delete the line")
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        remedy = "save the file as UTF-8"
        raise RowError("the comment is not UTF-8", "encoding", file=file, line=line, remedy=remedy) from error


def parse_record(text: str | bytes, *, file: str | Path | None = None, line: int | None = None) -> Record:
    """Parse one row of log version 0.2, or of 0.1, which is converted; a task has its name of TVM 0.8 and later.

    Raises
    ------
    NoConversionError
        The text is a well-formed row of 0.1 that can't be converted with certainty.
    InputError
        The text is not such a row; the message names `file` and `line`.
    """
    with _placed(file, line):
        if is_old_row(text):
            record = to_new(_parse(OldRow, text))
            lists = text.count("[") if isinstance(text, str) else text.count(b"[")
            if len(text) > SHORT_LINE or lists > _FLAT:
                check_readable(record.to_json(), LOG_VERSION)
            return record
        return with_todays_name(_parse(Record, text))


def check_readable(row: str, version: float) -> None:
    """Check that a converted row can be read again.

    Raises
    ------
    NoConversionError
        It is too long, or nested too deeply.
    """
    if len(row) > MAX_LINE:
        raise NoConversionError(f"in log version {version} the line would be longer than {MAX_LINE} bytes")
    try:
        from_json(row)
    except ValueError as error:
        raise NoConversionError(f"in log version {version} it would be nested too deeply") from error


def parse_old_row(text: str | bytes, *, file: str | Path | None = None, line: int | None = None) -> OldRow:
    """Parse one row of log version 0.1, without converting it.

    Raises
    ------
    InputError
        The text is not such a row; the message names `file` and `line`.
    """
    with _placed(file, line):
        return _parse(OldRow, text)


def is_old_row(text: str | bytes) -> bool:
    """Whether a row calls its input `i`, as log version 0.1 does, and not `input`."""
    data = text.encode() if isinstance(text, str) else text
    if b'"i"' not in data:
        return False
    if b'"input"' not in data:
        return True
    value = _loaded(data)  # one of the two is not a key, but elsewhere in the row
    return isinstance(value, dict) and "i" in value and "input" not in value


@contextmanager
def _placed(file: str | Path | None, line: int | None) -> Iterator[None]:
    """Add the place of a row to its errors."""
    try:
        yield
    except InputError as error:
        error.file, error.line = None if file is None else str(file), line
        raise


def _parse(model: type[_Row], text: str | bytes) -> _Row:
    """Parse a row into its model, and its target too, so that parsing that later can't fail."""
    if len(text) > MAX_LINE:
        raise RowError(_TOO_LONG, "length", remedy="delete the line")
    try:
        row = model.model_validate_json(text)
    except ValidationError as error:
        raise _explained(error, text) from error
    if _suspicious(text if isinstance(text, bytes) else text.encode()) and not finite(row.model_dump()):
        raise RowError("NaN and Infinity are not JSON numbers", "number", remedy=_REPAIR)
    target, version, known = (
        (row.i.target, row.v, OLD_LOG_VERSION)
        if isinstance(row, OldRow)
        else (row.input.target, row.version, LOG_VERSION)
    )
    if version != known:
        raise RowError(f"log version {version} is not supported", "version", remedy="versions 0.1 and 0.2 are")
    try:
        Target.parse(target)
    except InputError as error:
        raise RowError(error.message, "target", remedy=error.remedy) from error
    if len(text) > SHORT_LINE and len(row.to_json()) > MAX_LINE:
        raise RowError(_TOO_LONG, "length", remedy="delete the line")
    return row


def _explained(error: ValidationError, text: str | bytes) -> RowError:
    """Return an error for the first of pydantic's findings, with a remedy."""
    data = text if isinstance(text, bytes) else text.encode()
    if _is_pickled(text):
        return RowError("a pickled row, which is never unpickled", "pickle", remedy='log with `protocol="json"`')
    if data.startswith(codecs.BOM_UTF8):
        return RowError(
            "a byte order mark, at which AutoTVM clients stop", "encoding", remedy="save the file as UTF-8 without one"
        )
    if (tool := _other_tool(_loaded(data))) is not None:
        remedy = "only records of AutoTVM and of this project can be used"
        return RowError(f"this is a log of {tool}", "shape", remedy=remedy)
    finding = error.errors(include_url=False, include_context=False, include_input=False)[0]
    message, rule = finding["msg"], finding["type"]
    if b"\0" in data or (rule == "json_invalid" and not _is_text(data)):
        return RowError("binary data, and no log", "json", remedy="give the log itself")
    if rule == "json_invalid":
        return RowError(f"not a JSON row: {message.removeprefix('Invalid JSON: ')}", "json", remedy=_REPAIR)
    message = message if message[:2].isupper() else message[0].lower() + message[1:]
    if _suspicious(data) and not finite(_loaded(data)):
        message, rule = "NaN and Infinity are not JSON numbers", "number"
    sentence = ": ".join(["not a record", *_place(finding["loc"]), message])
    return RowError(sentence, rule if rule in ("cost", "knob", "number") else "shape", remedy=_REPAIR)


def _is_text(data: bytes) -> bool:
    """Return whether a line may be a row that was damaged."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.startswith(b"{")
    return True


def _loaded(data: bytes) -> Value:
    """Parse a JSON value, which may have NaN and Infinity; None if it is not JSON."""
    try:
        return from_json(data)
    except ValueError:
        return None


def _other_tool(value: Value) -> str | None:
    """Return which of TVM's other tuners writes such rows, None if none does.

    Source: `auto_scheduler/measure_record.cc` and `meta_schedule/database/json_database.cc` of TVM 0.8 to 0.16.
    """
    if isinstance(value, dict) and isinstance(value.get("v"), str) and {"i", "r"} <= value.keys():
        return "Ansor, TVM's auto-scheduler"
    if isinstance(value, list) and len(value) == len(["workload", "record"]):
        first, second = value
        if type(first) is int and isinstance(second, list):
            return "MetaSchedule (its tuning records)"
        if isinstance(first, str) and isinstance(second, str):
            return "MetaSchedule (its workloads)"
    return None


def _place(steps: tuple[int | str, ...]) -> list[str]:
    """Name the place in a row: `result.costs.0`; empty for the row itself."""
    if not steps:
        return []
    fields: tuple[str, ...] = _FIELDS.get(str(steps[0]), ())
    if fields and len(steps) > 1 and isinstance(steps[1], int) and steps[1] < len(fields):
        steps = (steps[0], fields[steps[1]], *steps[2:])
    return [".".join(map(str, steps))]


def _suspicious(text: bytes) -> bool:
    """Whether a row may contain NaN or Infinity, which pydantic accepts: only then are its numbers checked."""
    return b"NaN" in text or b"Infinity" in text or _HUGE.search(text) is not None


def _is_pickled(text: str | bytes) -> bool:
    """Whether a row looks like AutoTVM's pickle protocol: a target and base64 data, separated by tabs."""
    words = (text.encode() if isinstance(text, str) else text).split(b"\t", max(_PICKLE_TABS) + 1)
    return len(words) - 1 in _PICKLE_TABS and all(_BASE64.fullmatch(word) for word in words[1:4])


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


class LogAppender:
    """A log that grows row by row during tuning; each row is on disk when `append` returns.

    When a log is opened again, a row that a crash truncated is removed, and a complete last row without a line
    break gets one. Only one process at a time can append to a log.

    Parameters
    ----------
    path
        The log; it is created if it is missing.

    Raises
    ------
    UsageError
        See `files.check_place`.
    EnvironmentFailure
        The disk is full, the file can't be written, or another process appends to it.
    InputError
        The end of the file is neither a row nor the beginning of one: the file is not a log.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        check_place(self.path)
        try:
            self._file = self.path.open("ab+", buffering=0)
        except OSError as error:
            raise self._failure(error) from error
        try:
            self._lock()
            self._mend_last_row()
        except OSError as error:
            self._file.close()
            raise self._failure(error) from error
        except TophubError:
            self._file.close()
            raise

    def _lock(self) -> None:
        """Keep others from appending until the file is closed, if files can be locked."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            remedy = "wait for it to finish, or choose another file for the records"
            raise EnvironmentFailure(
                "another process is appending to this log", file=self.path, remedy=remedy
            ) from error
        except OSError:  # a file system without locks
            return

    def _mend_last_row(self) -> None:
        """Make the file end with a line break, so that the next row starts a line."""
        self._file.seek(0)
        if self._file.read(2) == _GZIP:
            raise InputError("a gzipped log can't be appended to", file=self.path, remedy="unpack it")
        end = self._file.seek(0, os.SEEK_END)
        start = max(0, end - MAX_LINE - 1)
        self._file.seek(start)
        tail = self._file.read()
        torn = tail[tail.rfind(b"\n") + 1 :]
        if not torn:
            return
        if not torn.startswith((b"{", b"#")) or len(torn) > MAX_LINE:
            raise InputError(
                "the file does not end like a log", file=self.path, remedy="choose another file for the records"
            )
        if torn.startswith(b"#") or _is_record(torn):
            self._write(b"\n")
        else:
            self._file.truncate(end - len(torn))

    def append(self, records: Iterable[Record]) -> None:
        """Append records and sync them to disk; if that fails, the log is unchanged."""
        rows = b"".join(record.to_json().encode() + b"\n" for record in records)
        end = self._file.seek(0, os.SEEK_END)
        try:
            self._write(rows)
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(end)
            raise self._failure(error) from error

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def _failure(self, error: OSError) -> EnvironmentFailure:
        return EnvironmentFailure(f"can't be written: {error.strerror or error}", file=self.path)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_record(text: bytes) -> bool:
    try:
        parse_record(text)
    except InputError:
        return False
    return True
