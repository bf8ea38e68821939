"""Which kernel computes each layer, chosen over the whole graph: kernels' times plus changes of layout between them.

A processor's kernels want the channels in blocks, `[N, C/c, H, W, c]`, and each config has blocks of its own.
Values that are computed from one another element by element, or pooled, or joined, lie alike; where a kernel
wants it otherwise, the layout is changed, at a cost. The choice is the cheapest that improving one value's
layout at a time leads to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tophub_registry.errors import InputError
from tophub_registry.models.layers import Layer
from tophub_registry.records.lookup import NOTHING, Answer
from tophub_registry.records.record import Config, workload_key
from tophub_registry.records.target import Target
from tophub_registry.templates.registry import TEMPLATES, instantiate
from tophub_registry.templates.template import Template

PLAIN = 0
"""The block of a value whose channels are not in blocks: `[N, C, H, W]`."""

_BLOCKED = 5
"""The axes of a value with its channels in blocks."""

_BANDWIDTH = 8e9
_START = 2e-6
_UNTUNED = 2e10


@dataclass(frozen=True)
class Kernel:
    """A way to compute a layer.

    Attributes
    ----------
    template, config
        What is computed, and how.
    answer
        The record that the config is from, and how well it matched; `NOTHING` for AutoTVM's default config.
    """

    template: Template
    config: Config
    answer: Answer

    @cached_property
    def blocks(self) -> tuple[int, int]:
        """The blocks of the data and of the output."""
        data, *_, output = self.template.tensors(self.config)
        return _block(data.shape), _block(output.shape)

    @property
    def cost(self) -> float:
        """Seconds that it takes: the record's, or a guess for a default."""
        record = self.answer.record
        return record.mean_cost if record is not None else self.template.flop / _UNTUNED


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


def kernels_for(
    layer: Layer, workloads: Sequence[tuple[str, list[object]]], target: Target, answers: Callable[[str], list[Answer]]
) -> list[Kernel]:
    """Return the kernels that could compute a layer: those of records, and where there are none the defaults.

    Parameters
    ----------
    workloads
        The layer's workloads: task and arguments.
    answers
        The records of a workload, by its key.
    """
    tuned: list[Kernel] = []
    defaults: list[Kernel] = []
    for task, args in workloads:
        if task not in TEMPLATES:
            continue
        template = instantiate(task, args)
        for answer in answers(workload_key(task, args, {})):
            if answer.record is not None and _exists(template, answer.record.config):
                tuned.append(Kernel(template, answer.record.config, answer))
        defaults.append(Kernel(template, template.default(target), NOTHING))
    return _best_of_each_layout(tuned or defaults)


def _exists(template: Template, config: Config) -> bool:
    try:
        template.space.find(config.entity)
    except InputError:
        return False
    return True


def _best_of_each_layout(kernels: Sequence[Kernel]) -> list[Kernel]:
    best: dict[tuple[int, int], Kernel] = {}
    for kernel in kernels:
        if kernel.blocks not in best or kernel.cost < best[kernel.blocks].cost:
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
    options = {group: {PLAIN} for group in channels}
    touching: dict[Hashable, list[Use]] = {group: [] for group in channels}
    for use in uses:
        for kernel in use.kernels:
            for group, block in zip((use.data, use.output), kernel.blocks, strict=True):
                if block and channels[group] % block == 0:
                    options[group].add(block)
        for group in {use.data, use.output}:
            touching[group].append(use)

    def improved(blocks: dict[Hashable, int]) -> tuple[float, dict[Hashable, int]]:
        def around(group: Hashable, block: int) -> float:
            tried = {**blocks, group: block}
            needed = change(plain[group]) if block != PLAIN and plain.get(group) else 0.0
            return needed + sum(use.best(tried)[0] for use in touching[group])

        changed = True
        while changed:
            changed = False
            for group, possible in options.items():
                best = min(sorted(possible), key=lambda block: around(group, block))
                if around(group, best) < around(group, blocks[group]):
                    blocks[group], changed = best, True
        total = sum(use.best(blocks)[0] for use in uses)
        total += sum(change(size) for group, size in plain.items() if size and blocks[group] != PLAIN)
        return total, blocks

    starts = sorted(set().union(*options.values(), {PLAIN}))
    tried = [
        improved({group: max((b for b in possible if b <= start), default=PLAIN) for group, possible in options.items()})
        for start in starts
    ]
    return min(tried, key=lambda outcome: outcome[0])[1] if tried else {}


def common_channels(numbers: Sequence[int]) -> int:
    """Return the greatest common divisor of the channels of values that lie alike."""
    return math.gcd(*numbers)
