"""Feature vectors of configs for the cost model: computed from the knobs, without building anything.

The columns mean the same for all workloads of a task whose spaces have the same knobs, so that a model learned from
one workload applies to another.
"""

from __future__ import annotations

import itertools
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tophub_registry.templates.neighbours import numbers
from tophub_registry.templates.x86 import simd_lanes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tophub_registry.records.target import Target
    from tophub_registry.templates.space import ConfigSpace, KnobSpace


FEATURES = 1
"""The version of the features: greater by one whenever a column gets another meaning."""


class ConfigFeatures:
    """The features of one workload's configs.

    For a split: the logarithms of each factor, of the padding of the axis, and of the largest power of two that
    divides the innermost factor. For other knobs: the option's value. For several knobs together, as sums of
    logarithms: the tiles of any two axes and of all, and for axes in more than two parts the threads, virtual
    threads and outputs per thread. For the workload: all numbers of its arguments, and the axes' lengths. For a
    processor: the numbers that a vector register holds, unless no target is given. GPUs have no such
    feature: all trials of theirs are from one generation so far.

    Parameters
    ----------
    space
        The workload's configs.
    args
        The task's arguments.
    target
        What the configs are for.
    """

    def __init__(self, space: ConfigSpace, args: Sequence[Any] = (), target: Target | None = None) -> None:
        self.space = space
        self._tables = [_table(knob) for knob in space.knobs]
        self._splits = [number for number, knob in enumerate(space.knobs) if knob.kind == "sp"]
        self._parts = [len(space.knobs[split].options[0]) for split in self._splits]
        shape = [max(0.0, number) for number in numbers(args)]
        shape += [float(space.knobs[split].extent) for split in self._splits]
        if target is not None and target.kind == "llvm":
            shape.append(float(simd_lanes(target)))
        self.shape = np.log2(1 + np.array(shape, dtype=np.float32))
        knobs = tuple((k.name, len(k.options[0]) if k.kind == "sp" else 0) for k in space.knobs)
        self.family = (knobs, len(self.shape))
        """Equal for workloads of a task whose features have the same columns."""

    @cached_property
    def columns(self) -> int:
        """The number of features."""
        return int(self([0]).shape[1])

    def __call__(self, indices: Sequence[int] | NDArray[Any]) -> NDArray[Any]:
        """Return the features of the configs with these indices, `[len(indices), features]`, float32."""
        rest = np.asarray(indices, dtype=np.int64)
        columns = []
        for dimension, table in zip(self.space.dimensions, self._tables, strict=True):
            rest, position = np.divmod(rest, dimension)
            columns.append(table[position])
        together = self._together([columns[split] for split in self._splits])
        workload = np.broadcast_to(self.shape, (len(rest), len(self.shape)))
        stacked: NDArray[Any] = np.concatenate([*columns, *(sums[:, None] for sums in together), workload], axis=1)
        return stacked

    def distances(self, index: int) -> NDArray[Any]:
        """Return each config's distance from one config: how often factors of splits are doubled or halved."""
        rest = np.arange(len(self.space))
        total = np.zeros(len(self.space))
        for knob, table, here in zip(self.space.knobs, self._tables, self.space.positions(index), strict=True):
            rest, position = np.divmod(rest, len(knob.options))
            inner = table[:, 1 : len(knob.options[0])] if knob.kind == "sp" else 0.5 * (table != table[here])
            total += np.abs(inner - inner[here]).sum(axis=1)[position]
        return total

    def _together(self, splits: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Return the features of several splits together."""
        tiles = [split[:, 1:parts].sum(axis=1) for split, parts in zip(splits, self._parts, strict=True)]
        sums = [one + other for one, other in itertools.combinations(tiles, 2)]
        if len(tiles) > 2:  # noqa: PLR2004  # two are a pair
            sums.append(np.sum(tiles, axis=0))
        for parts in sorted({parts for parts in self._parts if parts > 2}):  # noqa: PLR2004
            alike = [split for split, its in zip(splits, self._parts, strict=True) if its == parts]
            sums += [np.sum([split[:, part] for split in alike], axis=0) for part in range(parts)]
        return sums


def _table(knob: KnobSpace) -> NDArray[Any]:
    """Return the features of a knob's options, one row for each."""
    if knob.kind != "sp":
        numbers = [[_number(option, position)] for position, option in enumerate(knob.options)]
        return np.array(numbers, dtype=np.float32)
    parts = np.array(knob.options, dtype=np.float64)
    parts[:, 0] = np.ceil(knob.extent / np.prod(parts[:, 1:], axis=1))
    covered = parts.prod(axis=1, keepdims=True) / knob.extent
    innermost = parts[:, -1:].astype(np.int64)
    aligned = innermost & -innermost
    table: NDArray[Any] = np.log2(np.concatenate([parts, covered, aligned], axis=1)).astype(np.float32)
    return table


def _number(option: Any, position: int) -> float:
    return float(option) if isinstance(option, (bool, int, float)) else float(position)
