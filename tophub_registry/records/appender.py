"""Appends records to a log during tuning, so that a crash loses none."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tophub_registry.errors import EnvironmentFailure, InputError, TophubError
from tophub_registry.files import check_place
from tophub_registry.records.log import GZIP
from tophub_registry.records.rows import MAX_LINE, parse_record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Self

    from tophub_registry.records.record import Record


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
        if self._file.read(2) == GZIP:
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
