"""Looks up the records of a model's layers, in packages or in the user's own logs."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from pathlib import Path

from tophub_registry.compiler.choice import Kernel
from tophub_registry.cost_model.model import CostModel
from tophub_registry.devices.threads import thread_count
from tophub_registry.errors import InputError
from tophub_registry.packages.index import Notice
from tophub_registry.packages.location import find_location
from tophub_registry.packages.root import Root
from tophub_registry.packages.sources import Sources, find_sources
from tophub_registry.packages.version import FileName
from tophub_registry.records.lookup import Answer, Source, backend_of, lookup_each
from tophub_registry.records.record import workload_key
from tophub_registry.records.target import Target
from tophub_registry.templates.neighbours import Neighbourhood


class RecordSearch:
    """Finds a model's records, except those that are ruled out."""

    def __init__(self, target: Target, sources: Sources, left_out: Collection[Kernel] = ()) -> None:
        self._target, self._sources = target, sources
        self._avoided = {(kernel.template.task, repr(kernel.template.args), _spelled(kernel)) for kernel in left_out}
        # A workload whose own record loses against the default config gets no neighbour's config either.
        self._alone = {_workload(kernel) for kernel in left_out}
        self.notices: list[Notice] = []

    def avoid(self, kernel: Kernel) -> None:
        """Rule out the record that a kernel is from."""
        if kernel.neighbour is None:
            self._avoided.add((kernel.template.task, repr(kernel.template.args), _spelled(kernel)))
        else:
            self._alone.add(_workload(kernel))

    def find(self, workloads: Collection[str]) -> tuple[dict[str, list[Answer]], Neighbourhood]:
        """Return the records of each workload, and those of other workloads that may stand in for missing ones."""
        found = lookup_each(self._target, self._sources.logs, workloads, threads=thread_count())
        answers = {key: [its for its in each if self._usable(its)] for key, each in found.answers.items()}
        # Another processor's record of another layer says nothing about this one, nor does one that lost in a model.
        alike = [
            its
            for its in found.alike
            if self._usable(its)
            and not its.match.is_evidence_only(self._target)
            and not (its.record is not None and its.record.cost.beaten)
        ]
        predict = self._cost_model.seconds if alike and self._cost_model is not None else None
        return answers, Neighbourhood(alike, self._alone, predict)

    @functools.cached_property
    def _cost_model(self) -> CostModel | None:
        """The cost model beside the first log that has one; None, with a notice, if it can't be used."""
        return CostModel.beside(
            (source.path for source in self._sources.logs),
            self._target.kind,
            lambda error: self.notices.append(Notice("no-model", f"{error}")),
        )

    def _usable(self, answer: Answer) -> bool:
        record = answer.record
        return (
            record is None
            or (record.input.task, repr(record.input.args), repr(record.config.entity)) not in self._avoided
        )


def _spelled(kernel: Kernel) -> str:
    return repr(kernel.config.entity)


def _workload(kernel: Kernel) -> str:
    return workload_key(kernel.template.task, kernel.template.args, {})


def own_log(target: Target) -> Path:
    """Return the user's own log, in which `tophub compile --tune` keeps what it measured for such targets."""
    return Root.at().own(backend_of(target))


def sources_of(target: Target, records: Sequence[str | Path] | None) -> Sources:
    """Return the logs to take records from; None means the user's own and the target's package, fetched if needed."""
    if records is None:
        root = Root.at()
        return find_sources(target, find_location(), root, own=root.own_logs(backend_of(target)))
    for path in records:
        if not Path(path).exists():
            raise InputError("no such file", file=path)
    return Sources(tuple(Source(_name(Path(path)), Path(path)) for path in records), ())


def _name(log: Path) -> str:
    """Return what to call a log: a package's by its name and version, any other by its path."""
    name = FileName.parse(log.name)
    return str(log) if name is None else f"{name.package} {name.version}"
