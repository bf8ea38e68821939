"""Which configs to measure next: by a learned cost model, at random, or one after the other.

All of them propose indices of the space that were not measured yet, and are told what came out.
"""

from __future__ import annotations

import functools
import itertools
import random
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import xgboost

from tophub_registry.tuner.features import ConfigFeatures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from tophub_registry.templates.space import ConfigSpace
    from tophub_registry.tuner.warm_start import Lessons

_WHOLE_SPACE = 20_000
"""Spaces up to this size are scored as a whole; larger ones are searched by evolution."""

_PATIENCE = 1000
"""How many random configs of a large space are looked at for each that is wanted."""

_PARAMETERS = {"max_depth": 6, "eta": 0.2, "min_child_weight": 1, "subsample": 0.9, "nthread": 1, "verbosity": 0}
_ROUNDS = 80
_TAUGHT_ROUNDS = 150

_FAILED = 1 / 16
"""The share of the best throughput that a config counts for that failed, and the least that any counts for."""


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
        self.random = random.Random(seed)  # noqa: S311  # no secrets here
        self.costs: dict[int, float] = {}
        self._fits = functools.cache(feasible)

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
            return list(itertools.islice(filter(self._fits, rest), count))
        chosen: dict[int, None] = {}
        for _ in range(_PATIENCE * count):  # spaces so large are never exhausted, but may be infeasible throughout
            index = self.random.randrange(len(self.space))
            if index not in excluded and self._fits(index):
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
            if self._next not in self.costs and self._fits(self._next):
                chosen.append(self._next)
            self._next += 1
        return chosen


