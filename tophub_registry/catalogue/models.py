"""Models in the catalogue: which of their layers have records, and how long whole models take.

Logs name no models. So both are read from files that are given to the catalogue: a model's tasks, as `tophub extract`
writes them, and times of whole models, as `tophub bench` writes them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tophub_registry.errors import InputError
from tophub_registry.files import read_json
from tophub_registry.records.task import TaskFile

if TYPE_CHECKING:
    from tophub_registry.catalogue.reading import Catalogue, ListedRecord, ListedVersion

_Seconds = Annotated[float, Field(gt=0, le=1e10)]


class MeasuredFramework(BaseModel):
    """How long a model took in one framework; `median` in seconds, None if it failed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    framework: str
    version: str = ""
    note: str = ""
    median: _Seconds | None = None


class MeasuredModel(BaseModel):
    """What `tophub bench` wrote: one model on one device, in several frameworks."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str
    target: str
    device: str
    threads: int | None = None
    frameworks: list[MeasuredFramework]

    @property
    def tuned(self) -> float | None:
        """The time with records, in seconds."""
        return self._median("tophub")

    @property
    def untuned(self) -> float | None:
        """The time with the same templates and no records."""
        return self._median("no-records")

    @property
    def gain(self) -> float | None:
        """How many times as fast as without records."""
        return self.untuned / self.tuned if self.untuned and self.tuned else None

    def _median(self, framework: str) -> float | None:
        return next((each.median for each in self.frameworks if each.framework == framework), None)


class CoveredLayers(NamedTuple):
    """Layers of the same shape in a model, and the fastest record for them.

    Attributes
    ----------
    task
        The fastest record's task and sizes; without a record those of the first task.
    args
        Its arguments.
    layers
        How many such layers the model has.
    found
        The fastest record of any of the layers' tasks, None if there is none.
    """

    task: str
    args: list[object]
    layers: int
    found: ListedRecord | None


@dataclass(frozen=True)
class Coverage:
    """A model's layers, and a version's records for one target.

    Attributes
    ----------
    model
        The model's name.
    version
        The version that was looked into.
    target
        The records' target, without a family among its keys.
    layers
        The layers in groups of the same shape.
    """

    model: str
    version: ListedVersion
    target: str
    layers: Sequence[CoveredLayers]

    @property
    def count(self) -> int:
        """The number of layers."""
        return sum(layer.layers for layer in self.layers)

    @property
    def covered(self) -> int:
        """The number of layers with a record."""
        return sum(layer.layers for layer in self.layers if layer.found)

    @property
    def seconds(self) -> float:
        """The sum of the fastest records' costs over the layers that have one."""
        return sum(layer.layers * layer.found.record.mean_cost for layer in self.layers if layer.found)


@dataclass(frozen=True)
class ModelFiles:
    """The files about models that a catalogue is given."""

    tasks: Sequence[TaskFile]
    measured: Sequence[MeasuredModel]


def read_models(paths: Iterable[Path]) -> ModelFiles:
    """Read files about models, each of either kind.

    Raises
    ------
    InputError
        A file is neither a `tasks.json` nor what `tophub bench` wrote.
    """
    tasks: list[TaskFile] = []
    measured: list[MeasuredModel] = []
    for path in paths:
        content = read_json(path)
        if isinstance(content, dict) and "frameworks" in content:
            measured.append(_measured(content, path))
        else:
            tasks.append(TaskFile.read(path))
    return ModelFiles(tasks, measured)


def _measured(content: object, path: Path) -> MeasuredModel:
    try:
        return MeasuredModel.model_validate(content)
    except ValidationError as error:
        finding = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, finding["loc"]))
        raise InputError(
            f"not times of a model: {place}: {finding['msg']}", file=path, remedy="make them with `tophub bench -o`"
        ) from error


def coverage(catalogue: Catalogue, tasks: Iterable[TaskFile]) -> list[Coverage]:
    """Return how well each package's newest version covers each model, for each target that it has records for."""
    found: list[Coverage] = []
    for file in tasks:
        for version in (package.newest for package in catalogue.packages if package.newest is not None):
            for target, records in _by_target(version, file.kind).items():
                found.append(Coverage(file.model, version, target, _covered(file, records)))
    return found


def _by_target(version: ListedVersion, kind: str) -> dict[str, dict[str, ListedRecord]]:
    """Return the fastest record of each workload, for each target of a kind."""
    found: dict[str, dict[str, ListedRecord]] = defaultdict(dict)
    for listed in version.records:
        target = listed.device_target
        if target.kind == kind and listed.record.valid:
            best = found[str(target)].get(listed.record.workload)
            if best is None or listed.record.cost < best.record.cost:
                found[str(target)][listed.record.workload] = listed
    return dict(sorted(found.items()))


def _covered(file: TaskFile, records: dict[str, ListedRecord]) -> list[CoveredLayers]:
    """Group a model's layers by the tasks that can compute them, and find the fastest record of each group."""
    tasks_of: dict[str, list[int]] = defaultdict(list)
    for number, task in enumerate(file.tasks):
        for layer in task.layers or [f"task {number}"]:
            tasks_of[layer].append(number)
    groups: dict[tuple[int, ...], int] = defaultdict(int)
    for numbers in tasks_of.values():
        groups[tuple(numbers)] += 1
    layers = []
    for alternatives, count in groups.items():
        tasks = [file.tasks[number] for number in alternatives]
        options = [(task, records[task.workload]) for task in tasks if task.workload in records]
        best = min(options, key=lambda option: option[1].record.cost, default=None)
        task, listed = best or (tasks[0], None)
        # Without layers' names, a task stands for as many layers as it says.
        layers.append(CoveredLayers(task.task, task.args, count if task.layers else task.count, listed))
    return layers
