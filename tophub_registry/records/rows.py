"""Reads single rows of logs: records of log version 0.2, or of 0.1 and converted, and comments.

A row is untrusted text: its length is bounded, nothing is evaluated or unpickled. An error names the file, the line and
a remedy.
"""

from __future__ import annotations

import codecs
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json

from tophub_registry.errors import InputError
from tophub_registry.records.conversion import to_new
from tophub_registry.records.names import with_todays_name
from tophub_registry.records.old_row import OLD_LOG_VERSION, OldInput, OldRow
from tophub_registry.records.record import LOG_VERSION, Input, Record, Result, Value, finite
from tophub_registry.records.target import Target
from tophub_registry.records.unconvertible import NoConversionError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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

_FLAT = 150
"""With so many lists at most, no row is nested as deeply as JSON may be, 200 levels, nor will its conversion be."""

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


def parse_comment(text: bytes, *, file: str | Path | None = None, line: int | None = None) -> str:
    """Decode a comment; InputError if it is too long or not UTF-8, at which AutoTVM clients would stop."""
    if len(text) > MAX_LINE:
        raise RowError(_TOO_LONG, "length", file=file, line=line, remedy="delete the line")
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        remedy = "save the file as UTF-8"
        raise RowError("the comment is not UTF-8", "encoding", file=file, line=line, remedy=remedy) from error


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
