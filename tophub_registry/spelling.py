"""How numbers and times are written for people: in tables, messages and pages."""

from __future__ import annotations

from datetime import datetime, timezone

_DIGITS = 3


def number(value: float | None) -> str:
    """Return a number with three digits, or all of a large one; empty for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 10 ** (_DIGITS - 1) else f"{value:.{_DIGITS}g}"


def counted(count: int, thing: str) -> str:
    """Spell how many things there are: `1 task`, `2 tasks`."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def percent(share: float | None) -> str:
    """Return a share as a percentage; empty for None."""
    return "" if share is None else f"{share:.1%}"


def seconds(cost: float | None) -> str:
    """Return a cost, given in seconds, in s, ms or µs; empty for None."""
    if cost is None:
        return ""
    unit, size = next(((unit, size) for unit, size in (("s", 1.0), ("ms", 1e-3)) if cost >= size), ("µs", 1e-6))
    return f"{number(cost / size)} {unit}"


def size(count: int) -> str:
    """Return a number of bytes in kB, MB or GB."""
    unit, part = next(((unit, part) for unit, part in (("GB", 1e9), ("MB", 1e6)) if count >= part), ("kB", 1e3))
    return f"{number(count / part)} {unit}"


def duration(seconds: float | None) -> str:
    """Return seconds as hours, minutes and seconds; empty for None."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def day(timestamp: float | None) -> str:
    """Return the day, in UTC, of a time in seconds since 1970; empty for None."""
    if timestamp is None:
        return ""
    try:
        return datetime.fromtimestamp(timestamp, timezone.utc).date().isoformat()
    except (OverflowError, OSError, ValueError):
        return "no date"


def minute(timestamp: float) -> str:
    """Return the day and minute, in UTC, of a time in seconds since 1970."""
    try:
        return datetime.fromtimestamp(timestamp, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, OSError, ValueError):
        return "no date"


def days(oldest: float | None, newest: float | None) -> str:
    """Return the days of two times, or the one day of both."""
    return " to ".join(dict.fromkeys(filter(None, (day(oldest), day(newest)))))
