"""Configs as vectors for the cost model: what each knob says, in numbers, without building anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tophub_registry.templates.space import ConfigSpace, KnobSpace


class KnobFeatures:
    """The features of one workload's configs: for a split the logarithm of each part, else the option's value.

    Parameters
    ----------
    space
        The workload's configs.
    """

    def __init__(self, space: ConfigSpace) -> None:
        self.space = space
        self._tables = [_table(knob) for knob in space.knobs]

    def __call__(self, indices: Sequence[int] | NDArray[Any]) -> NDArray[Any]:
        """Return the features of the configs with these indices, `[len(indices), features]`, float32."""
        rest = np.asarray(indices, dtype=np.int64)
        columns = []
        for dimension, table in zip(self.space.dimensions, self._tables, strict=True):
            rest, position = np.divmod(rest, dimension)
            columns.append(table[position])
        return np.concatenate(columns, axis=1)


def _table(knob: KnobSpace) -> NDArray[Any]:
    """Return a row of numbers for each option of a knob."""
    if knob.kind == "sp":
        parts = np.array(knob.options, dtype=np.float64)
        parts[:, 0] = np.ceil(knob.extent / np.prod(parts[:, 1:], axis=1))
        tail = parts.prod(axis=1, keepdims=True) / knob.extent
        numbers: NDArray[Any] = np.concatenate([np.log2(parts), tail], axis=1).astype(np.float32)
        return numbers
    return np.array([[_number(option, position)] for position, option in enumerate(knob.options)], dtype=np.float32)


def _number(option: Any, position: int) -> float:
    return float(option) if isinstance(option, (bool, int, float)) else float(position)
