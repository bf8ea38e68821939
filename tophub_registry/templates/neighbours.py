"""Neighbours: the configs of other workloads of a task, adapted to the space of the one at hand.

Each knob moves to its nearest option, and the less a kernel changes on that way, the better it does. On a GPU that
beats a default by far, and a cost model that chooses among the nearest does better still: whole models without their
own records take 1.08 times as long as tuned ones on an H100 with the model, 1.16 with the nearest, and 6.9 with a
config that is typical of good ones (`benchmarks/transfer.py`). On a processor the default configs are better: 1.02
times as long as tuned, and neighbours' 1.07 to 1.6; 1.00 with those neighbours' that a cost model clearly prefers.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tophub_registry.errors import InputError
from tophub_registry.records.lookup import Answer
from tophub_registry.records.record import Config, workload_key
from tophub_registry.records.target import Target
from tophub_registry.templates.registry import instantiate
from tophub_registry.templates.space import ConfigSpace, KnobSpace
from tophub_registry.templates.template import Template

_OTHER = 0.5
"""What another value of a knob that is no split counts, where a part of a split counts 1 for each doubling."""

_CONSIDERED = 24
"""How many of the nearest neighbours' configs a cost model chooses from."""

_CLEARLY = 1.2
_ENOUGH = 100
"""How many times as fast as a processor's default config a neighbour's must be predicted to be, by a model of how many
workloads. Such predictions held for six networks left out: measured were 1.2 to 1.6 times, at worst 0.99. Models of
fewer workloads, learned from 6 to 59, were wrong as often as right (`benchmarks/RESULTS.md`)."""


@dataclass(frozen=True)
class Adapted:
    """A config in the space of another workload.

    Attributes
    ----------
    index
        Its index there.
    distance
        How often a part of a split is doubled or halved, the outermost included, and half for each other knob that
        has another value.
    """

    index: int
    distance: float


class TunedConfig(NamedTuple):
    """A config that was found for another workload, with the space and the arguments of that."""

    space: ConfigSpace
    args: Sequence[Any]
    config: Config


def adapt(config: Config, origin: ConfigSpace, space: ConfigSpace) -> Adapted | None:
    """Adapt a config of one workload's space to another's; None if it is not in its own space, or the knobs differ.

    Each split moves to the option with the least distance between the logarithms of its inner parts, other knobs
    to the same value, or to the nearest number.
    """
    if not _alike(origin, space):
        return None
    try:
        origin.find(config.entity)
    except InputError:
        return None
    positions, distance = [], 0.0
    for here, there in zip(space.knobs, origin.knobs, strict=True):
        value = config.value(here.name)
        position = _nearest_option(here, value)
        if position is None:
            return None
        positions.append(position)
        distance += _moved(here, here.options[position], there, value)
    return Adapted(space.index(positions), distance)


def nearest(
    space: ConfigSpace,
    args: Sequence[Any],
    origins: Sequence[TunedConfig],
    *,
    count: int = 1,
    possible: Callable[[int], bool] = lambda _: True,
) -> list[tuple[int, Adapted]]:
    """Return the configs of other workloads that change the least on their way into a space.

    Parameters
    ----------
    space, args
        The workload's.
    origins
        Configs of other workloads of the task.
    count
        How many at most.
    possible
        Whether the config with an index is usable.

    Returns
    -------
    list
        Each with its position in `origins`, the nearest first; ties go to the more similar arguments.
    """
    # Adapting takes longest, and cannot change less than the lengths of the axes differ.
    bounds = sorted((_least(origin.space, space), place) for place, origin in enumerate(origins))
    found: list[tuple[float, float, int, Adapted]] = []
    for bound, place in bounds:
        if math.isinf(bound) or (len(found) >= count and bound > found[count - 1][0]):
            break
        origin = origins[place]
        adapted = adapt(origin.config, origin.space, space)
        if adapted is not None and possible(adapted.index):
            found.append((adapted.distance, _unlike(origin.args, args), place, adapted))
            found.sort(key=lambda entry: entry[:3])
    return [(place, adapted) for _, _, place, adapted in found[:count]]


