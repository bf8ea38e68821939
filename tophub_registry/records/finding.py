"""A finding: a problem in a line of a log, with its rule and a remedy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """A problem in a line, or in a log as a whole.

    Attributes
    ----------
    rule
        The rule's name; `RULES` has those of the levels row and log.
    message
        What is wrong.
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
