"""Rows that can't be converted from one log version to the other."""

from __future__ import annotations

from dataclasses import dataclass

from tophub_registry.errors import InputError


class NoConversionError(InputError):
    """A well-formed row that can't be converted with certainty; the message says why."""


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
