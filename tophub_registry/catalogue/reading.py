"""Reading a registry for the catalogue: each version's records, and what changed from one version to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from tophub_registry.packages.folder import known_index, published_file
from tophub_registry.records.diff import Compared, LogDiff, compare_records
from tophub_registry.records.families import without_general_keys
from tophub_registry.records.log import parse_row, read_lines
from tophub_registry.records.target import Target
from tophub_registry.records.unconvertible import NoConversionError

if TYPE_CHECKING:
    from tophub_registry.packages.index import Index, Published
    from tophub_registry.packages.version import Version
    from tophub_registry.records.record import Record

FileState = Literal["published", "missing", "other"]
"""`other`: the folder has a file of that name with other bytes than the published ones."""

_Key = tuple[Target, str]


class Earlier(NamedTuple):
    """What an earlier version had for a record's target and workload.

    Attributes
    ----------
    version
        The version that had it first.
    cost
        The mean of its best record, in seconds.
    cached
        Whether weights may have been in the cache, so that the cost can't be compared with one for cold weights.
    """

    version: Version
    cost: float
    cached: bool


class ListedRecord(NamedTuple):
    """A record, its line in the log, and the best ones of earlier versions, oldest first, without repetitions."""

    line: int
    record: Record
    earlier: tuple[Earlier, ...]

    @property
    def device_target(self) -> Target:
        """The record's target without general keys, such as a family, which do not distinguish devices."""
        return _device_of(self.record.input.target)


@dataclass(frozen=True)
class ListedVersion:
    """One version of a package.

    Attributes
    ----------
    package, version, published
        Which one, and what the index says of it.
    state
        Whether the registry's folder has its file. If not, there are no records and no comparison.
    records
        In the order of the log.
    comments
        The log's comments, such as withdrawals.
    unconvertible
        The number of rows of log version 0.1 that can't be converted.
    before
        The previous version, None for the first one.
    changes
        What changed since then; None if one of the two files is missing.
    """

    package: str
    version: Version
    published: Published
    state: FileState
    records: Sequence[ListedRecord] = field(repr=False)
    comments: Sequence[str] = field(repr=False)
    unconvertible: int
    before: Version | None
    changes: LogDiff | None = field(repr=False)

    @property
    def name(self) -> str:
        """The name of its pages: `cuda_v0.17`."""
        return f"{self.package}_{self.version}"


@dataclass(frozen=True)
class ListedPackage:
    """A package and its versions, oldest first; `newest` is None if all are yanked."""

    name: str
    versions: tuple[ListedVersion, ...]
    newest: ListedVersion | None

    @cached_property
    def shown(self) -> ListedVersion:
        """The version that stands for the package: the newest one, yanked only if all are."""
        return self.newest or self.versions[-1]


@dataclass(frozen=True)
class Catalogue:
    """All that a registry's folder has."""

    index: Index
    packages: tuple[ListedPackage, ...]


def read_catalogue(folder: Path, *, progress: Callable[[str], None] = lambda _: None) -> Catalogue:
    """Read a registry.

    Parameters
    ----------
    progress
        Called with what is being read.

    Raises
    ------
    UsageError
        The folder has no index.
    InputError
        The index, or a published log, is invalid.
    EnvironmentFailure
        A file can't be read.
    """
    index = known_index(folder)
    return Catalogue(index, tuple(_package(folder, index, name, progress) for name in sorted(index.packages)))


def _package(folder: Path, index: Index, name: str, progress: Callable[[str], None]) -> ListedPackage:
    versions: list[ListedVersion] = []
    before: _Log | None = None
    past: dict[_Key, list[Earlier]] = {}
    for version, published in index.versions(name).items():
        progress(f"reading {name} {version}")
        path = published_file(folder, published)
        state: FileState = "published"
        if path is None:
            state = "other" if (folder / published.file).exists() else "missing"
        log = None if path is None else _read(path, before)
        changes = compare_records(before.compared, log.compared) if before and log else None
        previous = versions[-1].version if versions else None
        rows, comments, unconvertible = ([], [], 0) if log is None else (log.rows, log.comments, log.unconvertible)
        records = [ListedRecord(line, record, tuple(past.get(_key(record), ()))) for line, _, record in rows]
        versions.append(
            ListedVersion(name, version, published, state, records, comments, unconvertible, previous, changes)
        )
        if log is not None:
            _remember(past, version, log.compared.records)
        before = log
    newest = index.newest(name)
    return ListedPackage(name, tuple(versions), next((each for each in versions if each.version == newest), None))


class _Row(NamedTuple):
    """A record, its line's number, and the line."""

    line: int
    text: bytes
    record: Record


@dataclass
class _Log:
    """What a log has."""

    rows: list[_Row] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    unconvertible: int = 0

    @cached_property
    def compared(self) -> Compared:
        return Compared([row.record for row in self.rows if row.record.valid], self.unconvertible)


def _read(path: Path, before: _Log | None) -> _Log:
    """Read a log. Most lines are those of the previous version, and are not parsed again."""
    known = {} if before is None else {row.text: row.record for row in before.rows}
    log = _Log()
    for line in read_lines(path):
        if (same := known.get(line.text)) is not None:
            log.rows.append(_Row(line.number, line.text, same))
            continue
        try:
            row = parse_row(line, file=path)
        except NoConversionError:
            log.unconvertible += 1
            continue
        if row.record is not None:
            log.rows.append(_Row(row.line, line.text, row.record))
        elif row.comment is not None:
            log.comments.append(row.comment)
    return log


def _remember(past: dict[_Key, list[Earlier]], version: Version, records: Iterable[Record]) -> None:
    """Add a version's best records to those of the versions before it, where they are others."""
    best: dict[_Key, Record] = {}
    for record in records:
        key = _key(record)
        if key not in best or record.cost < best[key].cost:
            best[key] = record
    for key, record in best.items():
        known = past.setdefault(key, [])
        earlier = Earlier(version, record.mean_cost, record.cost.cached)
        if not known or known[-1][1:] != earlier[1:]:
            known.append(earlier)


def _key(record: Record) -> _Key:
    return _device_of(record.input.target), record.workload


@lru_cache(maxsize=1024)
def _device_of(target: str) -> Target:
    return without_general_keys(Target.parse(target))
