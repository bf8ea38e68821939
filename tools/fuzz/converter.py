"""The converter: what it writes can be read, is valid, stays as it is when converted again, and converts back."""

from __future__ import annotations

import json
import random
from functools import partial
from pathlib import Path

from tophub_registry.records.conversion import to_old
from tophub_registry.records.convert import ConvertReport, convert_log
from tophub_registry.records.log import Line, read_lines
from tophub_registry.records.old_row import OLD_LOG_VERSION, OldRow
from tophub_registry.records.record import LOG_VERSION
from tophub_registry.records.rows import is_old_row, parse_old_row, parse_record
from tophub_registry.records.validate import validate_log

from .harness import Harness, Raw, expect, tried
from .mutation import mutate_log
from .seeds import WORDS, logs, rows


def check(data: bytes, folder: Path) -> None:
    """Convert a log to each version, again, and back."""
    path = folder / "x.log"
    path.write_bytes(data)
    for number, (version, for_0_7) in enumerate([(LOG_VERSION, False), (OLD_LOG_VERSION, False), (LOG_VERSION, True)]):
        convert = partial(convert_log, to=version, for_0_7=for_0_7)
        output, again = folder / f"{number}.log", folder / f"{number}-again.log"
        report = tried(convert, path, output)
        expect((report is None) != output.exists(), "a log is converted, or there is none")
        if report is None:
            continue
        _check_report(report, path, output)
        second = tried(convert, output, again)
        expect(second is not None, f"what was converted to {version} can be converted again")
        expect(second is None or not second.converted, f"converting to {version} again converts nothing")
        expect(again.read_bytes() == output.read_bytes(), f"converting to {version} twice gives the same")
        validation = validate_log(output)
        expect(not validation.findings or not _broken(validation.findings), f"what was converted to {version} is valid")
    for line in read_lines(path) if (folder / "0.log").exists() else ():
        if not line.text.startswith(b"#"):
            _check_back(line)


_ROW_RULES = ("length", "encoding", "json", "pickle", "shape", "knob", "number", "cost", "target", "version", "torn")


def _broken(findings: tuple[object, ...]) -> bool:
    return any(getattr(finding, "rule", "") in _ROW_RULES for finding in findings)


def _check_report(report: ConvertReport, path: Path, output: Path) -> None:
    lines, written = list(read_lines(path)), list(read_lines(output))
    comments = sum(line.text.startswith(b"#") for line in lines)
    expect(report.read == report.converted + report.unchanged + report.unconvertible, "a report adds up")
    expect((report.read, report.comments) == (len(lines) - comments, comments), "a report counts every line")
    expect(len(written) == report.converted + report.unchanged + comments, "what is not left out is written")
    expect(len(report.left_out) == min(report.unconvertible, 1000), "what is left out is listed")
    for left in report.left_out:
        expect(left.reason.isprintable() and len(left.reason) < 1000, "reasons are short and printable")  # noqa: PLR2004


def _check_back(line: Line) -> None:
    """Check that a row of 0.1 converts back to what it was, and so does one of 0.2 that was converted to it."""
    record = tried(parse_record, line.text)
    if record is None:
        return
    if is_old_row(line.text):
        old = parse_old_row(line.text)
        expect(_json(to_old(parse_record(record.to_json()))) == _json(old), "a row of 0.1 converts back to what it was")
        read = json.loads(line.text)
        read["r"] = json.loads(json.dumps(read["r"]), parse_int=float)  # seconds are floating-point numbers
        expect(_json(old) == read, "a row of 0.1 is written as it was read")
    elif (made := tried(to_old, record)) is not None:
        again = parse_record(made.to_json())
        expect((again.config, again.result) == (record.config, record.result), "what was measured is not changed")
        expect(again.input.target == record.input.target, "the target is not changed")
        expect(_json(to_old(again)) == _json(made), "a row of 0.2 that became one of 0.1 converts back to that")


def _json(row: OldRow) -> object:
    return json.loads(row.to_json())


def mutate(data: bytes, size: int, chance: random.Random, raw: Raw) -> bytes:
    """Change a log as its lines suggest."""
    return mutate_log(data, size, chance, raw, WORDS, rows())


HARNESS = Harness(check, logs, mutate, WORDS)
