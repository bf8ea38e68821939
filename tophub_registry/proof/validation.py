"""The levels of validation: what each of them checks, and where its code is.

| level | checks | code |
| --- | --- | --- |
| `row` | each line by itself | `records.validate` |
| `space` | each config against its template's space | `templates.validation` |
| `log` | the lines together | `records.validate` |
| `replay` | each record, by measuring it again on this machine | `proof.replay` |

Each level includes those before it.
"""

from __future__ import annotations

from pathlib import Path

from tophub_registry.errors import UsageError
from tophub_registry.records.validate import RULES as ROW_AND_LOG_RULES
from tophub_registry.records.validate import Validation, validate_log
from tophub_registry.templates.validation import check_space

LEVELS = ("row", "space", "log", "replay")
"""The levels, each of which includes those before it."""


RULES = ROW_AND_LOG_RULES | {
    "space": "the config is not in its template's space",
    "index": "the index belongs to another config of the space",
    "replay": "the claimed cost does not hold on this machine, or the kernel is wrong or can't be measured",
    "cached": "the cost was claimed with weights in the cache, and measured with cold ones",
    "no-gain": "the record is no faster than AutoTVM's default config",
    "environment": "what a contribution says of its machine is not complete, or does not fit the records' target",
    "device": "records, environment and measurements of a contribution are not of one device",
    "peak": "a contribution's costs are faster than its device can be",
    "copied": "the record is published already, or is another's",
    "pairs": "a contribution's repeats in turns are missing, or do not support its costs",
    "single": "the cost rests on a single repeat",
    "answer": "an answer does not belong to the challenge and the contribution",
}
"""The rules of all levels."""

_LEVELS_OF_RULES = {
    "release": "failed package",
    "space": "space index",
    "log": "duplicate several targets devices unchanged",
    "replay": "replay cached no-gain",
    "contribution": "environment device peak copied pairs single answer",
}
LEVEL_OF = dict.fromkeys(RULES, "row") | {
    rule: level for level, rules in _LEVELS_OF_RULES.items() for rule in rules.split()
}
"""The level that checks a rule.

`release` is for what only matters to whether a log can be published, `contribution` for what is asked of one.
"""


def includes(level: str, other: str) -> bool:
    """Return whether a level includes another.

    Raises
    ------
    UsageError
        There is no such level.
    """
    if level not in LEVELS:
        raise UsageError(f"there is no level {level!r}", remedy=f"the levels are {', '.join(LEVELS)}")
    return LEVELS.index(level) >= LEVELS.index(other)


def validate(log: Path, level: str = "log", *, previous: Path | None = None) -> Validation:
    """Check a log without measuring; `proof.replay.replay_logs` adds the level `replay`.

    Parameters
    ----------
    log, previous
        As `records.validate.validate_log` takes them.
    level
        The level; `replay` is like `log` here.

    Raises
    ------
    InputError
        A file can't be read at all.
    UsageError
        There is no such level.
    """
    checks = (check_space,) if includes(level, "space") else ()
    return validate_log(log, together=includes(level, "log"), checks=checks, previous=previous)
