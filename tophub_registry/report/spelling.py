"""How the page spells values, numbers and times."""

from __future__ import annotations

import json
from datetime import datetime, timezone

from tophub_registry.records.record import Value

_LONGEST_VALUE = 80
_DIGITS = 3


def printable(text: str) -> str:
    """Return text without the characters that steer a terminal or the direction of writing."""
    return text if text.isprintable() else "".join(each if each.isprintable() else "\ufffd" for each in text)


def shortened(value: Value) -> str:
    """Return a knob's value, or what somebody said, in at most so many characters as a table has room for."""
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def number(value: float | None) -> str:
    """Return a number with three digits; empty where there is none."""
    return "" if value is None else f"{value:,.0f}" if value >= 10**_DIGITS else f"{value:.{_DIGITS}g}"


def percent(share: float | None) -> str:
    """Return a share in per cent; empty where there is none."""
    return "" if share is None else f"{share:.0%}"


def seconds(cost: float | None) -> str:
    """Return a cost, in seconds, in a unit that fits it; empty where there is none."""
    if cost is None:
        return ""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if cost >= size:
            return f"{cost / size:.4g} {unit}"
    return f"{cost / 1e-6:.4g} µs"


def duration(seconds: float | None) -> str:
    """Return seconds as hours, minutes and seconds; empty where there are none."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def days(*times: float) -> str:
    """Return the days of times in seconds since 1970, each once; empty where one of them is no time."""
    try:
        spelled = [datetime.fromtimestamp(time, timezone.utc).date().isoformat() for time in times]
    except (OverflowError, OSError, ValueError):
        return ""
    return " to ".join(dict.fromkeys(spelled))
