"""A finding: a problem in a line of a log, with its rule and a remedy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tophub_registry.errors import one_line


@dataclass(frozen=True)
class Finding:
    """A problem in a line, or in a log as a whole.

    Attributes
    ----------
    rule
        The rule's name; `RULES` has those of the levels row and log.
    message
        What is wrong, made one printable line: it may quote a file that anybody wrote.
    severity
        An error makes the log unfit to be published, a warning does not; notes are counted separately.
    remedy
        What can be done.
    file, line
        Where, 0 for the log as a whole; filled in by the validation for checks that see only a record.
    """

    rule: str
    message: str
    severity: Literal["error", "warning", "note"] = "error"
    remedy: str | None = None
    file: str = ""
    line: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", one_line(self.message))