def _alike(one: ConfigSpace, other: ConfigSpace) -> bool:
    """Whether the knobs of two spaces have the same names, kinds and parts."""
    return [_form(knob) for knob in one.knobs] == [_form(knob) for knob in other.knobs]


def _form(knob: KnobSpace) -> tuple[str, int]:
    return knob.name, len(knob.options[0]) if knob.kind == "sp" else 0


def _least(origin: ConfigSpace, space: ConfigSpace) -> float:
    """Return a lower bound of `Adapted.distance`: infinite if the knobs differ."""
    if not _alike(origin, space):
        return math.inf
    pairs = zip(origin.knobs, space.knobs, strict=True)
    # Parts that do not divide an axis cover more of it, so that the sum of their changes may be a little less.
    return sum(abs(math.log2(one.extent / other.extent)) for one, other in pairs if one.kind == "sp")


def _unlike(one: Sequence[Any], other: Sequence[Any]) -> float:
    """Return by how many doublings or halvings the numbers in two workloads' arguments differ."""
    pairs = zip(numbers(one), numbers(other), strict=False)
    return sum(abs(math.log2((1 + max(0.0, a)) / (1 + max(0.0, b)))) for a, b in pairs)


def numbers(value: Any) -> list[float]:
    """Return all numbers in an argument, at any depth."""
    if isinstance(value, (list, tuple)):
        return [number for item in value for number in numbers(item)]
    return [float(value)] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


def _moved(here: KnobSpace, value: Any, there: KnobSpace, original: Any) -> float:
    if here.kind != "sp":
        return 0.0 if value == original else _OTHER
    pairs = zip(_parts(here, value), _parts(there, original), strict=True)
    return sum(abs(math.log2(one / other)) for one, other in pairs)


