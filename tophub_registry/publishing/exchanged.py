"""What contributor and maintainer send each other, told apart: a file in another's place is named, with its next step.

A log becomes a bundle, which the maintainer draws a challenge from, which the contributor answers.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Literal

from tophub_registry.errors import InputError

Kind = Literal["log", "bundle", "challenge", "answer"]

_WHAT_IT_IS: dict[Kind, str] = {
    "log": "a log",
    "bundle": "a contribution's bundle",
    "challenge": "a maintainer's challenge",
    "answer": "the answer to a challenge",
}

_NEXT: dict[Kind, str] = {
    "log": "`tophub contribute {}` makes a bundle of it",
    "bundle": "send it to the maintainer, whose challenge `--answer` takes",
    "challenge": "`tophub contribute --answer {}` answers it",
    "answer": "send it to the maintainer",
}

_MAX = 16 << 20


def check_kind(path: Path, wanted: Kind) -> None:
    """Check that a file is not another of the exchanged ones; what it is otherwise, its reader finds out.

    Raises
    ------
    InputError
        It is; the error says what to do with it.
    """
    kind = _kind(path)
    if kind is not None and kind != wanted:
        message = f"this is {_WHAT_IT_IS[kind]}, and not {_WHAT_IT_IS[wanted]}"
        raise InputError(message, file=path, remedy=_NEXT[kind].format(path.name))


def _kind(path: Path) -> Kind | None:
    """Return which of them a file is; None if it is none, or can't be read."""
    with suppress(OSError, ValueError, RecursionError):
        with path.open("rb") as stream:
            data = stream.read(_MAX)
        if data.startswith(b"PK\3\4"):
            return "bundle"
        if data.startswith((b"#", b'{"input"', b'{"i"')):
            return "log"
        content = json.loads(data)
        if isinstance(content, dict) and "nonce" in content:
            return "challenge" if "drawn" in content else "answer"
    return None
