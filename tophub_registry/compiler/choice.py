"""Chooses each layer's kernel over the whole graph, by the kernels' times plus the layout changes between them.

On a processor kernels take the channels in blocks, `[N, C/c, H, W, c]`, and each config has its own block sizes; those
for a GPU's tensor cores take channels last.
Values that are computed from one another element by element, pooled or concatenated share a layout. A kernel that needs
another one costs a layout change. The choice is found by local search: one layout at a time is changed as long as that
lowers the total.
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
"""The block size of a value whose channels are not in blocks: `[N, C, H, W]`."""

LAST = -1
"""The block size of a value with all its channels in one block: `[N, 1, H, W, C]`, which is channels last."""

_CACHED = 1 << 19
"""Bytes of a value that are still in a core's second-level cache when the next layer reads them."""

_BANDWIDTH, _CACHED_BANDWIDTH = 8e9, 24e9  # bytes a second, of a layout change
_START = 2e-6  # seconds
_GAINING = 0.7
"""Assumed time of another processor's record that is expected to gain, relative to the default config."""


@dataclass(frozen=True)
class Kernel:
    """A way to compute a layer.

    Attributes
    ----------
    template, config
        What is computed, and how.
    answer
        The record that the config is from, and how well it matches. Without a record, `NOTHING`, or a match of
        `FALLBACK` for another workload's config.
    neighbour
        That other workload's record.
    guess
        Estimated time in seconds, if no record from hardware like this gives it.
    evidence
        The layer's best record, if all of them are from other processors. It is used only if it is expected to gain
        here (`transfers`).
    instead_of
        The record that this default config is expected to beat: one of another template of the layer
        (`expected_share`), or one whose layout costs more than it gains.
    beaten
        The layer's best record, if tuning found the default configs faster in the whole model than any of its records.
    """

    template: Template
    config: Config
    answer: Answer
    neighbour: Neighbour | None = None
    guess: float | None = None
    evidence: Answer | None = None
    instead_of: Answer | None = None
    beaten: Answer | None = None

    @cached_property
    def blocks(self) -> tuple[int, int]:
        """The blocks of the data and of the output."""
        if self.template.channels_last:
            return PLAIN if self.template.reads_plain else LAST, LAST
        data, *_, output = self.template.tensors(self.config)
        w = self.template.workload
        return _block(data.shape, w.inputs[0]), _block(output.shape, w.output)

    @property
    def is_for_layout(self) -> bool:
        """Whether this default config replaces a record of its template, which needs another layout."""
        record = self.instead_of.record if self.instead_of else None
        return record is not None and record.input.task == self.template.task

    @property
    def is_measured(self) -> bool:
        """Whether the cost is a record's, of hardware like this."""
        return self.guess is None and self.answer.record is not None

    @property
    def cost(self) -> float:
        """Time in seconds: the record's, or an estimate."""
        if self.guess is not None:
            return self.guess
        record = self.answer.record
        return self.template.untuned_cost(self.config) if record is None else record.mean_cost


def _block(shape: tuple[int, ...], plain: tuple[int, ...]) -> int:
    """Return the block size of a tensor whose shape in the model's layout is `plain`."""
    return shape[-1] if len(shape) > len(plain) else PLAIN


@dataclass(frozen=True)
class Use:
    """A layer in the graph: its input, its output, and the kernels that can compute it.

    Attributes
    ----------
    data, output
        The groups, of values that share a layout, to which input and output belong.
    data_bytes, output_bytes
        Sizes of the input and the output.
    """

    data: Hashable
    output: Hashable
    data_bytes: int
    output_bytes: int
    kernels: Sequence[Kernel]

    def best(self, blocks: Mapping[Hashable, int]) -> tuple[float, Kernel]:
        """Return the cheapest kernel and its time in seconds, layout changes included."""

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
    """Return the estimated time, in seconds, of changing the layout of `size` bytes."""
    cached = min(size, _CACHED)
    return _START + 2 * cached / _CACHED_BANDWIDTH + 2 * (size - cached) / _BANDWIDTH


