"""Which kernel computes each layer, chosen over the whole graph: kernels' times plus changes of layout between them.

A processor's kernels want the channels in blocks, `[N, C/c, H, W, c]`, and each config has blocks of its own.
Values that are computed from one another element by element, or pooled, or joined, lie alike; where a kernel
wants it otherwise, the layout is changed, at a cost. The choice is the cheapest that improving one value's
layout at a time leads to.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from tophub_registry.errors import InputError
from tophub_registry.records.lookup import NOTHING, Answer, Match
from tophub_registry.records.record import Config, workload_key
from tophub_registry.records.target import Target
from tophub_registry.templates.neighbours import Neighbour, Neighbourhood
from tophub_registry.templates.registry import TEMPLATES, instantiate
from tophub_registry.templates.template import Template
from tophub_registry.templates.transfer import transfers
from tophub_registry.templates.untried import expected_share

PLAIN = 0
"""The block of a value whose channels are not in blocks: `[N, C, H, W]`."""

_BLOCKED = 5
"""The axes of a value with its channels in blocks."""

_BANDWIDTH = 8e9
_START = 2e-6
_UNTUNED = 1e11
"""FLOPS that a kernel is taken to reach of which no record says anything: about a default config's, on two cores."""

_NEIGHBOURS = 3
"""How many neighbours' configs a processor's layer without a record is offered, for the sake of their layouts."""

_UNTRIED = 1.05
"""How much longer a processor's default config is taken to need than a neighbour's."""

_GAINING = 0.7
"""How much less time another processor's record is taken to need than the default config, where it gains on that."""


@dataclass(frozen=True)
class Kernel:
    """A way to compute a layer.

    Attributes
    ----------
    template, config
        What is computed, and how.
    answer
        The record that the config is from, and how well it matched. Where there is none, `NOTHING`, or a match of
        `FALLBACK` for the config of another workload.
    neighbour
        That other workload's record.
    guess
        Seconds that it may take, where no record says so of hardware like this.
    evidence
        The layer's best record, where there are only other processors': whether it is used here is decided by what it
        may be expected to gain (`transfers`).
    instead_of
        The record of another template of the layer that this default config is expected to beat (`expected_share`).
    """

    template: Template
    config: Config
    answer: Answer
    neighbour: Neighbour | None = None
    guess: float | None = None
    evidence: Answer | None = None
    instead_of: Answer | None = None

    @cached_property
    def blocks(self) -> tuple[int, int]:
        """The blocks of the data and of the output."""
        data, *_, output = self.template.tensors(self.config)
        return _block(data.shape), _block(output.shape)

    @property
    def cost(self) -> float:
        """Seconds that it takes: the record's, or a guess."""
        if self.guess is not None:
            return self.guess
        record = self.answer.record
        return self.template.flop / _UNTUNED if record is None else record.mean_cost


def _block(shape: tuple[int, ...]) -> int:
    return shape[-1] if len(shape) == _BLOCKED else PLAIN


@dataclass(frozen=True)
class Use:
    """A layer in the graph: the values that it takes and makes, and the kernels that could compute it.

    Attributes
    ----------
    data, output
        The groups of values that lie alike.
    data_bytes, output_bytes
        Their sizes.
    """

    data: Hashable
    output: Hashable
    data_bytes: int
    output_bytes: int
    kernels: Sequence[Kernel]

    def best(self, blocks: Mapping[Hashable, int]) -> tuple[float, Kernel]:
        """Return the seconds of the cheapest kernel, changes of layout included, and that kernel."""

        def seconds(kernel: Kernel) -> float:
            data, output = kernel.blocks
            total = kernel.cost
            if data != blocks[self.data]:
                total += change(self.data_bytes)
            if output != blocks[self.output]:
                total += change(self.output_bytes)
            return total

        kernel = min(self.kernels, key=seconds)
        return seconds(kernel), kernel


def change(size: int) -> float:
    """Return about how many seconds changing the layout of so many bytes takes."""
    return _START + 2 * size / _BANDWIDTH


