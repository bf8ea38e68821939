"""The project's errors: one small family, each with the place in the input and a remedy.

The class decides the exit code of the command line: 1 the input is at fault, 2 the command was misused,
3 the environment failed (network, disk, device, a missing extra).
"""

from __future__ import annotations

import json
import re
import sys
from contextlib import suppress
from pathlib import Path

LONGEST = 2000
"""How many characters of a message or a remedy are kept: either may quote a file that anybody wrote."""


def one_line(text: str, longest: int = LONGEST) -> str:
    """Return a text as one printable line: line breaks become spaces, other control characters are spelled out."""
    text = text if len(text) <= longest else text[:longest] + "…"
    if text.isprintable():
        return text
    text = re.sub(r"[ \t]*[\r\n\t]\s*", " ", text.strip())
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


class TophubError(Exception):
    """The base class of this project's errors, each of which is shown as one line.

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
        self.message = one_line(message)
        self.file = None if file is None else str(file)
        self.line = line
        self.remedy = None if remedy is None else one_line(remedy)
        super().__init__(self.message, self.file, line, self.remedy)

    def __str__(self) -> str:
        place = "" if self.file is None else one_line(self.file, len(self.file))
        place += "" if self.file is None else (f":{self.line}" if self.line else "") + ": "
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


class MissingExtra(EnvironmentFailure, ImportError):  # noqa: N818  # the name says what is wrong
    """An optional dependency that is needed here is not installed.

    Parameters
    ----------
    extra
        The name of the extra, as `pip install "tophub-registry[extra]"` takes it.
    cause
        What failed to import.
    needed_by
        What needs it, for example a command.
    """

    def __init__(self, extra: str, cause: ImportError, *, needed_by: str = "this") -> None:
        self.extra = extra
        self.cause = cause
        self.needed_by = needed_by
        name = f"{cause.name!r} is not installed" if cause.name and isinstance(cause, ModuleNotFoundError) else cause
        super().__init__(f"{needed_by} needs the extra [{extra}]: {name}", remedy=_how_to_install(extra))
        self.name, self.path = cause.name, cause.path

    def __reduce__(self) -> tuple[object, ...]:
        return (_missing, (self.extra, self.cause, self.needed_by))


def _missing(extra: str, cause: ImportError, needed_by: str) -> MissingExtra:
    return MissingExtra(extra, cause, needed_by=needed_by)


_DISTRIBUTION = "tophub-registry"

_MXNET_ENDS = (3, 13)
"""The first Python that MXNet 1.9.1 does not run on: it needs NumPy 1."""


def _how_to_install(extra: str) -> str:
    """Return the command that installs an extra, or why it can't be installed."""
    command = f'pip install "{_project()}[{extra}]"'
    if extra == "mxnet" and sys.version_info >= _MXNET_ENDS:
        here = ".".join(map(str, sys.version_info[:2]))
        return f"MXNet needs Python 3.12 or older, and this is Python {here}; with an older one: {command}"
    return command


def _project() -> str:
    """Return the project as `pip install` takes it here: a checkout if there is one, else its name.

    The checkout is the working directory, or the folder that this package was installed from.
    """
    here = Path.cwd()
    with suppress(OSError):
        if f'name = "{_DISTRIBUTION}"' in (here / "pyproject.toml").read_text(encoding="utf-8").splitlines():
            return "."
    folder = _installed_from()
    return _DISTRIBUTION if folder is None else str(folder)


def _installed_from() -> Path | None:
    """Return the folder that pip installed this package from, if it did so and the folder still exists (PEP 610)."""
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.parse import unquote, urlsplit

    try:
        origin = json.loads(distribution(_DISTRIBUTION).read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return None
    if "dir_info" not in origin:
        return None
    folder = Path(unquote(urlsplit(origin["url"]).path))
    return folder if (folder / "pyproject.toml").is_file() else None
