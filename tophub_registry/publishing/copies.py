"""Finding contributed records that are copies of published ones.

Two measurements of the same kernel never give the same costs to the last digit, and no two end in the same
microsecond. A record that has a published one's costs, or its config and timestamp, was copied from it, whatever
device it names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tophub_registry.packages.folder import published_file
from tophub_registry.packages.index import Index
from tophub_registry.records.finding import Finding
from tophub_registry.records.log import parse_row, read_lines
from tophub_registry.records.record import EARLIEST, Record
from tophub_registry.records.unconvertible import NoConversionError


class PublishedRecord(NamedTuple):
    """A published record, and where it is."""

    record: Record
    name: str
    line: int

    @property
    def place(self) -> str:
        """The version and the line."""
        return f"{self.name}, line {self.line}"


def published(registry: Path, index: Index, package: str) -> Iterator[PublishedRecord]:
    """Yield the different records of all versions of a package, each from the first that has it."""
    seen: set[bytes] = set()
    for version, entry in sorted(index.versions(package).items()):
        path = published_file(registry, entry)
        if path is None:
            continue
        for line in read_lines(path):
            if line.text.startswith(b"#") or line.text in seen:
                continue
            seen.add(line.text)
            try:
                record = parse_row(line, file=path).record
            except NoConversionError:
                continue
            if record is not None:
                yield PublishedRecord(record, f"{package} {version}", line.number)


def copies(records: Mapping[int, Record], originals: Iterator[PublishedRecord]) -> Iterator[Finding]:
    """Yield a finding for each record, given by line, that is a copy of a published one."""
    by_costs = {(each.workload, tuple(each.result.costs)): line for line, each in records.items()}
    by_time = {_moment(each): line for line, each in records.items() if each.result.timestamp >= EARLIEST}
    found: set[int] = set()
    for original in originals:
        its = original.record
        line = by_costs.get((its.workload, tuple(its.result.costs))) or by_time.get(_moment(its))
        if line is not None and line not in found:
            found.add(line)
            yield _finding(records[line], original, line)


def _moment(record: Record) -> tuple[str, str, float]:
    return record.workload, spelled(record), record.result.timestamp


def spelled(record: Record) -> str:
    """Return a record's config as text: equal texts are equal configs."""
    return json.dumps([list(knob) for knob in record.config.entity])


def _finding(record: Record, original: PublishedRecord, line: int) -> Finding:
    its = original.record
    remedy = "contribute what you measured yourself; `tophub validate --level replay -o LOG` measures again"
    if record.result.costs != its.result.costs:
        message = f"copied from {original.place}: the same config at the same moment, with other costs"
    elif _device(record) != _device(its):
        where = _device(its) or "a device without a name"
        message = f"copied from {original.place}: the same costs, there measured on {where}"
    else:
        message, remedy = f"already published: {original.place} has the same costs", "leave it out"
    return Finding("copied", message, remedy=remedy, line=line)


def _device(record: Record) -> str | None:
    return None if record.tophub is None else record.tophub.device
