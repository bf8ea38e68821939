"""Edits: a text file before and after a change, so that the change can be shown before it is made."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tophub_registry.errors import EnvironmentFailure, InputError
from tophub_registry.files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Edit:
    """A change of one file.

    Attributes
    ----------
    path
        The file.
    before, after
        Its bytes, before and after the change.
    """

    path: Path
    before: bytes
    after: bytes

    def diff(self) -> str:
        """Return the change as a unified diff."""
        before, after = (
            data.decode("utf-8", "backslashreplace").splitlines(keepends=True) for data in (self.before, self.after)
        )
        return "".join(difflib.unified_diff(before, after, str(self.path), str(self.path), n=1))

    def apply(self) -> None:
        """Make the change, all or nothing.

        Raises
        ------
        InputError
            The file has changed since the edit was planned.
        EnvironmentFailure
            It can't be written.
        """
        path = self.path.resolve()  # a link stays one
        if read(path) != self.before:
            raise InputError("the file has changed meanwhile", file=self.path, remedy="try again")
        mode = path.stat().st_mode
        with atomic_write(path, overwrite=True) as stream:
            stream.write(self.after)
        path.chmod(mode)


def read(path: Path) -> bytes:
    """Read a file that must exist.

    Raises
    ------
    InputError
        It does not.
    EnvironmentFailure
        It can't be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError("no such file", file=path) from error
    except OSError as error:
        raise EnvironmentFailure(f"can't be read: {error.strerror or error}", file=path) from error
