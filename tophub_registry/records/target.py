"""Targets: TVM's classic target string, parsed, compared, and translated for today's TVM.

Logs keep the string as it was written, since old clients parse it; comparisons consider kind and options, in
any order. The grammar is that of `tvm.target.Target(str)` up to TVM 0.19: a kind, then `-key=value` or
`-key value` options and bare `-flag`s, separated by spaces; a value with spaces stands in single quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from tophub_registry.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGE = r"[a-z][a-z0-9_-]{0,63}"
"""A package name as a regular expression: without dots and slashes, so that it can't lead out of a folder."""

_WORD = re.compile(r"(?:[^\s']|'[^']*')+")
_OPTION = re.compile(r"-{1,2}(?P<key>[A-Za-z0-9][\w.-]*)(?:=(?P<value>.+))?", re.DOTALL)
_KIND = re.compile(r"[A-Za-z][\w.-]*")

# The option's name of TVM 0.6 and before, and today's.
_RENAMED = {"target": "mtriple"}

_LISTS = frozenset({"keys", "libs", "mattr"})

# An integer of 64 bits that is written in one way only: 007 and -0 are words.
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")


@dataclass(frozen=True)
class Target:
    """A parsed target.

    Attributes
    ----------
    kind
        `llvm`, `cuda`, `opencl`, …
    options
        Sorted pairs; a bare flag has the value "1".
    text
        The string as it was written; it is ignored by comparisons.
    """

    kind: str
    options: tuple[tuple[str, str], ...] = ()
    text: str = field(default="", compare=False)

    @staticmethod
    def parse(text: str) -> Target:
        """Parse a classic target string.

        Raises
        ------
        InputError
            The string is empty, has no kind, or a malformed option, or gives an option two values.
        """
        return _parse(text)

    def __str__(self) -> str:
        return self.text or " ".join([self.kind, *(f"-{key}={_quoted(value)}" for key, value in self.options)])

    @property
    def attributes(self) -> Mapping[str, str]:
        """The options by name."""
        return dict(self.options)

    @property
    def model(self) -> str:
        """The device model, `unknown` if the target gives none, as in TVM."""
        return self.attributes.get("model", "unknown")

    def with_option(self, key: str, value: str) -> Target:
        """Return the same target with an option added or changed."""
        return Target(self.kind, tuple(sorted({**self.attributes, key: value}.items())))

    def as_dict(self) -> dict[str, object]:
        """Return the dict that `tvm.target.Target` takes since TVM 0.20, which no longer parses strings."""
        result: dict[str, object] = {"kind": self.kind}
        for key, value in self.options:
            if key in _LISTS:
                result[key] = value.split(",")
            elif _INTEGER.fullmatch(value):
                result[key] = int(value)
            else:
                result[key] = value
        return result


@lru_cache(maxsize=4096)
def _parse(text: str) -> Target:
    words = _WORD.findall(text)
    if not words or not _KIND.fullmatch(words[0]) or text.count("'") % 2:
        raise InputError(f"not a target: {text[:80]!r}", remedy="a target reads like 'llvm -mcpu=znver4'")
    options: dict[str, str] = {}
    for word in _options(words[1:]):
        match = _OPTION.fullmatch(word)
        if match is None or match["key"] == "kind":  # today's TVM calls the kind itself so
            raise InputError(f"{word[:80]!r} in the target {text[:80]!r} is not an option", remedy="write -key=value")
        key = _RENAMED.get(match["key"], match["key"])
        value = _unquoted(match["value"] or "1")
        if options.setdefault(key, value) != value:
            raise InputError(f"the target {text[:80]!r} gives -{key} twice", remedy="keep one of the two")
    return Target(words[0], tuple(sorted(options.items())), text)


def _options(words: list[str]) -> list[str]:
    """Join `-key value` to `-key=value`."""
    joined: list[str] = []
    for word in words:
        if not word.startswith("-") and joined and "=" not in joined[-1]:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _quoted(value: str) -> str:
    """Quote a value unless it is read as it is: quotes inside it may enclose spaces already."""
    return value if _WORD.fullmatch(value) and _unquoted(value) == value else f"'{value}'"


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == "'" else value
