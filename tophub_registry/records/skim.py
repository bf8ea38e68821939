"""Reading a log quickly, only as far as merging needs: the workload and the cost of each row.

Every row is fully checked all the same. A row in AutoTVM's own spelling is checked by one regular expression, and
its input, which a log repeats often, by looking it up among those seen before. A row in any other spelling is
parsed. Everything that the expression accepts is a valid record; a test checks this.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json

from tophub_registry.records.log import parse_row
from tophub_registry.records.record import MAX_COST, Cost, Provenance, Record, workload_key
from tophub_registry.records.rows import SHORT_LINE

if TYPE_CHECKING:
    from pathlib import Path

    from tophub_registry.records.log import Line
    from tophub_registry.records.target import Target

_INTEGER = r"-?(?:0|[1-9][0-9]{0,17})"
_NUMBER = _INTEGER + r"(?:\.[0-9]{1,25})?(?:e[+-]?[0-9]{1,2})?"
_WORD = r'"[ !#-\[\]-~]*"'


def _listed(item: str) -> str:
    return rf"{item}(?:, {item})*"


_KNOB = (
    rf'\[{_WORD}, "(?:sp", \[{_listed(_INTEGER)}\]|ot", (?:{_INTEGER}|true|false|null|{_WORD})'
    rf'|re", \[{_listed(_INTEGER)}\]|an", \[{_listed(_WORD)}\])\]'
)
_PROVENANCE = rf"\{{{_listed(f'{_WORD}: (?:{_NUMBER}|true|false|null|{_WORD})')}\}}"

_SEPARATOR = b', "config": '

# What follows `{"input": […], "config": `; the groups are costs, error number, timestamp, provenance.
_REST = re.compile(
    rf'\{{"index": {_INTEGER}, "code_hash": (?:null|{_WORD}), "entity": \[(?:{_listed(_KNOB)})?\]\}}, '
    rf'"result": \[\[({_listed(_NUMBER)})\], ({_INTEGER}), {_NUMBER}, ({_NUMBER})\], '
    rf'"version": 0\.2, "tvm_version": {_WORD}(?:, "tophub": ({_PROVENANCE}))?\}}'.encode()
)

_MAX_SPELLINGS = 1 << 16


@dataclass(frozen=True, eq=False)
class Key:
    """What competing records have in common: the target, in any order of options, and the workload.

    Compared by identity, which is fast: a `Skimmer` makes one object for each key.
    """

    target: Target
    workload: str


class Skimmed(NamedTuple):
    """A row that was checked.

    Attributes
    ----------
    key
        Target and workload.
    cost
        The mean of the repeats, and how it was measured.
    threads
        Under how many threads, for a processor, where the row says so.
    failed
        Whether the measurement failed.
    timestamp
        In seconds since 1970.
    record
        The record, if the row had to be parsed.
    """

    key: Key
    cost: Cost
    threads: int | None
    failed: bool
    timestamp: float
    record: Record | None


class Skimmer:
    """Checks rows and finds their keys. One is used for all files of a merge, so that each key is one object."""

    def __init__(self) -> None:
        self._keys: dict[tuple[Target, str], Key] = {}
        self._spellings: dict[bytes, Key] = {}

    def skim(self, line: Line, file: str | Path) -> Skimmed:
        """Check one row.

        Raises
        ------
        InputError
            It is not a record.
        """
        start, _, rest = line.text.partition(_SEPARATOR)
        key = self._spellings.get(start) if len(line.text) <= SHORT_LINE else None
        if key is not None:
            match = _REST.fullmatch(rest)
            if match is not None:
                repeats, error_no, timestamp, provenance = match.groups()
                costs = list(map(float, repeats.split(b", ")))
                failed = int(error_no) != 0
                if _plausible(costs, failed=failed):
                    with suppress(ValidationError):
                        told = None if provenance is None else Provenance.model_validate_json(provenance)
                        cost, threads = Cost.of(sum(costs) / len(costs), told), None if told is None else told.threads
                        return Skimmed(key, cost, threads, failed, float(timestamp), None)
        return self._parse(line, start, file)

    def _parse(self, line: Line, start: bytes, file: str | Path) -> Skimmed:
        record = parse_row(line, file=file).record
        assert record is not None, "a comment is not a row"  # noqa: S101  # for the type checker
        key = self._keys.setdefault((record.target, record.workload), Key(record.target, record.workload))
        if start not in self._spellings and _is_input(start, record):
            if len(self._spellings) >= _MAX_SPELLINGS:
                self._spellings.clear()
            self._spellings[start] = key
        threads = None if record.tophub is None else record.tophub.threads
        return Skimmed(key, record.cost, threads, not record.valid, record.result.timestamp, record)


def _plausible(costs: list[float], *, failed: bool) -> bool:
    lowest = min(costs)
    return (lowest >= 0 if failed else lowest > 0) and max(costs) <= MAX_COST


def _is_input(start: bytes, record: Record) -> bool:
    """Whether the start of a row, closed, is an object with nothing but the record's input.

    Then every row that starts with the same bytes and continues as `_REST` describes is valid JSON with the
    same input.
    """
    try:
        value = from_json(start + b"}", allow_inf_nan=False)
    except ValueError:
        return False
    if not isinstance(value, dict) or value != {"input": list(record.input)}:
        return False
    # Python's 1, 1.0 and True are equal, their spellings are not.
    return workload_key(*value["input"][1:]) == record.workload