class ModelSearch(Search):
    """The configs that a gradient-boosted cost model, fitted to all measured ones, finds most promising.

    Small spaces are scored as a whole. In large ones a population evolves: the best survive, and children
    take each knob from one of two parents or at random. The configs of a batch differ from each other in half of
    the knobs, and a part of it is random, so that the model also learns where it is wrong.

    Parameters
    ----------
    space, seed, feasible
        As in every search.
    args
        The task's arguments, by which the model tells workloads apart.
    start
        A config that is likely to be good, such as AutoTVM's default on a processor: the first configs are taken
        around it. None where there is no such config.
    lessons
        Asked before each batch for what other workloads teach: with lessons nothing is chosen blindly, since
        the model starts from what it learned of the others, and learns in what this workload differs.
    """

    explored = 0.05
    """The share of a batch that is chosen at random."""

    warm_up = 7
    """Measured configs before the model is asked, where other workloads teach nothing."""

    def __init__(
        self,
        space: ConfigSpace,
        seed: int = 0,
        feasible: Callable[[int], bool] = lambda _: True,
        args: Sequence[Any] = (),
        start: int | None = None,
        lessons: Callable[[ConfigFeatures], Lessons | None] = lambda _: None,
    ) -> None:
        super().__init__(space, seed, feasible)
        self.features = ConfigFeatures(space, args)
        self._start = start
        self._lessons = lessons
        self._taught: Any = None
        self._taught_by = 0
        self._model: Any = None

    def propose(self, count: int) -> list[int]:
        self._study()
        measured = sum(np.isfinite(cost) for cost in self.costs.values())
        if self._taught is None and measured < min(self.warm_up, len(self.space)):
            around = self._around_start(count)
            return around + self._untried(count - len(around), but=around)
        self._fit()
        at_random = int(self.explored * count + self.random.random())
        ranked = self._ranked(count - at_random)
        return ranked + self._untried(count - len(ranked), but=ranked)

    def _around_start(self, count: int) -> list[int]:
        """Return untried configs near the one that is likely to be good, chosen at random, the nearer the likelier."""
        if self._start is None or len(self.space) > _WHOLE_SPACE:
            return []
        rng = np.random.default_rng(self.random.getrandbits(32))
        # The largest of distances with Gumbel noise: a draw without replacement, by exp(-distance).
        order = np.argsort(self.features.distances(self._start) - rng.gumbel(size=len(self.space)), kind="stable")
        near = (int(index) for index in order if index not in self.costs)
        return list(itertools.islice(filter(self._fits, near), count))

    def _study(self) -> None:
        """Fit a model to what other workloads teach, again whenever that has grown by a quarter."""
        lessons = self._lessons(self.features)
        if lessons is not None and lessons.known > 1.25 * self._taught_by:
            data = xgboost.DMatrix(lessons.features, np.log2(lessons.shares))
            self._taught = xgboost.train(_PARAMETERS | {"seed": 0}, data, num_boost_round=_TAUGHT_ROUNDS)
            self._taught_by = lessons.known

    def _fit(self) -> None:
        """Fit the model to what was measured here, as far as other workloads have not told it."""
        self._model = None
        if not any(np.isfinite(cost) for cost in self.costs.values()):
            return  # without lessons `propose` does not come here
        indices = list(self.costs)
        costs = np.array([self.costs[index] for index in indices])
        shares = np.log2(np.maximum(costs.min() / costs, _FAILED))
        rows = self.features(indices)
        told = self._told(rows)
        offset = float(np.median((shares - told)[np.isfinite(costs)]))  # the best may be far from the workload's best
        data = xgboost.DMatrix(rows, shares, base_margin=told + offset)
        # Another seed each time: where the data leave a choice, one batch should not repeat the last one's errors.
        parameters = _PARAMETERS | {"seed": self.random.getrandbits(31)}
        self._model = xgboost.train(parameters, data, num_boost_round=_ROUNDS)

    def _told(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the logarithm of the share of the best throughput as other workloads tell it, or zeros."""
        if self._taught is None:
            return np.zeros(len(rows), dtype=np.float32)
        told: NDArray[Any] = self._taught.inplace_predict(rows)
        return told

    def _scores(self, indices: NDArray[Any]) -> NDArray[Any]:
        """Return a number for each config that is the higher the more it promises."""
        rows = self.features(indices)
        scores = self._told(rows)
        if self._model is not None:
            scores = self._model.inplace_predict(rows, base_margin=scores)
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
        best_first = filter(self._fits, map(int, candidates[np.argsort(-scores, kind="stable")]))
        return self._diverse(best_first, count)

    def _diverse(self, best_first: Iterable[int], count: int) -> list[int]:
        """Return the first configs that differ from each other in half of the knobs, then the first of the others.

        Those that the model likes best are all alike, and it is wrong about all of them, or about none.
        """
        apart = len(self.space.knobs) // 2
        chosen: list[int] = []
        others: list[int] = []
        taken: list[NDArray[np.int64]] = []
        for index in best_first:
            positions = np.array(self.space.positions(index))
            if all(np.count_nonzero(positions != other) >= apart for other in taken):
                chosen.append(index)
                taken.append(positions)
                if len(chosen) == count:
                    break
            else:
                others.append(index)
        return chosen + others[: count - len(chosen)]

    def _evolve(self, size: int = 2048, generations: int = 5, mutation: float = 0.15) -> NDArray[np.int64]:
        """Return a population of untried configs bred for a high score; parents are feasible."""
        rng = np.random.default_rng(self.random.getrandbits(32))
        dimensions = np.array(self.space.dimensions)
        best = sorted(self.costs, key=self.costs.__getitem__)[:64]
        strangers = rng.integers(0, dimensions, size=(size - len(best), len(dimensions)))
        population = np.array([*(self.space.positions(index) for index in best), *strangers])
        for _ in range(generations):
            indices, first = np.unique(self._indices(population), return_index=True)
            order = np.argsort(-self._scores(indices), kind="stable")
            fit = (first[place] for place in order if self._fits(int(indices[place])))
            parents = population[list(itertools.islice(fit, size // 4))]
            if not len(parents):
                break
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