@dataclass(frozen=True)
class Refused:
    """A record that yields no valid kernel.

    Attributes
    ----------
    answer
        The record, and the log it is from.
    reason
        Why it does not, in a few words.
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
    """Return the kernels that can compute a layer.

    They come from the layer's records; without records on a GPU from a neighbour's; and otherwise from its templates'
    suggestions. A record of another processor is used only if it is expected to gain on this one, and ignored
    otherwise. If only one of the layer's templates has records, the default config of another is added if it is
    expected to beat them. So are, on a processor, default configs whose layout no record has.

    Parameters
    ----------
    workloads
        The layer's workloads, each as task and arguments; AutoTVM's first, then our own.
    answers
        The records of each workload, by its key.
    neighbourhood
        The records of other workloads.
    refused
        Receives the records that no device can run, or whose config is not in the template's space.

    Returns
    -------
    list
        The best kernel of each layout; of equally good ones the last.
    """
    found = [instantiate(task, args) for task, args in workloads if task in TEMPLATES]
    templates = [template for template in found if template.runs_on(target)]
    recorded = [
        kernel
        for template in templates
        for answer in answers[workload_key(template.task, template.args, {})]
        if (kernel := _recorded(template, answer, refused)) is not None
    ]
    native = _comparable([kernel for kernel in recorded if not kernel.answer.match.is_evidence_only(target)])
    if unbeaten := [kernel for kernel in native if not _beaten(kernel)]:
        others = [*_untried(templates, unbeaten, target), *_in_default_layouts(unbeaten, target)]
        return _best_of_each_layout([*unbeaten, *others])
    if native:
        beaten = min(native, key=lambda kernel: kernel.cost).answer
        return [replace(kernel, beaten=beaten) for kernel in _without_records(templates, target, Neighbourhood())]
    if not recorded:
        return _without_records(templates, target, neighbourhood)
    evidence = min(recorded, key=lambda kernel: kernel.cost).answer
    bare = [replace(kernel, evidence=evidence) for kernel in _without_records(templates, target, neighbourhood)]
    costs = {kernel.template.task: kernel.cost for kernel in bare}
    helpful = [
        replace(kernel, guess=_GAINING * costs[kernel.template.task], evidence=evidence)
        for kernel in recorded
        if kernel.template.task in costs and _transfers(kernel, target)
    ]
    return _best_of_each_layout([*bare, *helpful])


def _comparable(kernels: Sequence[Kernel]) -> list[Kernel]:
    """Return the kernels that were measured under the best conditions: the costs of others say something else."""
    best = min((kernel.answer.conditions for kernel in kernels), default=None)
    return [kernel for kernel in kernels if kernel.answer.conditions == best]


def _beaten(kernel: Kernel) -> bool:
    return kernel.answer.record is not None and kernel.answer.record.cost.beaten


def _untried(templates: Sequence[Template], kernels: Sequence[Kernel], target: Target) -> list[Kernel]:
    """Return the default kernels of a layer's other templates that are expected to beat `kernels`."""
    best = min(kernels, key=lambda kernel: kernel.cost)
    tried = {kernel.template.task for kernel in kernels}
    return [
        Kernel(template, template.default(target), NOTHING, guess=share * best.cost, instead_of=best.answer)
        for template in templates
        if template.task not in tried
        and template.promising(target)
        and (share := expected_share(template, best.template)) is not None
    ]


def _in_default_layouts(kernels: Sequence[Kernel], target: Target) -> list[Kernel]:
    """Return a processor's default kernels of those templates whose records all have other layouts.

    Layers are tuned one by one, so that the best records of two neighbours may need different layouts.
    """
    if target.kind != "llvm":
        return []
    best: dict[str, Kernel] = {}
    for kernel in sorted(kernels, key=lambda kernel: kernel.cost):
        best.setdefault(kernel.template.task, kernel)
    recorded = {(kernel.template.task, kernel.blocks) for kernel in kernels}
    found = [
        Kernel(
            each.template,
            each.template.default(target),
            NOTHING,
            guess=each.template.untuned_share * each.cost,
            instead_of=each.answer,
        )
        for each in best.values()
    ]
    return [kernel for kernel in found if (kernel.template.task, kernel.blocks) not in recorded]


