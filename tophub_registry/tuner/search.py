"""Which configs to measure next: by a learned cost model, at random, or one after the other.

All of them propose indices of the space that were not measured yet, and are told what came out.
"""

from __future__ import annotations

import itertools
import random
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import xgboost

from tophub_registry.tuner.features import KnobFeatures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tophub_registry.templates.space import ConfigSpace

_WHOLE_SPACE = 20_000
"""Spaces up to this size are scored as a whole; larger ones are searched by evolution."""

_PATIENCE = 1000
"""How many random configs of a large space are looked at for each that is wanted."""

_PARAMETERS = {"max_depth": 6, "eta": 0.2, "min_child_weight": 1, "subsample": 0.9, "nthread": 1, "verbosity": 0}
_ROUNDS = 80


class Search(ABC):
    """What is known of one workload's space, and where to look next.

    Parameters
    ----------
    space
        The configs to choose from.
    seed
        Makes the choices reproducible.
    feasible
        Says of an index whether a device could run that config at all; the others are never proposed.
    """

    def __init__(self, space: ConfigSpace, seed: int = 0, feasible: Callable[[int], bool] = lambda _: True) -> None:
        self.space = space
        self.feasible = feasible
        self.random = random.Random(seed)  # noqa: S311  # no secrets here
        self.costs: dict[int, float] = {}

    def observe(self, index: int, cost: float | None) -> None:
        """Take in a measured config: its cost in seconds, None where it failed."""
        self.costs[index] = float("inf") if cost is None else cost

    @abstractmethod
    def propose(self, count: int) -> list[int]:
        """Return up to `count` configs to measure; none when the space is exhausted."""

    def _untried(self, count: int, but: Sequence[int] = ()) -> list[int]:
        """Return random configs that were not measured yet and are not among `but`."""
        excluded = self.costs.keys() | set(but)
        if len(self.space) <= _WHOLE_SPACE:
            rest = [index for index in range(len(self.space)) if index not in excluded]
            self.random.shuffle(rest)
            return list(itertools.islice(filter(self.feasible, rest), count))
        chosen: dict[int, None] = {}
        for _ in range(_PATIENCE * count):  # spaces so large are never exhausted, but may be infeasible throughout
            index = self.random.randrange(len(self.space))
            if index not in excluded and self.feasible(index):
                chosen[index] = None
                if len(chosen) == count:
                    break
        return list(chosen)


class RandomSearch(Search):
    """Each config once, in random order."""

    def propose(self, count: int) -> list[int]:
        return self._untried(count)


class GridSearch(Search):
    """Each config once, in the order of the index."""

    _next = 0

    def propose(self, count: int) -> list[int]:
        chosen: list[int] = []
        while len(chosen) < count and self._next < len(self.space):
            if self._next not in self.costs and self.feasible(self._next):
                chosen.append(self._next)
            self._next += 1
        return chosen


class ModelSearch(Search):
    """The configs that a gradient-boosted cost model, fitted to all measured ones, finds most promising.

    Small spaces are scored as a whole. In large ones a population evolves: the best survive, and children
    take each knob from one of two parents or at random. A part of each batch stays random, so that the
    model also learns where it is wrong.
    """

    explored = 0.1
    """The share of a batch that is chosen at random."""

    warm_up = 12
    """Measured configs before the model is asked."""

    def __init__(self, space: ConfigSpace, seed: int = 0, feasible: Callable[[int], bool] = lambda _: True) -> None:
        super().__init__(space, seed, feasible)
        self._features = KnobFeatures(space)
        self._model: Any = None

    def propose(self, count: int) -> list[int]:
        if sum(np.isfinite(cost) for cost in self.costs.values()) < min(self.warm_up, len(self.space)):
            return self._untried(count)
        self._fit()
        ranked = self._ranked(count)
        at_random = max(1, round(self.explored * count))
        chosen = ranked[: max(0, count - at_random)]
        return chosen + self._untried(count - len(chosen), but=chosen)

    def _fit(self) -> None:
        """Fit the model to the share of the best throughput that each measured config reaches."""
        indices = list(self.costs)
        costs = np.array([self.costs[index] for index in indices])
        data = xgboost.DMatrix(self._features(indices), costs.min() / costs)
        self._model = xgboost.train(_PARAMETERS, data, num_boost_round=_ROUNDS)

    def _scores(self, indices: NDArray[Any]) -> NDArray[Any]:
        """Return the predicted share of the best throughput for each config."""
        scores: NDArray[Any] = self._model.inplace_predict(self._features(indices))
        return scores

    def _ranked(self, count: int) -> list[int]:
        """Return untried configs, the most promising first."""
        if len(self.space) <= _WHOLE_SPACE:
            candidates = np.array(
                [index for index in range(len(self.space)) if index not in self.costs], dtype=np.int64
            )
        else:
            candidates = self._evolve()
        if not len(candidates):
            return []
        scores = self._scores(candidates)
        best_first = (int(index) for index in candidates[np.argsort(-scores, kind="stable")])
        return list(itertools.islice(filter(self.feasible, best_first), count))

    def _evolve(self, size: int = 2048, generations: int = 4, mutation: float = 0.15) -> NDArray[np.int64]:
        """Return a population of untried configs bred for a high score."""
        rng = np.random.default_rng(self.random.getrandbits(32))
        dimensions = np.array(self.space.dimensions)
        best = sorted(self.costs, key=self.costs.__getitem__)[:64]
        population = rng.integers(0, dimensions, size=(size, len(dimensions)))
        population[: len(best)] = [self.space.positions(index) for index in best]
        for _ in range(generations):
            scores = self._scores(self._indices(population))
            parents = population[np.argsort(-scores, kind="stable")[: size // 4]]
            mothers, fathers = rng.integers(0, len(parents), size=(2, size - len(parents)))
            children = np.where(
                rng.integers(0, 2, size=(len(mothers), len(dimensions)), dtype=bool),
                parents[mothers],
                parents[fathers],
            )
            strangers = rng.integers(0, dimensions, size=children.shape)
            children = np.where(rng.random(children.shape) < mutation, strangers, children)
            population = np.concatenate([parents, children])
        indices = np.unique(self._indices(population))
        untried: NDArray[np.int64] = indices[~np.isin(indices, list(self.costs))]
        return untried

    def _indices(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        strides = np.concatenate([[1], np.cumprod(self.space.dimensions[:-1], dtype=np.int64)])
        indices: NDArray[np.int64] = positions.astype(np.int64) @ strides
        return indices


SEARCHES: dict[str, type[Search]] = {"model": ModelSearch, "random": RandomSearch, "grid": GridSearch}
"""The searches by the names that the command line takes."""