@dataclass(frozen=True)
class Refused:
    """A record that is no kernel here.

    Attributes
    ----------
    answer
        The record, and where it is from.
    reason
        Why not, in a few words.
    """

    answer: Answer
    reason: str


def kernels_for(
    workloads: Sequence[tuple[str, list[Any]]],
    target: Target,
    answers: Mapping[str, list[Answer]],
    neighbourhood: Neighbourhood,
    refused: list[Refused] | None = None,
) -> list[Kernel]:
    """Return the kernels that could compute a layer.

    They are those of its records; where there are none, those of its nearest neighbours' records, and for a processor
    the default one; where it has no neighbours either, what its templates suggest. Another processor's record is used
    where it may be expected to gain on this one, and otherwise as if it were not there. Beside the records of one
    template stands the default config of another that has none and is expected to beat them.

    Parameters
    ----------
    workloads
        The layer's workloads, each as task and arguments; AutoTVM's before our own.
    answers
        The records of each workload, by its key.
    neighbourhood
        The records of other workloads.
    refused
        To this, records are added that no device could run, or that the template does not know.

    Returns
    -------
    list
        For each layout the best one; of those whose costs nobody knows, the last.
    """
    templates = [instantiate(task, args) for task, args in workloads if task in TEMPLATES]
    recorded = [
        kernel
        for template in templates
        for answer in answers[workload_key(template.task, template.args, {})]
        if (kernel := _recorded(template, answer, refused)) is not None
    ]
    native = [kernel for kernel in recorded if not kernel.answer.match.is_evidence_only(target)]
    if native:
        return _best_of_each_layout([*native, *_untried(templates, native, target)])
    if not recorded:
        return _without_records(templates, target, neighbourhood)
    evidence = min(recorded, key=lambda kernel: kernel.cost).answer
    bare = [replace(kernel, evidence=evidence) for kernel in _without_records(templates, target, neighbourhood)]
    tasks = {kernel.template.task for kernel in bare}
    helpful = [
        replace(kernel, guess=_GAINING * min(its.cost for its in bare), evidence=evidence)
        for kernel in recorded
        if kernel.template.task in tasks and _transfers(kernel, target)
    ]
    return _best_of_each_layout([*bare, *helpful])


def _untried(templates: Sequence[Template], kernels: Sequence[Kernel], target: Target) -> list[Kernel]:
    """Return the default kernels of a layer's other templates that are expected to beat all of its kernels."""
    best = min(kernels, key=lambda kernel: kernel.cost)
    tried = {kernel.template.task for kernel in kernels}
    instead_of = None if best.answer.record is None else best.answer
    return [
        Kernel(template, template.default(target), NOTHING, guess=share * best.cost, instead_of=instead_of)
        for template in templates
        if template.task not in tried and (share := expected_share(template, best.template)) is not None
    ]


def _transfers(kernel: Kernel, target: Target) -> bool:
    record = kernel.answer.record
    return record is not None and transfers(kernel.template, kernel.config, target, record.target)


def _recorded(template: Template, answer: Answer, refused: list[Refused] | None) -> Kernel | None:
    """Return a record's kernel; None where it is none."""
    if answer.record is None:
        return None
    config = answer.record.config
    try:
        template.space.find(config.entity)
    except InputError as error:
        reason = error.message
    else:
        if template.possible(config):
            return Kernel(template, config, answer)
        reason = "no device has the threads or the shared memory for it"
    if refused is not None:
        refused.append(Refused(answer, reason))
    return None


def _without_records(templates: Sequence[Template], target: Target, neighbourhood: Neighbourhood) -> list[Kernel]:
    """Return the kernels of a layer that has no record of its own."""
    alone = any(map(neighbourhood.excludes, templates))
    alike = [] if alone else [kernel for template in templates for kernel in _alike(template, target, neighbourhood)]
    if alike:
        return _best_of_each_layout([*alike, *_untried(templates, alike, target)])
    return _best_of_each_layout([Kernel(template, template.suggestion(target), NOTHING) for template in templates])


