"""Looking up records: the best record for a target and a workload, and how closely it matches.

Several logs are searched, in order of preference. The closer match wins; among equals the earlier log, so that
the user's own records come first but do not hide the others; then what was measured under the wanted conditions, with
cold weights and as many threads; then the lower mean cost, or of costs that are about the same, the higher rank. A
record of another device is never returned without saying so. Failed measurements are skipped, and so are rows of log
version 0.1 that can't be converted, which belong to no workload of today.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tophub_registry.records.families import GENERAL_KEYS, same_family
from tophub_registry.records.log import read_lines
from tophub_registry.records.rows import parse_record
from tophub_registry.records.skim import Skimmer
from tophub_registry.records.target import Target
from tophub_registry.records.unconvertible import NoConversionError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from tophub_registry.records.rank import Rank
    from tophub_registry.records.record import Cost, Record
    from tophub_registry.records.skim import Key, Skimmed

_ALIASES = {"vtacpu": "vta", "webgpu": "opencl", "vulkan": "opencl", "nvptx": "cuda"}

# Kinds whose -mcpu names the processor; that of graphics processors names an architecture.
_PROCESSORS = frozenset({"llvm", "c"})


class Match(IntEnum):
    """How closely a record's target matches the wanted one; greater is closer.

    `DEVICE`: both targets are equal as parsed; or kind and backend are the same and so is the device: by `-model`,
    or for a processor, if neither target has a model, by `-mcpu`.

    `ARCHITECTURE`: kind and backend are the same, and `-arch` or `-mcpu`.

    `FAMILY`: kind and backend are the same, and the family: the vectors of a processor, the generation of a GPU.

    `BACKEND`: only the backend is the same, which decides which templates there are (`backend_of`).

    `FALLBACK`: there is no record of the workload, and a config from another workload's record is used. Look-ups
    never return it.

    `NONE`: there is no record.
    """

    NONE = 0
    FALLBACK = 1
    BACKEND = 2
    FAMILY = 3
    ARCHITECTURE = 4
    DEVICE = 5

    def __str__(self) -> str:
        return self.name.lower()

    @property
    def recorded(self) -> bool:
        """Whether there is a record of the workload itself."""
        return self > Match.FALLBACK

    def is_evidence_only(self, target: Target) -> bool:
        """Whether a record with this match was measured on another processor than the target's.

        Even within a family its config may lose against the default one; it is only a hint of what to try.
        """
        return Match.FALLBACK < self < Match.ARCHITECTURE and backend_of(target) in _PROCESSORS


def backend_of(target: Target) -> str:
    """Return the package that has a target's records: named after its `-device`, its first specific key, or its kind.

    Source: the order and the aliases of `tvm.autotvm.tophub.context`, TVM 0.7 to 0.19.
    """
    return backends_of(target)[0]


def backends_of(target: Target) -> tuple[str, ...]:
    """Return all packages that may have records for a target, the most specific first."""
    device = target.attributes.get("device", "")
    keys = [key for key in target.attributes.get("keys", "").split(",") if key not in GENERAL_KEYS]
    names = [_ALIASES.get(name, name) for name in (device, *keys, target.kind) if name]
    return tuple(dict.fromkeys(names))


def match_targets(asked: Target, recorded: Target) -> Match:
    """Return how closely a record's target matches the wanted one."""
    if asked == recorded:
        return Match.DEVICE
    if backend_of(asked) != backend_of(recorded):
        return Match.NONE
    if asked.kind != recorded.kind:
        return Match.BACKEND
    if _same_device(asked, recorded):
        return Match.DEVICE
    if any(_in_common(option, asked, recorded) for option in ("arch", "mcpu")):
        return Match.ARCHITECTURE
    return Match.FAMILY if same_family(asked, recorded) else Match.BACKEND


def _same_device(asked: Target, recorded: Target) -> bool:
    """Whether two targets of one kind name the same device."""
    models = {asked.model, recorded.model}
    if models == {"unknown"}:
        return asked.kind in _PROCESSORS and _in_common("mcpu", asked, recorded)
    return len(models) == 1


def _in_common(option: str, asked: Target, recorded: Target) -> bool:
    value = asked.attributes.get(option)
    return value is not None and value == recorded.attributes.get(option)


class Conditions(NamedTuple):
    """How a record was measured; costs can be compared where these are equal. The lower is preferred.

    Attributes
    ----------
    cached
        Whether weights may have been in the cache.
    other_threads
        Whether it was under another number of threads than wanted.
    """

    cached: bool
    other_threads: bool


AS_WANTED = Conditions(cached=False, other_threads=False)


class Source(NamedTuple):
    """A log to search, and its name in answers."""

    name: str
    path: Path


@dataclass(frozen=True)
class Answer:
    """The record found for one workload.

    Attributes
    ----------
    record
        The record, None if there is none.
    match
        How closely its target matches.
    source
        The name of the log that has it, None if there is none.
    conditions
        How it was measured.
    """

    record: Record | None
    match: Match
    source: str | None
    conditions: Conditions = AS_WANTED

    @property
    def rank(self) -> Rank | None:
        """Who has confirmed the record's cost; None if there is no record."""
        return None if self.record is None else self.record.rank


NOTHING = Answer(None, Match.NONE, None)


