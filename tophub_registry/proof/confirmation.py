"""The choice between each layer's best few configs, confirmed in the whole model.

A kernel that is timed by itself finds its data where its own last run left it, and has no bias, activation or shortcut
inside. Configs whose costs are close may change places in the model. So the finalists of each layer take turns there:
one variant of the model for the best of each layer, one for the second best, and so on, and one without records, each
profiled kernel by kernel. Then whole models take turns: with the configs of the lowest costs, with the winners, with
the default configs in those layers where they win, with the default configs' blocks of channels only, so that no
layout changes between layers, and without records. Rows whose configs are not in the fastest of these are marked in
the log (`Provenance.slower_in`): a tuned model is never slower than an untuned one.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

import numpy as np

from tophub_registry.compiler.choice import Kernel
from tophub_registry.compiler.compiler import CompiledModel, compile_model
from tophub_registry.errors import InputError
from tophub_registry.files import atomic_write
from tophub_registry.frontends import Model
from tophub_registry.proof.comparison import NOISE
from tophub_registry.records.log import parse_row, read_lines, read_records, write_log
from tophub_registry.records.lookup import NOTHING
from tophub_registry.records.record import Config, Provenance, Record, workload_key
from tophub_registry.records.target import Target
from tophub_registry.tasks.rules import workloads
from tophub_registry.templates.registry import instantiate
from tophub_registry.templates.template import Template

FINALISTS = 4
"""Configs of a layer that are compared in the model; each costs compiling it once more."""

_CLOSE = 1.3
"""A config that costs more than this, as a multiple of the layer's best, is no finalist."""

_INPUTS = 2
"""A kernel's arguments by which a profile names it: data and weights."""

_ROOM = 2 << 30
"""Bytes of weights of all variants that are compared at once."""

_WHOLE = 4
"""Whole models besides those with the finalists, at most."""

_ROUNDS = 7
_RUNS = 3  # of each variant in a round
_NOISE = 0.01
"""The least gain for which another choice of records is preferred."""


Choice = Literal["lowest costs", "winners", "some defaults", "default blocks", "default configs", "no records"]
"""Which of a log's configs are the fastest in the whole model."""


@dataclass(frozen=True)
class Confirmation:
    """What the whole model said of a log's configs.

    Attributes
    ----------
    compared
        Workloads that had several finalists.
    choice
        The configs that are the fastest in the model.
    seconds, without
        The median time of a run with the choice, and without records, in seconds.
    """

    compared: int
    choice: Choice
    seconds: float
    without: float


class _Alternative(NamedTuple):
    """A variant of the model, and the records that lose if it is the fastest."""

    choice: Choice
    compiled: CompiledModel
    beaten: Sequence[Record]


Profile = Mapping[tuple[tuple[int, ...], ...], float]
"""A kernel's first arguments -> the median time of a call, in seconds."""


class _Place(NamedTuple):
    """Records that can replace one another without a change of layout: of one workload, in the same blocks."""

    workload: str
    blocks: tuple[int, int]


