"""Converting a log from one log version to the other, row by row, in order, with its comments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic_core import from_json

from tophub_registry.files import atomic_write
from tophub_registry.records.conversion import to_old
from tophub_registry.records.log import parse_row, read_lines
from tophub_registry.records.names import for_tvm_0_7
from tophub_registry.records.old_row import OLD_LOG_VERSION
from tophub_registry.records.record import LOG_VERSION, Record
from tophub_registry.records.rows import check_readable, is_old_row, parse_comment, parse_old_row
from tophub_registry.records.unconvertible import NoConversionError, UnconvertibleRow

if TYPE_CHECKING:
    from pathlib import Path

    from tophub_registry.records.log import Line

_MAX_LEFT_OUT = 1000


@dataclass(frozen=True)
class ConvertReport:
    """The result of a conversion: `read = converted + unchanged + unconvertible`.

    Attributes
    ----------
    read
        Rows, without comments.
    converted
        Rows written in the other log version.
    unchanged
        Rows that had that version already.
    unconvertible
        Rows that were not written, because they can't be converted with certainty.
    left_out
        The first thousand of these, and why.
    comments
        Comment lines, all of them written.
    """

    read: int
    converted: int
    unchanged: int
    unconvertible: int
    left_out: tuple[UnconvertibleRow, ...]
    comments: int


def convert_log(path: Path, output: Path, *, to: float = LOG_VERSION, for_0_7: bool = False) -> ConvertReport:
    """Convert a log, all or nothing.

    Parameters
    ----------
    path
        The log, of either version or a mixture, gzipped or not.
    output
        The log to write; an existing file is never overwritten.
    to
        The log version to write, 0.2 or 0.1.
    for_0_7
        Whether tasks get the names and arguments by which TVM 0.7 looks them up; only for log version 0.2.

    Raises
    ------
    InputError
        The log can't be read or has a line that is not a record; nothing was written.
    UsageError
        `output` exists already.
    EnvironmentFailure
        `output` can't be written.
    """
    comments = converted = unchanged = unconvertible = 0
    left_out: list[UnconvertibleRow] = []
    with atomic_write(output) as stream:
        for line in read_lines(path):
            if line.text.startswith(b"#"):
                comments += 1
                text = parse_comment(line.text, file=path, line=line.number).encode()
            elif to == OLD_LOG_VERSION and is_old_row(line.text):
                unchanged += 1
                parse_old_row(line.text, file=path, line=line.number)
                text = line.text
            else:
                try:
                    text = _converted(line, path, to, for_0_7=for_0_7)
                except NoConversionError as error:
                    unconvertible += 1
                    if len(left_out) < _MAX_LEFT_OUT:
                        left_out.append(UnconvertibleRow(str(path), line.number, error.message))
                    continue
                if text == line.text:
                    unchanged += 1
                else:
                    converted += 1
            stream.write(text + b"\n")
    read = converted + unchanged + unconvertible
    return ConvertReport(read, converted, unchanged, unconvertible, tuple(left_out), comments)


def _converted(line: Line, file: Path, to: float, *, for_0_7: bool) -> bytes:
    """Return a converted row; one that needs no conversion keeps its spelling."""
    record = parse_row(line, file=file).record
    assert record is not None, "a comment is not a row"  # noqa: S101  # for the type checker
    if to == OLD_LOG_VERSION:
        text = to_old(record).to_json()
        check_readable(text, OLD_LOG_VERSION)
        return text.encode()
    wanted = for_tvm_0_7(record) if for_0_7 else record
    return line.text if _says(line.text, wanted) else wanted.to_json().encode()


def _says(text: bytes, record: Record) -> bool:
    return not is_old_row(text) and from_json(text).get("input") == list(record.input)
