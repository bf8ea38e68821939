"""Search: which configs to measure next, by a cost model, at random, or in order.

A search proposes indices of the space that were not measured yet, and is given the results.
"""

from __future__ import annotations

import functools
import itertools
import random
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import xgboost

from tophub_registry.cost_model.features import ConfigFeatures
from tophub_registry.cost_model.trials import SLOWEST, Lesson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from tophub_registry.templates.space import ConfigSpace

_WHOLE_SPACE = 20_000
"""Spaces up to this size are scored completely; larger ones are explored by evolutionary search."""

_PATIENCE = 1000
"""In a large space, the number of random configs that are drawn for each config wanted."""

_PARAMETERS = {"max_depth": 6, "eta": 0.2, "min_child_weight": 1, "subsample": 0.9, "nthread": 1, "verbosity": 0}
_ROUNDS = 80
_TAUGHT_ROUNDS = 150

_MOST_ROWS = 4000
"""The most rows that the model of other workloads is fitted to: the time grows with them."""


class Search(ABC):
    """A search of one workload's space.

    Parameters
    ----------
    space
        The configs to choose from.
    seed
        The random seed.
    feasible
        Returns whether a device could run the config with an index; others are never proposed.
    """

    def __init__(self, space: ConfigSpace, seed: int = 0, feasible: Callable[[int], bool] = lambda _: True) -> None:
        self.space = space
        self.random = random.Random(seed)  # noqa: S311  # no secrets here
        self.costs: dict[int, float] = {}
        self._fits = functools.cache(feasible)

    def observe(self, index: int, cost: float | None) -> None:
        """Add a measured config: its cost in seconds, None if it failed."""
        self.costs[index] = float("inf") if cost is None else cost

    @abstractmethod
    def propose(self, count: int) -> list[int]:
        """Return up to `count` configs to measure; none if the space is exhausted."""

    def _untried(self, count: int, but: Sequence[int] = ()) -> list[int]:
        """Return random configs that were not measured yet and are not among `but`."""
        excluded = self.costs.keys() | set(but)
        if len(self.space) <= _WHOLE_SPACE:
            rest = [index for index in range(len(self.space)) if index not in excluded]
            self.random.shuffle(rest)
            return list(itertools.islice(filter(self._fits, rest), count))
        chosen: dict[int, None] = {}
        for _ in range(_PATIENCE * count):  # such a large space is never exhausted, but may have no feasible config
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
    """Each config once, in the order of the indices."""

    _next = 0

    def propose(self, count: int) -> list[int]:
        chosen: list[int] = []
        while len(chosen) < count and self._next < len(self.space):
            if self._next not in self.costs and self._fits(self._next):
                chosen.append(self._next)
            self._next += 1
        return chosen


