"""What a check says, and how it is run so that it can't stop the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from tophub_registry.errors import TophubError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Level = Literal["ok", "warning", "error"]


class Check(NamedTuple):
    """One line of the doctor's.

    Attributes
    ----------
    topic
        What it is about: `root`, `tvm`, `threads`.
    level
        `ok`, `warning` if something works less well than it could, `error` if something does not work.
    message
        What was found.
    remedy
        What to do about it.
    """

    topic: str
    level: Level
    message: str
    remedy: str | None = None


def run(topic: str, check: Callable[[], Iterable[Check]]) -> list[Check]:
    """Return what a check says; what it raises is an error of its topic, after what it has said."""
    said: list[Check] = []
    try:
        said.extend(check())
    except TophubError as error:
        place = f"{error.file}: " if error.file else ""
        said.append(Check(topic, "error", place + error.message, error.remedy))
    except Exception as error:  # noqa: BLE001  # whatever is broken here must not hide the rest
        said.append(Check(topic, "error", " ".join(f"can't be checked: {type(error).__name__}: {error}"[:400].split())))
    return said