def _transfers(kernel: Kernel, target: Target) -> bool:
    record = kernel.answer.record
    return record is not None and transfers(kernel.template, kernel.config, target, record.target)


def _recorded(template: Template, answer: Answer, refused: list[Refused] | None) -> Kernel | None:
    """Return a record's kernel; None if it yields no valid one."""
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
        reason = "it needs more threads or shared memory than any device has"
    if refused is not None:
        refused.append(Refused(answer, reason))
    return None


def _without_records(templates: Sequence[Template], target: Target, neighbourhood: Neighbourhood) -> list[Kernel]:
    """Return the kernels of a layer that has no record of its own."""
    alone = any(map(neighbourhood.excludes, templates))
    forgiving = [template for template in templates if template.forgiving and not alone]
    near = [(template, its) for template in forgiving for its in neighbourhood.of(template, target)]
    if near:
        estimated = [_estimated(template, target) for template in templates if template not in [its for its, _ in near]]
        return _best_of_each_layout([*(_carried(template, its) for template, its in near), *filter(None, estimated)])
    ordered = sorted(templates, key=lambda template: template.promising(target))
    bare = _best_of_each_layout([Kernel(template, template.suggestion(target), NOTHING) for template in ordered])
    return [_improved(kernel, target, neighbourhood) for kernel in bare]


def _estimated(template: Template, target: Target) -> Kernel | None:
    """Return the default kernel of a template that can estimate its time; None of another."""
    config = template.default(target)
    seconds = template.estimate(config)
    return None if seconds is None else Kernel(template, config, NOTHING, guess=seconds)


def _improved(kernel: Kernel, target: Target, neighbourhood: Neighbourhood) -> Kernel:
    """Return a neighbour's kernel of the same layouts if that is predicted to beat a default one; else the same."""
    its = neighbourhood.better(kernel.template, kernel.config, target)
    return kernel if its is None else replace(_carried(kernel.template, its), guess=kernel.cost)


def _carried(template: Template, its: Neighbour) -> Kernel:
    return Kernel(template, its.config, Answer(None, Match.FALLBACK, its.answer.source), its, its.seconds)


def _best_of_each_layout(kernels: Sequence[Kernel]) -> list[Kernel]:
    best: dict[tuple[int, int], Kernel] = {}
    for kernel in kernels:
        if kernel.blocks not in best or kernel.cost <= best[kernel.blocks].cost:
            best[kernel.blocks] = kernel
    return list(best.values())


def choose_blocks(
    uses: Sequence[Use], channels: Mapping[Hashable, int], plain: Mapping[Hashable, int]
) -> tuple[dict[Hashable, int], float]:
    """Choose the layout of each group of values.

    Parameters
    ----------
    uses
        The layers between groups.
    channels
        For each group, the greatest common divisor of its values' channels.
    plain
        For each group, the bytes that operators need in the plain layout.

    Returns
    -------
    tuple
        The block size of each group, and the seconds of all kernels and layout changes.
    """
    options = _options(uses, channels)
    starts = sorted(set().union({PLAIN}, *options.values()))
    choices = [_Choice(uses, plain, options, start) for start in starts]
    for choice in choices:
        choice.improve()
    best = min(choices, key=_Choice.seconds)
    return best.blocks, best.seconds()


def _options(uses: Sequence[Use], channels: Mapping[Hashable, int]) -> dict[Hashable, set[int]]:
    """Return the block sizes that some kernel takes for each group, and that divide its channels."""
    options = {group: {PLAIN} for group in channels}
    for use in uses:
        for kernel in use.kernels:
            for group, block in zip((use.data, use.output), kernel.blocks, strict=True):
                if block and channels[group] % block == 0:
                    options[group].add(block)
    return options


class _Choice:
    """A block size for each group, initially the largest possible up to `start`."""

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
