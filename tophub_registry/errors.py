"""The project's errors: one small family, each with the place in the input and a remedy.

The class decides the exit code of the command line: 1 the input is at fault, 2 the command was misused,
3 the environment failed (network, disk, device, a missing extra).
"""

from __future__ import annotations

from pathlib import Path


class TophubError(Exception):
    """The base class of this project's errors.

    Parameters
    ----------
    message
        What is wrong, in one sentence without a full stop.
    file, line
        Where; lines are counted from 1.
    remedy
        What the user can do about it.
    """

    exit_code = 1

    def __init__(
        self, message: str, *, file: str | Path | None = None, line: int | None = None, remedy: str | None = None
    ) -> None:
        self.message = message
        self.file = None if file is None else str(file)
        self.line = line
        self.remedy = remedy
        super().__init__(message, self.file, line, remedy)

    def __str__(self) -> str:
        place = "" if self.file is None else self.file + (f":{self.line}" if self.line else "") + ": "
        return place + self.message + (f" ({self.remedy})" if self.remedy else "")

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and errors cross process boundaries.
        return (_rebuild, (type(self), self.message, self.file, self.line, self.remedy))


def _rebuild(kind: type[TophubError], message: str, file: str | None, line: int | None, remedy: str | None) -> object:
    return kind(message, file=file, line=line, remedy=remedy)


class InputError(TophubError):
    """A file or a record is invalid."""


class UsageError(TophubError):
    """The command or call asks for something that does not exist, or for things that exclude each other."""

    exit_code = 2


class EnvironmentFailure(TophubError):  # noqa: N818  # EnvironmentError is taken by Python
    """The network, the disk, the device or the installation fails."""

    exit_code = 3


class MissingExtra(EnvironmentFailure):
    """An optional dependency that is needed here is not installed.

    Parameters
    ----------
    extra
        The name of the extra, as `pip install "tophub-registry[extra]"` takes it.
    cause
        What failed to import.
    """

    def __init__(self, extra: str, cause: ImportError) -> None:
        self.extra = extra
        self.cause = cause
        name = f"{cause.name!r} is not installed" if cause.name and isinstance(cause, ModuleNotFoundError) else cause
        super().__init__(f"this needs the extra [{extra}]: {name}", remedy=f'pip install "tophub-registry[{extra}]"')

    def __reduce__(self) -> tuple[object, ...]:
        return (MissingExtra, (self.extra, self.cause))