def _parts(knob: KnobSpace, value: Sequence[int]) -> list[int]:
    """Return all factors of a split; the outermost follows from the others."""
    return [-(-knob.extent // math.prod(value[1:])), *value[1:]]


def _nearest_option(knob: KnobSpace, value: Any) -> int | None:
    try:
        return knob.position(value)
    except InputError:
        pass
    if knob.kind == "sp":
        wanted = [math.log2(part) for part in value[1:]]
        distances = [sum(abs(math.log2(a) - b) for a, b in zip(o[1:], wanted, strict=True)) for o in knob.options]
    else:
        if not all(isinstance(number, (int, float)) for number in (value, *knob.options)):
            return None
        distances = [abs(float(option) - float(value)) for option in knob.options]
    return min(range(len(distances)), key=distances.__getitem__)


@dataclass(frozen=True)
class Neighbour:
    """Another workload's record, for a workload without one.

    Attributes
    ----------
    task, args
        The other workload.
    config
        Its record's config, adapted.
    distance
        How far it had to change, as `Adapted` says.
    answer
        Its record, and how well the record's target matches.
    seconds
        An estimate: the time of the workload at that record's FLOPS, or what a cost model predicts.
    predicted
        Whether a cost model preferred it to nearer neighbours.
    """

    task: str
    args: list[Any]
    config: Config
    distance: float
    answer: Answer
    seconds: float
    predicted: bool = False


Predict = Callable[[Template, Sequence[int], Target, int], Sequence[float] | None]
"""Returns the predicted times in seconds of a workload's configs, given by index; None if fewer other workloads of the
task are known than the last argument says."""


class Neighbourhood:
    """Records of many workloads, for finding the neighbours of workloads without one.

    Parameters
    ----------
    answers
        The best record of each workload.
    excluded
        Workloads that get no neighbours, as `workload_key` writes them.
    predict
        A cost model's predictions, if there is one. It chooses among the nearest neighbours' configs.
    """

    def __init__(
        self, answers: Iterable[Answer] = (), excluded: Collection[str] = (), predict: Predict | None = None
    ) -> None:
        self._excluded = excluded
        self._predict = predict
        self._answers: defaultdict[str, list[Answer]] = defaultdict(list)
        for answer in answers:
            if answer.record is not None:
                self._answers[answer.record.input.task].append(answer)
        self._known: dict[str, list[tuple[Template, TunedConfig, Answer]]] = {}

    def excludes(self, template: Template) -> bool:
        """Return whether a workload gets no neighbours."""
        return workload_key(template.task, template.args, {}) in self._excluded

    def of(self, template: Template, target: Target, *, count: int = 1) -> list[Neighbour]:
        """Return a workload's nearest neighbours with configs feasible on the target, the nearest first.

        With a cost model those that it predicts to be fastest, of the nearest `_CONSIDERED`.
        """
        found = self._near(template, target, max(count, _CONSIDERED) if self._predict else count)
        return self._fastest(template, found, target, workloads=1)[:count]

    def better(self, template: Template, default: Config, target: Target) -> Neighbour | None:
        """Return the neighbour that is predicted to beat a workload's default config clearly; None if none is.

        Its tensors have the default config's layouts, which the layers around this one may share.
        """
        if self._predict is None or (index := _index(template.space, default)) is None:
            return None
        predicted = self._predict(template, [index], target, _ENOUGH)
        if predicted is None:
            return None
        shapes = _shapes(template, default)
        near = [each for each in self._near(template, target, _CONSIDERED) if _shapes(template, each.config) == shapes]
        best = next(iter(self._fastest(template, near, target, workloads=_ENOUGH)), None)
        return best if best is not None and _CLEARLY * best.seconds < predicted[0] else None

    def _near(self, template: Template, target: Target, count: int) -> list[Neighbour]:
        if self.excludes(template):
            return []
        known = [entry for entry in self._of_task(template.task) if entry[0].args != template.args]
        space = template.space
        found = nearest(
            space,
            template.args,
            [origin for _, origin, _ in known],
            count=count,
            possible=lambda index: template.feasible(space.config(index), target),
        )
        return [_neighbour(template, adapted, known[place]) for place, adapted in found]

    def _fastest(self, template: Template, near: list[Neighbour], target: Target, *, workloads: int) -> list[Neighbour]:
        """Return neighbours by predicted times, if there are predictions."""
        indices = [each.config.index for each in near]
        times = self._predict(template, indices, target, workloads) if self._predict and near else None
        if times is None:
            return near
        ranked = sorted(zip(times, range(len(near)), strict=True))
        return [replace(near[place], seconds=float(time), predicted=True) for time, place in ranked]

    def _of_task(self, task: str) -> list[tuple[Template, TunedConfig, Answer]]:
        if task not in self._known:
            self._known[task] = [known for answer in self._answers[task] if (known := _known(answer)) is not None]
        return self._known[task]


def _known(answer: Answer) -> tuple[Template, TunedConfig, Answer] | None:
    """Return a record with its template; None if no template takes the workload."""
    record = answer.record
    if record is None:
        return None
    try:
        template = instantiate(record.input.task, record.input.args)
    except InputError:
        return None
    return template, TunedConfig(template.space, template.args, record.config), answer


def _index(space: ConfigSpace, config: Config) -> int | None:
    """Return a config's index; None if it is not in the space."""
    try:
        return space.find(config.entity)
    except InputError:
        return None


def _shapes(template: Template, config: Config) -> list[tuple[int, ...]]:
    """Return the shapes of data and output."""
    data, *_, output = template.tensors(config)
    return [data.shape, output.shape]


def _neighbour(template: Template, adapted: Adapted, known: tuple[Template, TunedConfig, Answer]) -> Neighbour:
    theirs, _, answer = known
    seconds = math.inf if answer.record is None else answer.record.mean_cost * template.flop / theirs.flop
    config = template.space.config(adapted.index)
    return Neighbour(theirs.task, theirs.args, config, adapted.distance, answer, seconds)
