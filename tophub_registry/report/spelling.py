"""Printable text, and the values of knobs, on the page."""

from __future__ import annotations

import json

from tophub_registry.records.record import Value

_LONGEST_VALUE = 80


def printable(text: str) -> str:
    """Return text with its control characters, those for the direction of writing included, replaced."""
    return text if text.isprintable() else "".join(each if each.isprintable() else "\ufffd" for each in text)


def shortened(value: Value) -> str:
    """Return a knob's value or a message, shortened to fit into a table."""
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
