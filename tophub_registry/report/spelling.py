"""How the page shows anybody's text, and the values of knobs."""

from __future__ import annotations

import html
import json

from tophub_registry.records.record import Value

_LONGEST_VALUE = 80


def escaped(value: str) -> str:
    """Return text as HTML, without the characters that steer a terminal or the direction of writing."""
    return html.escape("".join(character if character.isprintable() else "\ufffd" for character in value))


def shortened(value: Value) -> str:
    """Return a knob's value, or what somebody said, in at most so many characters as a table has room for."""
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
