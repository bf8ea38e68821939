"""Formatting of values, numbers and times on the page."""

from __future__ import annotations

import json
from datetime import datetime, timezone

from tophub_registry.records.record import Value

_LONGEST_VALUE = 80
_DIGITS = 3


def printable(text: str) -> str:
    """Return text with its control characters, those for the direction of writing included, replaced."""
    return text if text.isprintable() else "".join(each if each.isprintable() else "\ufffd" for each in text)


def shortened(value: Value) -> str:
    """Return a knob's value or a message, shortened to fit into a table."""
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def number(value: float | None) -> str:
    """Return a number with three digits; empty for None."""
    return "" if value is None else f"{value:,.0f}" if value >= 10**_DIGITS else f"{value:.{_DIGITS}g}"


def percent(share: float | None) -> str:
    """Return a share as a percentage; empty for None."""
    return "" if share is None else f"{share:.0%}"


def seconds(cost: float | None) -> str:
    """Return a cost, given in seconds, in s, ms or µs; empty for None."""
    if cost is None:
        return ""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if cost >= size:
            return f"{cost / size:.4g} {unit}"
    return f"{cost / 1e-6:.4g} µs"


def duration(seconds: float | None) -> str:
    """Return seconds as hours, minutes and seconds; empty for None."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def days(*times: float) -> str:
    """Return the dates of times in seconds since 1970, each once; empty if one of them is out of range."""
    try:
        spelled = [datetime.fromtimestamp(time, timezone.utc).date().isoformat() for time in times]
    except (OverflowError, OSError, ValueError):
        return ""
    return " to ".join(dict.fromkeys(spelled))
