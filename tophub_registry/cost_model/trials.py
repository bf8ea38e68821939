"""The trials of one workload on one target, and what a cost model learns from them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tophub_registry.cost_model.features import ConfigFeatures
from tophub_registry.errors import InputError
from tophub_registry.records.record import Record
from tophub_registry.records.target import Target
from tophub_registry.templates.template import Template

SLOWEST = 1 / 16
"""The throughput, relative to the best, that is assumed for failed configs, and the minimum for all others."""


class Lesson(NamedTuple):
    """What measured configs teach.

    Attributes
    ----------
    features
        `[n, columns]`.
    speeds
        The log2 of the GFLOPS, `[n]`.
    """

    features: NDArray[Any]
    speeds: NDArray[Any]


class Trials:
    """The measured configs of one workload on one target.

    Attributes
    ----------
    costs
        For each config's index the cost of its fastest repeat, in seconds; infinite if it failed.
    """

    def __init__(self, template: Template, target: Target) -> None:
        self.template = template
        self.features = ConfigFeatures(template.space, template.args, target)
        self.costs: dict[int, float] = {}
        self._lesson: Lesson | None = None

    def add(self, record: Record) -> None:
        """Add a record of the workload; one whose config is not in its space is ignored."""
        try:
            index = self.template.space.find(record.config.entity)
        except InputError:
            return
        self.costs[index] = min(record.result.costs) if record.valid else math.inf
        self._lesson = None

    @property
    def best(self) -> int | None:
        """The index of the best config; None if all failed."""
        best = min(self.costs, key=self.costs.__getitem__, default=None)
        return None if best is None or math.isinf(self.costs[best]) else best

    @property
    def lesson(self) -> Lesson:
        """What the configs teach, if one of them is valid."""
        if self._lesson is None:
            costs = np.array([*self.costs.values()])
            costs = np.minimum(costs, costs.min() / SLOWEST)
            self._lesson = Lesson(self.features([*self.costs]), np.log2(self.template.flop / costs / 1e9))
        return self._lesson
