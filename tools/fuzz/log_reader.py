"""The log reader: what it accepts is written and read again as the same, by every way of reading, and counted."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

from tophub_registry.errors import InputError
from tophub_registry.records.appender import LogAppender
from tophub_registry.records.audit import audit
from tophub_registry.records.fitness import Policy, refusal
from tophub_registry.records.log import Line, Row, parse_row, read_lines, read_rows
from tophub_registry.records.record import Record
from tophub_registry.records.rows import parse_record
from tophub_registry.records.skim import Skimmer
from tophub_registry.records.summary import summarise
from tophub_registry.records.task import describe
from tophub_registry.records.validate import RULES, validate_log
from tophub_registry.records.withdrawal import withdrawals

from .harness import MAX_MESSAGE, Harness, Raw, check_message, expect, tried
from .mutation import mutate_log
from .seeds import WORDS, logs, rows


def check(data: bytes, folder: Path) -> None:
    """Read a log in every way."""
    path = folder / "x.log"
    path.write_bytes(data)
    lines = tried(lambda: list(read_lines(path)))
    validation = tried(validate_log, path)
    expect((lines is None) == (validation is None), "a file can be read or not")
    if lines is None or validation is None:
        return
    good = _check_lines(lines, path)
    expect(validation.rows + validation.comments == len(lines), "validation counts every line")
    for finding in (*validation.findings, *filter(None, [validation.unfit])):
        expect(finding.rule in RULES or finding.rule in ("task", "row"), f"a rule that is known: {finding.rule}")
        said = f"{finding.message} {finding.remedy}"
        expect(said.isprintable(), f"findings are printable: {finding.rule}")
        expect(len(said) <= MAX_MESSAGE, f"findings are short: {finding.rule}")
    read = tried(lambda: list(read_rows(path)))
    expect(read is None or len(read) == len(lines), "a log that is read is read to its end")
    expect(read is None or read == good, "a log is its lines")
    tried(refusal, path, Policy())
    tried(lambda: withdrawals([path]))
    tried(lambda: summarise([path]))
    tried(lambda: audit([path]))
    _check_appending(path)


def _check_lines(lines: list[Line], path: Path) -> list[Row]:
    """Parse each line, by the parser and by the skimmer; return the rows."""
    skimmer, good = Skimmer(), []
    for line in lines:
        row = tried(parse_row, line, file=path)
        if row is not None:
            good.append(row)
        if not line.text.startswith(b"#"):
            _check_skimmed(skimmer, line, None if row is None else row.record, path)
        if row is not None and row.record is not None:
            _check_record(row.record, line)
    return good


def _check_record(record: Record, line: Line) -> None:
    written = record.to_json()
    again = parse_record(written)
    expect(again == record and again.to_json() == written, "a record that was written is read as the same")
    value = json.loads(line.text)
    if "input" in value:
        value["input"][1] = record.input.task  # today's name
        expect(_same(json.loads(written), value), "a record has all that its row has")
    expect(record.target == again.target, "a record's target")
    describe(record.input.task, record.input.args)


def _check_skimmed(skimmer: Skimmer, line: Line, record: Record | None, path: Path) -> None:
    skimmed = tried(skimmer.skim, line, path)
    expect((skimmed is None) == (record is None), "skimming and parsing accept the same rows")
    if skimmed is not None and record is not None:
        expect(
            (skimmed.key.target, skimmed.key.workload) == (record.target, record.workload),
            "skimming finds the workload",
        )
        expect(skimmed.cost == record.cost, "skimming finds the cost")
        expect(skimmed.failed != record.valid, "skimming finds failures")
        expect(skimmed.timestamp == record.result.timestamp, "skimming finds the time")
        expect(skimmed.threads == (record.tophub.threads if record.tophub else None), "skimming finds the threads")


def _check_appending(path: Path) -> None:
    """Check that mending a log's end for more rows loses nothing but a torn row."""
    before = path.read_bytes()
    try:
        LogAppender(path).close()
    except InputError as error:
        check_message(error)
        expect(path.read_bytes() == before, "what is refused is not changed")
        return
    after = path.read_bytes()
    whole = before[: before.rfind(b"\n") + 1]
    expect(after in (before, before + b"\n", whole), "opening a log for more rows changes its last line only")
    expect(not after or after.endswith(b"\n"), "a log that is appended to ends with a line break")


def _same(written: Any, read: Any) -> bool:
    """Whether two JSON values are the same, but for integers where a number is stored with a fraction."""
    if isinstance(written, dict) and isinstance(read, dict):
        return written.keys() == read.keys() and all(_same(written[key], read[key]) for key in read)
    if isinstance(written, list) and isinstance(read, list):
        return len(written) == len(read) and all(map(_same, written, read))
    if isinstance(written, float) and isinstance(read, int):
        return math.isclose(written, read, rel_tol=1e-15)
    return bool(written == read)


def mutate(data: bytes, size: int, chance: random.Random, raw: Raw) -> bytes:
    """Change a log as its lines suggest."""
    return mutate_log(data, size, chance, raw, WORDS, rows())


HARNESS = Harness(check, logs, mutate, WORDS)
