"""Rows that can't be converted from one log version to the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tophub_registry.errors import InputError, one_line

_LONGEST = 500
"""Characters of a reason that are kept: it may quote a whole target."""


class NoConversionError(InputError):
    """A well-formed row that can't be converted with certainty; the message says why."""

    def __init__(self, message: str, **place: Any) -> None:
        super().__init__(one_line(message, _LONGEST), **place)


@dataclass(frozen=True)
class UnconvertibleRow:
    """A row that could not be converted.

    Attributes
    ----------
    file, line
        Where.
    reason
        Why not.
    """

    file: str
    line: int
    reason: str
