"""The data that pages load as scripts: a version's records in short, their details in parts, and what changed.

A script calls `catalogue(name, data)`. Data are lists, strings and numbers under keys of our own: no text out of a log
is ever a key, and everything but ASCII is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tophub_registry import spelling
from tophub_registry.records.arguments import shown
from tophub_registry.records.diff import LogDiff
from tophub_registry.records.flops import flop
from tophub_registry.records.record import EARLIEST
from tophub_registry.records.task import describe
from tophub_registry.report.spelling import printable

if TYPE_CHECKING:
    from tophub_registry.catalogue.reading import ListedRecord, ListedVersion
    from tophub_registry.records.record import Record

PART = 200
"""How many records' details are in one file."""

_LONGEST_VALUE = 80
_LONGEST_TEXT = 300
_LONGEST_ARGUMENTS = 1000

_SHORTEST = 1e-12
"""Seconds; the rate of a shorter measurement means nothing."""

_OF_ONE_RECORD = ("trials", "started", "measured", "revalidated", "slower_in")
"""Keys of the provenance whose values differ from record to record; the others are written once for many."""

_NAMES = {
    "device": "device",
    "threads": "threads",
    "weights": "weights before each run",
    "slower_in": "slower than another config in",
    "bind_threads": "threads bound to cores",
    "peak_gflops": "device's measured peak",
    "tuner": "tuner",
    "trials": "configs measured",
    "started": "run started",
    "measured": "measured",
    "converted": "converted from",
    "revalidated": "cost confirmed",
}

_Each = TypeVar("_Each")


class DataFile(NamedTuple):
    """A script with data: its path in the site, and its text."""

    path: str
    text: str


class _Numbering:
    """Texts that occur many times, each written once."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def number(self, value: Any) -> int:
        return self._numbers.setdefault(value, len(self._numbers))

    @property
    def values(self) -> list[Any]:
        return [*self._numbers]


def script(name: str, data: object) -> DataFile:
    """Return the script that hands over data; `name` is what the page asks for."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return DataFile(f"data/{name}.js", f"catalogue({json.dumps(name)},{text});\n")


def data_files(version: ListedVersion) -> list[DataFile]:
    """Return all data files of a version; none if its file is missing."""
    if version.state != "published":
        return []
    files = [script(f"{version.name}/records", _records(version))]
    parts = _in_parts(version.records, PART)
    files += [script(f"{version.name}/{number}", _details(part)) for number, part in enumerate(parts)]
    if version.changes is not None and version.changes.differences:
        files.append(script(f"{version.name}/changes", _changes(version.changes)))
    return files


def place(record: Record) -> str:
    """Return the device of a record, with its threads; '' if the record does not name it."""
    return ("" if record.tophub is None else record.tophub.where) or ""


def gflops(record: Record) -> float | None:
    """Return a record's rate in 10^9 operations a second, None if it failed or its arithmetic is unknown."""
    operations = flop(record.input.task, record.input.args) if record.valid else None
    if operations is None or record.mean_cost < _SHORTEST:
        return None
    return operations / record.mean_cost / 1e9


def sizes(task: str, args: list[Any]) -> str:
    """Return a workload for people, without its task's name: `1x64x56x56 64x64x3x3 /2`."""
    return _text(describe(task, args).removeprefix(task).strip())


def _in_parts(items: Sequence[_Each], size: int) -> list[Sequence[_Each]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _records(version: ListedVersion) -> dict[str, object]:
    tasks, targets, places = _Numbering(), _Numbering(), _Numbering()
    rows = []
    for listed in version.records:
        record = listed.record
        operations = flop(record.input.task, record.input.args)
        rows.append(
            [
                listed.line,
                tasks.number(_text(record.input.task)),
                sizes(record.input.task, record.input.args),
                targets.number(_text(record.input.target)),
                places.number(_text(place(record))),
                _rounded(record.mean_cost) if record.valid else None,
                None if operations is None or not record.valid else _rounded(operations),
            ]
        )
    return {
        "package": version.package,
        "version": str(version.version),
        "part": PART,
        "tasks": tasks.values,
        "targets": targets.values,
        "places": places.values,
        "rows": rows,
    }


def _details(records: Iterable[ListedRecord]) -> dict[str, object]:
    knobs, shared = _Numbering(), _Numbering()
    rows = []
    for listed in records:
        record = listed.record
        config = record.config
        provenance = _provenance(record)
        alike = tuple(pair for key, *pair in provenance if key not in _OF_ONE_RECORD)
        rows.append(
            [
                printable(shown(record.input.args, _LONGEST_ARGUMENTS)),
                shown(config.index, _LONGEST_VALUE),
                knobs.number(tuple(_text(knob.name) for knob in config.entity)),
                [_value(knob.value) for knob in config.entity],
                [_rounded(cost) for cost in record.result.costs],
                _time(record.result.timestamp),
                shared.number(json.dumps([*alike, ("TVM", _text(record.tvm_version))])),
                [pair for key, *pair in provenance if key in _OF_ONE_RECORD],
                [[str(earlier.version), _rounded(earlier.cost), int(earlier.cached)] for earlier in listed.earlier],
                int(record.cost.cached),
            ]
        )
    return {"knobs": knobs.values, "shared": [json.loads(text) for text in shared.values], "rows": rows}


def _provenance(record: Record) -> list[tuple[str, str, str]]:
    """Return what a record says of its origin: the key, its name for people, and the value."""
    if record.tophub is None:
        return []
    said = record.tophub.model_dump(exclude_unset=True)
    return [
        (key, _NAMES.get(key, _text(key)), _spelled(key, value)) for key, value in said.items() if value is not None
    ]


def _spelled(key: str, value: Any) -> str:
    if key == "started":
        return _time(value)
    if key == "peak_gflops":
        return f"{spelling.number(value)} GFLOPS"
    if key == "converted":
        return f"log version {value['log_version']}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _text(value if isinstance(value, str) else shown(value, _LONGEST_TEXT))


def _value(value: Any) -> str:
    """Return a knob's value, shortened."""
    return printable(shown(value, _LONGEST_VALUE)) if not isinstance(value, str) else _text(value)


def _changes(changes: LogDiff) -> dict[str, object]:
    tasks, targets = _Numbering(), _Numbering()
    rows = [
        [
            each.kind,
            tasks.number(_text(_task(each.workload))),
            _text(each.task.removeprefix(_task(each.workload)).strip()),
            targets.number(_text(each.target)),
            _rounded(each.before),
            _rounded(each.after),
        ]
        for each in changes.differences
    ]
    return {"tasks": tasks.values, "targets": targets.values, "rows": rows}


def _task(workload: str) -> str:
    name: str = json.loads(workload)[0]
    return name


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _time(timestamp: float) -> str:
    """Return a time in seconds since 1970 as a day and a time of day; '' if it is none."""
    if timestamp < EARLIEST:
        return ""
    return spelling.minute(timestamp)


def _text(text: str) -> str:
    return printable(text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…")