def confirm(
    model: Model,
    target: str,
    log: Path,
    *,
    finalists: int = FINALISTS,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Confirmation:
    """Compare a log's best configs in the whole model that it was tuned for, and mark those that lose there.

    Parameters
    ----------
    model
        The model that the log was tuned for.
    target
        The target, a processor of this machine.
    log
        A log with several configs for its workloads.
    finalists
        The most configs of a layer to compare.
    progress
        Called with the number of variants that are compiled, and of all.

    Raises
    ------
    InputError
        The log is missing or damaged.
    EnvironmentFailure
        This machine can't run code for the target, or a variant can't be built.
    """
    first = compile_model(model, target, records=[log])
    places = _places(first)
    workloads = {task.workload for task in model.tasks(first.target.kind, own=True).tasks}
    known = _ranked((record for record in read_records(log) if record.workload in workloads), first)
    finalists = min(finalists, max(2, _ROOM // max(1, _bytes(first))))
    contest = {place: records for place in places if len(records := _finalists(known.get(place, []), finalists)) > 1}
    turns = max(map(len, contest.values()), default=1)
    compiled = itertools.count(1)

    def variant(records: Mapping[_Place, Sequence[Record]], choice: Mapping[_Place, Record]) -> CompiledModel:
        made = _variant(model, target, records, choice)
        progress(next(compiled), turns + _WHOLE)
        return made

    places_in_turn = (
        {place: records[min(turn, len(records) - 1)] for place, records in contest.items()} for turn in range(1, turns)
    )
    variants = [first, *(variant(known, picked) for picked in places_in_turn)]
    untuned = compile_model(model, target, records=[])
    profiles = _profiles([*variants, untuned])
    winners = _winners(profiles, contest)
    outdone = _outdone(variants, untuned, profiles, known)
    best = _Alternative("lowest costs", first, [])
    for choice, kept, picked, beaten in _alternatives(known, contest, winners, outdone, first.target):
        other = _Alternative(choice, variant(kept, picked), beaten)
        if _configs(other.compiled) != _configs(best.compiled):
            now, then = in_turns(best.compiled, other.compiled)
            best = other if then < now * (1 - _NOISE) else best
    seconds, without = in_turns(best.compiled, untuned)
    if _configs(untuned) != _configs(best.compiled) and without < seconds * (1 - NOISE):
        best = _Alternative("no records", untuned, [record for records in known.values() for record in records])
        seconds = without
    _mark(log, best.beaten, model.name)
    return Confirmation(len(contest), best.choice, seconds, without)


def _alternatives(
    known: Mapping[_Place, Sequence[Record]],
    contest: Mapping[_Place, Sequence[Record]],
    winners: Mapping[_Place, Record],
    outdone: Collection[_Place],
    target: Target,
) -> Iterator[tuple[Choice, Mapping[_Place, Sequence[Record]], Mapping[_Place, Record], list[Record]]]:
    """Yield whole models to try: their records, which of them stand in for a place's best, and those that lose then."""
    changed = {place: record for place, record in winners.items() if record is not contest[place][0]}
    lost = [each for place, winner in changed.items() for each in contest[place][: contest[place].index(winner)]]
    if changed:
        yield "winners", known, changed, lost
    if 0 < len(outdone) < len(known):
        behind = [record for place in outdone for record in known[place]]
        marked = {**known, **{place: [_behind(record, "")] for place in outdone for record in known[place][:1]}}
        rest = {place: record for place, record in changed.items() if place not in outdone}
        yield "some defaults", marked, rest, [*lost, *behind]
    for choice, kept in _narrower(known, target).items():
        others = [record for place, each in known.items() for record in each if record not in kept.get(place, ())]
        if others:
            yield choice, kept, {}, others


def _narrower(
    known: Mapping[_Place, Sequence[Record]], target: Target
) -> dict[Choice, Mapping[_Place, Sequence[Record]]]:
    """Return the records in the default configs' blocks, and those with the default configs, if there are any."""
    blocks: dict[_Place, Sequence[Record]] = {}
    configs: dict[_Place, Sequence[Record]] = {}
    for place, records in known.items():
        template = instantiate(records[0].input.task, records[0].input.args)
        default = Kernel(template, template.default(target), NOTHING)
        if default.blocks == place.blocks:
            blocks[place] = records
            if same := [record for record in records if record.config.entity == default.config.entity]:
                configs[place] = same
    found: dict[Choice, Mapping[_Place, Sequence[Record]]] = {"default blocks": blocks, "default configs": configs}
    return {choice: kept for choice, kept in found.items() if kept}


def _configs(compiled: CompiledModel) -> list[str | None]:
    """Return the configs of a model's layers, with their templates."""
    kernels = (layer.kernel for layer in compiled.layers)
    return [None if kernel is None else f"{kernel.template.task} {kernel.config.entity}" for kernel in kernels]


def _bytes(compiled: CompiledModel) -> int:
    """Return the size of a model's weights as its kernels take them."""
    kernels = [layer.kernel for layer in compiled.layers if layer.kernel is not None]
    weights = [tensor for kernel in kernels for tensor in kernel.template.tensors(kernel.config)[1:-1]]
    return sum(math.prod(weight.shape) * np.dtype(weight.dtype).itemsize for weight in weights)


def _places(compiled: CompiledModel) -> list[_Place]:
    """Return where a model uses records, but for kernels that can't be told apart in a profile."""
    used: dict[_Place, Kernel] = {}
    for layer in compiled.layers:
        if layer.kernel is not None and (record := layer.kernel.answer.record) is not None and layer.recorded:
            used[_Place(record.workload, layer.kernel.blocks)] = layer.kernel
    shapes = [_shapes(kernel.template, kernel.config) for kernel in used.values()]
    return [place for place, its in zip(used, shapes, strict=True) if shapes.count(its) == 1]


def _shapes(template: Template, config: Config) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of a kernel's inputs, by which a profile names it."""
    return tuple(tensor.shape for tensor in template.tensors(config)[:_INPUTS])


def _ranked(records: Iterable[Record], compiled: CompiledModel) -> dict[_Place, list[Record]]:
    """Return a log's records of the model's target, the best first, each config once."""
    found: defaultdict[_Place, dict[str, Record]] = defaultdict(dict)
    for record in sorted((each for each in records if each.valid), key=lambda each: each.cost):
        if record.target != compiled.target:
            continue
        try:
            template = instantiate(record.input.task, record.input.args)
            template.space.find(record.config.entity)
        except InputError:
            continue
        if template.possible(record.config):
            place = _Place(record.workload, Kernel(template, record.config, NOTHING).blocks)
            found[place].setdefault(repr(record.config.entity), record)
    return {place: list(each.values()) for place, each in found.items()}


def _finalists(ranked: Sequence[Record], count: int) -> list[Record]:
    """Return the first of a place's records that are close, measured alike, and were not beaten before."""
    if not ranked:
        return []
    best = ranked[0].cost
    close = (
        record
        for record in ranked
        if record.cost.conditions == best.conditions and record.cost.seconds <= _CLOSE * best.seconds
    )
    return list(itertools.islice(close, count))


def _variant(
    model: Model, target: str, known: Mapping[_Place, Sequence[Record]], choice: Mapping[_Place, Record]
) -> CompiledModel:
    """Compile a model with certain records for some of its layers, which change nothing else.

    They stand at the cost of their layer's best record, so that the choice of layouts remains as it is.
    """
    rows = [
        choice.get(place, ranked[0]).model_copy(update={"result": ranked[0].result, "tophub": ranked[0].tophub})
        for place, ranked in known.items()
    ]
    with tempfile.TemporaryDirectory(prefix="tophub-") as folder:
        log = Path(folder) / "variant.log"
        write_log(log, rows)
        return compile_model(model, target, records=[log])


def _profiles(variants: Sequence[CompiledModel]) -> list[Profile]:
    """Profile variants of a model in turns."""
    times: list[defaultdict[tuple[tuple[int, ...], ...], list[float]]] = [defaultdict(list) for _ in variants]
    for _ in range(_ROUNDS):
        for variant, seconds in zip(variants, times, strict=True):
            for kernel in variant.profile(runs=_RUNS):
                seconds[kernel.shapes[:_INPUTS]].append(kernel.seconds / kernel.calls)
    return [{shapes: median(each) for shapes, each in seconds.items()} for seconds in times]


def _winners(profiles: Sequence[Profile], contest: Mapping[_Place, Sequence[Record]]) -> dict[_Place, Record]:
    """Return for each place the record that is fastest in the model; the one of the lowest cost unless it is beaten."""
    winners = {}
    for place, records in contest.items():
        template = instantiate(records[0].input.task, records[0].input.args)
        seconds = [
            profile.get(_shapes(template, record.config), math.inf)
            for profile, record in zip(profiles, records, strict=False)
        ]
        fastest = min(range(len(records)), key=seconds.__getitem__)
        winners[place] = records[fastest if seconds[fastest] < seconds[0] * (1 - _NOISE) else 0]
    return winners


def _outdone(
    variants: Sequence[CompiledModel], untuned: CompiledModel, profiles: Sequence[Profile], known: Collection[_Place]
) -> list[_Place]:
    """Return where a layer's default config is faster in the model than all of its records, in the same blocks.

    These are the places of all the layer's templates: none of them is to be chosen instead.

    Parameters
    ----------
    profiles
        Of the variants, then of the model without records.
    known
        Where there are records.
    """
    *tuned, plain = map(_times, (*variants, untuned), profiles)
    found: set[str] = set()
    for layer, default, *finalists in zip(untuned.layers, plain, *tuned, strict=True):
        if default is None or None in finalists:
            continue
        alike = all(finalist.blocks == default.blocks for finalist in finalists)
        if alike and default.seconds < min(finalist.seconds for finalist in finalists) * (1 - _NOISE):
            tasks = workloads(layer.layer, untuned.target.kind, own=True)
            found.update(workload_key(task, args, {}) for task, args in tasks)
    return [place for place in known if place.workload in found]


class _Timed(NamedTuple):
    """A layer's blocks, and the time of its kernel."""

    blocks: tuple[int, int]
    seconds: float


def _times(compiled: CompiledModel, profile: Profile) -> list[_Timed | None]:
    """Return the time of each layer; None if it has no kernel, or its kernel can't be told apart in the profile."""
    kernels = [layer.kernel for layer in compiled.layers]
    named = defaultdict(set)
    for kernel in filter(None, kernels):
        named[_shapes(kernel.template, kernel.config)].add(f"{kernel.template.workload} {kernel.config.entity}")

    def timed(kernel: Kernel | None) -> _Timed | None:
        if kernel is None:
            return None
        shapes = _shapes(kernel.template, kernel.config)
        return _Timed(kernel.blocks, profile[shapes]) if shapes in profile and len(named[shapes]) == 1 else None

    return [timed(kernel) for kernel in kernels]


def in_turns(one: CompiledModel, other: CompiledModel) -> tuple[float, float]:
    """Return the median times of two variants, in seconds."""
    times: tuple[list[float], list[float]] = [], []
    for turn in range(2 * _ROUNDS):
        pairs = list(zip(times, (one, other), strict=True))
        for seconds, compiled in pairs if turn % 2 else reversed(pairs):
            seconds.extend(compiled.benchmark(repeats=_RUNS))
    return median(times[0]), median(times[1])


def _mark(log: Path, beaten: Iterable[Record], model: str) -> None:
    """Say in a log's rows that another config was faster in a model."""
    lost = {_identity(record) for record in beaten}
    if not lost:
        return
    with atomic_write(log, overwrite=True) as stream:
        for line in read_lines(log):
            text = line.text
            record = parse_row(line, file=log).record
            if record is not None and _identity(record) in lost:
                text = _behind(record, model).to_json().encode()
            stream.write(text + b"\n")


def _behind(record: Record, model: str) -> Record:
    """Return a record that says that another config was faster in a model."""
    told = (record.tophub or Provenance()).model_copy(update={"slower_in": model})
    return record.model_copy(update={"tophub": told})


def _identity(record: Record) -> tuple[Target, str, str]:
    """Return what rows of the same config have in common: a log may have others' targets, which did not lose."""
    return record.target, record.workload, repr(record.config.entity)
