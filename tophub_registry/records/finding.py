"""A finding: one thing about one line of a log, with its rule and the way out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing about one line.

    Attributes
    ----------
    rule
        The rule's name; `RULES` has those of the levels row and log.
    message
        What is the matter.
    severity
        An error makes the log unfit to be published; a warning does not; a note is counted by itself.
    remedy
        What can be done.
    file, line
        Where; filled in by the validation for checks that see a record only.
    """

    rule: str
    message: str
    severity: Literal["error", "warning", "note"] = "error"
    remedy: str | None = None
    file: str = ""
    line: int = 0
