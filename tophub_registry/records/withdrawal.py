"""Withdrawing records: a record that is fast but wrong would win every merge, so the log excludes it for good.

A withdrawal is a comment, which AutoTVM clients skip and merging keeps: `# withdrawn: {"target": …, "task": …,
"args": …, "kwargs": …, "entity": …, "reason": …, "on": …}`. If any of the merged logs has it, the record
is left out, and the comment is kept in every later version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tophub_registry.errors import InputError, UsageError
from tophub_registry.files import atomic_write
from tophub_registry.records.families import keyed
from tophub_registry.records.log import parse_row, read_lines
from tophub_registry.records.record import Record, workload_key
from tophub_registry.records.rows import parse_comment
from tophub_registry.records.target import Target

_START = "# withdrawn: "

Identity = tuple[Target, str, str]
"""Target, workload and config: a record without its costs."""


@dataclass(frozen=True)
class Withdrawal:
    """A record that must not be published any more.

    Attributes
    ----------
    identity
        The record's.
    reason
        Why, in a sentence.
    comment
        The log's line.
    """

    identity: Identity
    reason: str
    comment: str


def identity(record: Record) -> Identity:
    """Return a record's identity; a family among the target's keys makes no difference."""
    entity = [list(knob) for knob in record.config.entity]
    return keyed(record.target), record.workload, json.dumps(entity)


def withdrawal(record: Record, reason: str) -> Withdrawal:
    """Return the withdrawal of a record; UsageError if the reason is empty or has a line break."""
    if not reason.strip() or not reason.isprintable():
        raise UsageError(
            "the reason must be one line of text", remedy="--reason TEXT says why nobody should use the record"
        )
    target, task, args, kwargs = record.input
    said = {
        "target": target,
        "task": task,
        "args": args,
        "kwargs": kwargs,
        "entity": [list(knob) for knob in record.config.entity],
        "reason": reason,
        "on": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
    }
    return Withdrawal(identity(record), reason, _START + json.dumps(said))


def withdrawn_in(comment: str) -> Withdrawal | None:
    """Return what a comment withdraws; None if it is another comment."""
    if not comment.startswith(_START):
        return None
    try:
        said: dict[str, Any] = json.loads(comment.removeprefix(_START))
        target = keyed(Target.parse(said["target"]))
        workload = workload_key(said["task"], said["args"], said["kwargs"])
        return Withdrawal((target, workload, json.dumps(said["entity"])), str(said["reason"]), comment)
    except (ValueError, KeyError, TypeError, InputError):
        return None


def withdrawals(logs: Iterable[str | Path]) -> dict[Identity, Withdrawal]:
    """Return everything that some logs withdraw; InputError if one can't be read."""
    found = {}
    for log in logs:
        for line in read_lines(log):
            if line.text.startswith(_START.encode()):
                withdrawal = withdrawn_in(parse_comment(line.text, file=log, line=line.number))
                if withdrawal is not None:
                    found[withdrawal.identity] = withdrawal
    return found


def withdraw(log: Path, lines: Iterable[int], reason: str, output: Path) -> list[Withdrawal]:
    """Write a copy of a log without some of its records, which it marks as withdrawn.

    Parameters
    ----------
    log
        The log; it is not changed.
    lines
        The records' lines, counted from 1.
    reason
        Why.
    output
        The log to write; an existing file is never overwritten.

    Raises
    ------
    UsageError
        A line is not a record, the reason is empty, or `output` exists.
    InputError
        The log can't be read.
    """
    wanted = set(lines)
    made: list[Withdrawal] = []
    kept: list[bytes] = []
    for line in read_lines(log):
        record = parse_row(line, file=log).record if line.number in wanted else None
        if record is None:
            kept.append(line.text)
        else:
            wanted.discard(line.number)
            made.append(withdrawal(record, reason))
    if wanted:
        raise UsageError(
            f"line {min(wanted)} is not a record", file=log, remedy="lines are counted from 1, comments included"
        )
    gone = {each.identity for each in made}
    with atomic_write(output) as stream:
        for each in made:
            stream.write(each.comment.encode() + b"\n")
        for text in kept:
            if text.startswith(b"#") or identity(_record(text, log)) not in gone:
                stream.write(text + b"\n")
    return made


def _record(text: bytes, log: Path) -> Record:
    from tophub_registry.records.rows import parse_record

    return parse_record(text, file=log)
