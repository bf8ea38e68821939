"""The attributes of MXNet's operators, stored as text in symbol files: `{"kernel": "(3, 3)", "no_bias": "True"}`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tophub_registry.tasks.layers import Shape


@dataclass(frozen=True)
class Attributes:
    """The attributes of a node."""

    text: Mapping[str, str]

    def numbers(self, name: str, default: Shape = ()) -> Shape:
        """Return a tuple of whole numbers: `(1, 1)`, `[1, 1]` and Python 2's `(1L, 1L)` are the same."""
        return tuple(map(int, re.findall(r"-?\d+", self.text.get(name, "")))) or default

    def number(self, name: str, default: int) -> int:
        """Return a whole number."""
        return self.numbers(name, (default,))[0]

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a truth value."""
        text = self.text.get(name)
        return default if text is None else text.lower() in ("true", "1")

    def word(self, name: str, default: str) -> str:
        """Return a word; None for the default."""
        text = self.text.get(name, "None")
        return default if text == "None" else text