class ModelSearch(Search):
    """The configs that a gradient-boosted cost model, fitted to all measured ones, scores best.

    Small spaces are scored completely. Large ones are explored by evolutionary search: the best configs survive, and
    children take each knob from one of two parents or at random. The configs of a batch differ from each other in
    half of the knobs, and a part of it is random, so that the model also learns where it is wrong.

    Parameters
    ----------
    space, seed, feasible
        As in every search.
    features
        The features of the space's configs, by which the model distinguishes workloads too; by default those of the
        space alone.
    start
        A config that is likely to be good, such as AutoTVM's default on a processor: the first configs are chosen
        near it. None if there is none.
    prior
        A cost model that was learned before: it returns the log2 of the GFLOPS of configs with given features.
    lessons
        Called before each batch for training data from other workloads. With these, or a prior, no config is chosen
        blindly: a model of the other workloads is fitted to their difference from the prior, and one of this
        workload to its difference from that.
    """

    explored = 0.05
    """The share of a batch that is chosen at random."""

    warm_up = 7
    """The number of measured configs before the model is used, if there is no data from other workloads."""

    def __init__(
        self,
        space: ConfigSpace,
        seed: int = 0,
        feasible: Callable[[int], bool] = lambda _: True,
        features: ConfigFeatures | None = None,
        start: int | None = None,
        prior: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
        lessons: Callable[[ConfigFeatures], Lesson | None] = lambda _: None,
    ) -> None:
        super().__init__(space, seed, feasible)
        self.features = features or ConfigFeatures(space)
        self._start = start
        self._prior = prior
        self._lessons = lessons
        self._taught: Any = None
        self._taught_by = 0
        self._model: Any = None

    def propose(self, count: int) -> list[int]:
        self._study()
        measured = sum(np.isfinite(cost) for cost in self.costs.values())
        blind = self._taught is None and self._prior is None
        if blind and measured < min(self.warm_up, len(self.space)):
            around = self._around_start(count)
            return around + self._untried(count - len(around), but=around)
        self._fit()
        at_random = int(self.explored * count + self.random.random())
        ranked = self._ranked(count - at_random)
        return ranked + self._untried(count - len(ranked), but=ranked)

    def _around_start(self, count: int) -> list[int]:
        """Return random untried configs near `start`, the nearer the likelier."""
        if self._start is None or len(self.space) > _WHOLE_SPACE:
            return []
        rng = np.random.default_rng(self.random.getrandbits(32))
        # Gumbel-top-k: sampling without replacement, with probabilities proportional to exp(-distance).
        order = np.argsort(self.features.distances(self._start) - rng.gumbel(size=len(self.space)), kind="stable")
        near = (int(index) for index in order if index not in self.costs)
        return list(itertools.islice(filter(self._fits, near), count))

    def _study(self) -> None:
        """Fit a model to the data of other workloads, again whenever it has grown by a quarter."""
        lessons = self._lessons(self.features)
        if lessons is not None and len(lessons.speeds) > 1.25 * self._taught_by:
            self._taught_by = len(lessons.speeds)
            if self._taught_by > _MOST_ROWS:
                some = np.random.default_rng(0).choice(self._taught_by, _MOST_ROWS, replace=False)
                lessons = Lesson(*(column[some] for column in lessons))
            margin = self._foretold(lessons.features)
            data = xgboost.DMatrix(lessons.features, lessons.speeds, base_margin=margin)
            self._taught = xgboost.train(_PARAMETERS | {"seed": 0}, data, num_boost_round=_TAUGHT_ROUNDS)

    def _fit(self) -> None:
        """Fit the model to the measured configs, on top of what is known from other workloads."""
        self._model = None
        if not any(np.isfinite(cost) for cost in self.costs.values()):
            return  # never without lessons or a prior: `propose` waits for successful configs then
        indices = list(self.costs)
        costs = np.array([self.costs[index] for index in indices])
        shares = np.log2(np.maximum(costs.min() / costs, SLOWEST))
        rows = self.features(indices)
        told = self._told(rows)
        offset = float(np.median((shares - told)[np.isfinite(costs)]))  # the best config so far may be far from optimal
        data = xgboost.DMatrix(rows, shares, base_margin=told + offset)
        # A new seed each time, so that a batch does not repeat the errors of the last one.
        parameters = _PARAMETERS | {"seed": self.random.getrandbits(31)}
        self._model = xgboost.train(parameters, data, num_boost_round=_ROUNDS)

    def _foretold(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the logarithms of throughput by the prior, or zeros."""
        return np.zeros(len(rows), np.float32) if self._prior is None else self._prior(rows)

    def _told(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the logarithms of throughput by all that is known from other workloads, or zeros."""
        told = self._foretold(rows)
        if self._taught is not None:
            told = self._taught.inplace_predict(rows, base_margin=told)
        return told

    def _scores(self, indices: NDArray[Any]) -> NDArray[Any]:
        """Return the predicted score of each config; higher is better."""
        rows = self.features(indices)
        scores = self._told(rows)
        if self._model is not None:
            scores = self._model.inplace_predict(rows, base_margin=scores)
        return scores

    def _ranked(self, count: int) -> list[int]:
        """Return untried configs, the best score first."""
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

        The configs with the best scores are all similar, so the model is wrong about all of them or about none.
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
        """Return a population of untried configs evolved for a high score; all parents are feasible."""
        rng = np.random.default_rng(self.random.getrandbits(32))
        dimensions = np.array(self.space.dimensions)
        best = sorted(self.costs, key=self.costs.__getitem__)[:64]
        newcomers = rng.integers(0, dimensions, size=(size - len(best), len(dimensions)))
        population = np.array([*(self.space.positions(index) for index in best), *newcomers])
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
            newcomers = rng.integers(0, dimensions, size=children.shape)
            children = np.where(rng.random(children.shape) < mutation, newcomers, children)
            population = np.concatenate([parents, children])
        indices = np.unique(self._indices(population))
        untried: NDArray[np.int64] = indices[~np.isin(indices, list(self.costs))]
        return untried

    def _indices(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        strides = np.concatenate([[1], np.cumprod(self.space.dimensions[:-1], dtype=np.int64)])
        indices: NDArray[np.int64] = positions.astype(np.int64) @ strides
        return indices


SEARCHES: dict[str, type[Search]] = {"model": ModelSearch, "random": RandomSearch, "grid": GridSearch}
"""The searches by name, as on the command line."""