def lookup(target: Target | str, workload: str, sources: Iterable[Source], *, threads: int | None = None) -> Answer:
    """Find the record for a target and a workload.

    Parameters
    ----------
    target
        The target that code is generated for.
    workload
        Task and arguments, as `workload_key` returns them.
    sources
        The logs, of either log version, in order of preference.
    threads
        Prefer what was measured under as many.

    Raises
    ------
    InputError
        The target is invalid, or a log can't be read or has a line that is not a record.
    """
    return lookup_all(target, sources, [workload], threads=threads)[workload]


def lookup_all(
    target: Target | str,
    sources: Iterable[Source],
    workloads: Collection[str] | None = None,
    *,
    threads: int | None = None,
) -> dict[str, Answer]:
    """Find the records for many workloads; each log is read once.

    Parameters
    ----------
    target, sources, threads
        As for `lookup`.
    workloads
        Each gets an answer, in this order; None for all that the logs have for the target's backend, in the
        order in which they occur.

    Raises
    ------
    InputError
        The target is invalid, or a log can't be read or has a line that is not a record.
    """
    search = _Search(Target.parse(target) if isinstance(target, str) else target, workloads, threads=threads)
    for order, source in enumerate(sources):
        search.read(source, order)
    return search.answers()


class Found(NamedTuple):
    """What logs have for some workloads.

    Attributes
    ----------
    answers
        For each workload the answers, in `lookup`'s order of preference; empty if there are none.
    alike
        The best record of every workload of the same tasks, wanted or not; empty if all wanted workloads have records.
    """

    answers: dict[str, list[Answer]]
    alike: list[Answer]


def lookup_each(
    target: Target | str, sources: Iterable[Source], workloads: Collection[str], *, threads: int | None = None
) -> Found:
    """Find for each workload all records that match the target as closely as the best one.

    Use this to choose among several configs of a workload, whose layouts differ, and to find similar workloads for
    one without a record. Each log is read once.

    Raises
    ------
    InputError
        As for `lookup_all`.
    """
    every: dict[str, list[_Candidate]] = {workload: [] for workload in workloads}
    search = _Search(Target.parse(target) if isinstance(target, str) else target, None, every, threads=threads)
    for order, source in enumerate(sources):
        search.read(source, order)
    answers = {workload: _nearest(candidates) for workload, candidates in every.items()}
    return Found(answers, [] if all(answers.values()) else search.alike())


def _nearest(candidates: list[_Candidate]) -> list[Answer]:
    ranked = sorted(candidates)
    return [candidate.answer for candidate in ranked if candidate.rank.distance == ranked[0].rank.distance]


class _Rank(NamedTuple):
    """What decides between rows; the lowest wins."""

    distance: int
    log: int
    conditions: Conditions
    cost: Cost
    text: bytes


class _Candidate(NamedTuple):
    """A row and its rank."""

    rank: _Rank
    source: str

    @property
    def answer(self) -> Answer:
        rank = self.rank
        return Answer(parse_record(rank.text), Match(-rank.distance), self.source, rank.conditions)


class _Search:
    """The best row so far of each workload, and all rows of the workloads in `every`."""

    def __init__(
        self,
        target: Target,
        workloads: Collection[str] | None,
        every: Mapping[str, list[_Candidate]] | None = None,
        *,
        threads: int | None,
    ) -> None:
        self._target, self._threads = target, threads
        self._every = every
        self._wanted = None if workloads is None else dict.fromkeys(workloads)
        self._matches: dict[Key, Match] = {}
        self._best: dict[str, _Candidate] = {}
        self._skimmer = Skimmer()

    def read(self, source: Source, order: int) -> None:
        for line in read_lines(source.path):
            if line.text.startswith(b"#"):
                continue
            try:
                row = self._skimmer.skim(line, source.path)
            except NoConversionError:
                continue
            match = self._match(row.key)
            if match is Match.NONE or row.failed:
                continue
            rank = _Rank(-match, order, self._conditions(row), row.cost, line.text)
            if self._every is not None and row.key.workload in self._every:
                self._every[row.key.workload].append(_Candidate(rank, source.name))
            best = self._best.get(row.key.workload)
            if best is None or rank < best.rank:
                self._best[row.key.workload] = _Candidate(rank, source.name)

    def _match(self, key: Key) -> Match:
        match = self._matches.get(key)
        if match is None:
            wanted = self._wanted is None or key.workload in self._wanted
            match = match_targets(self._target, key.target) if wanted else Match.NONE
            self._matches[key] = match
        return match

    def _conditions(self, row: Skimmed) -> Conditions:
        told = self._threads is not None and row.threads is not None
        return Conditions(row.cost.cached, told and row.threads != self._threads)

    def answers(self) -> dict[str, Answer]:
        found: Mapping[str, _Candidate] = self._best
        if self._wanted is None:
            return {workload: candidate.answer for workload, candidate in found.items()}
        return {workload: found[workload].answer if workload in found else NOTHING for workload in self._wanted}

    def alike(self) -> list[Answer]:
        """Return the answers for all workloads that have the same tasks as those in `every`."""
        tasks = {_task_of(workload) for workload in self._every or {}}
        return [candidate.answer for workload, candidate in self._best.items() if _task_of(workload) in tasks]


def _task_of(workload: str) -> str:
    """Return the start of a workload's key, which names the task."""
    return workload.split(",", 1)[0]