def _alike(template: Template, target: Target, neighbourhood: Neighbourhood) -> list[Kernel]:
    """Return the kernels of a workload that has neighbours: its default one, then theirs, the nearest last."""
    near = neighbourhood.of(template, count=1 if template.forgiving else _NEIGHBOURS)
    if not near:
        return []
    seconds = near[0].seconds  # which others, that are less like it, are not to undercut
    if template.forgiving:
        return [_carried(template, near[0], seconds)]
    # What fits only further away was found for something else: one pixel at a time, where a row has 17.
    fitting = [its for its in near if its.whole and near[0].whole]
    default = Kernel(template, template.default(target), NOTHING, guess=_UNTRIED * seconds)
    return [default, *(_carried(template, its, seconds) for its in reversed(fitting))]


def _carried(template: Template, its: Neighbour, seconds: float) -> Kernel:
    return Kernel(template, its.config, Answer(None, Match.FALLBACK, its.answer.source), its, seconds)


def _best_of_each_layout(kernels: Sequence[Kernel]) -> list[Kernel]:
    best: dict[tuple[int, int], Kernel] = {}
    for kernel in kernels:
        if kernel.blocks not in best or kernel.cost <= best[kernel.blocks].cost:
            best[kernel.blocks] = kernel
    return list(best.values())


def choose_blocks(
    uses: Sequence[Use], channels: Mapping[Hashable, int], plain: Mapping[Hashable, int]
) -> dict[Hashable, int]:
    """Choose how the values of each group lie.

    Parameters
    ----------
    uses
        The layers between groups.
    channels
        For each group the greatest common divisor of its values' channels.
    plain
        For each group the bytes that must be had in the plain layout, for operators that know no other.

    Returns
    -------
    dict
        The block of each group.
    """
    options = _options(uses, channels)
    starts = sorted(set().union({PLAIN}, *options.values()))
    choices = [_Choice(uses, plain, options, start) for start in starts]
    for choice in choices:
        choice.improve()
    return min(choices, key=_Choice.seconds).blocks


def _options(uses: Sequence[Use], channels: Mapping[Hashable, int]) -> dict[Hashable, set[int]]:
    """Return the blocks that some kernel wants for each group, and that divide its channels."""
    options = {group: {PLAIN} for group in channels}
    for use in uses:
        for kernel in use.kernels:
            for group, block in zip((use.data, use.output), kernel.blocks, strict=True):
                if block and channels[group] % block == 0:
                    options[group].add(block)
    return options


class _Choice:
    """A block for each group, at first the largest that is possible up to `start`."""

    def __init__(
        self,
        uses: Sequence[Use],
        plain: Mapping[Hashable, int],
        options: Mapping[Hashable, set[int]],
        start: int,
    ) -> None:
        self._uses, self._plain, self._options = uses, plain, options
        self._touching: dict[Hashable, list[Use]] = {group: [] for group in options}
        for use in uses:
            for group in {use.data, use.output}:
                self._touching[group].append(use)
        self.blocks = {
            group: max((block for block in possible if block <= start), default=PLAIN)
            for group, possible in options.items()
        }

    def improve(self) -> None:
        """Change one group at a time as long as that makes the whole cheaper."""
        changed = True
        while changed:
            changed = False
            for group, possible in self._options.items():
                costs = {block: self._around(group, block) for block in sorted(possible)}
                best = min(costs, key=costs.__getitem__)
                if costs[best] < costs[self.blocks[group]]:
                    self.blocks[group], changed = best, True

    def seconds(self) -> float:
        """Return the seconds of all kernels and changes of layout."""
        kernels = sum(use.best(self.blocks)[0] for use in self._uses)
        return kernels + sum(self._made_plain(group, block) for group, block in self.blocks.items())

    def _around(self, group: Hashable, block: int) -> float:
        tried = {**self.blocks, group: block}
        return self._made_plain(group, block) + sum(use.best(tried)[0] for use in self._touching[group])

    def _made_plain(self, group: Hashable, block: int) -> float:
        return change(self._plain[group]) if block != PLAIN and self._plain.get(group) else 0.0
