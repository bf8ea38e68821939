"""A cost model in a file, `cuda_v0.13.model.json`: for each task, trees that predict the speed of its configs.

The trees are XGBoost's, in XGBoost's JSON. The file is untrusted text: sizes are bounded, and every tree is checked
before XGBoost, which does not check them, gets to see it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from tophub_registry.cost_model.features import FEATURES, ConfigFeatures
from tophub_registry.errors import InputError
from tophub_registry.files import atomic_write
from tophub_registry.packages.index import MAX_MODEL
from tophub_registry.packages.version import model_beside
from tophub_registry.records.log import read_records
from tophub_registry.records.target import Target
from tophub_registry.templates.template import Template

_MOST_TREES = 2000
_MOST_NODES = 1 << 10

_REMEDY = "compiling works without it; `tophub fetch` gets another, and `tophub learn` makes one"

_NO_PARENT = (1 << 31) - 1
"""What XGBoost writes as the root's parent."""

_RANGE = 60
"""Predictions are kept within this many doublings or halvings of one GFLOPS: a damaged tree may hold any number."""

Child = Annotated[int, Field(ge=-1, lt=_MOST_NODES)]


class _Part(BaseModel):
    """A part of the file that is read; what else XGBoost writes beside it is ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Tree(_Part):
    """A regression tree as XGBoost writes it: at each node a feature is compared with a threshold.

    Attributes
    ----------
    left_children, right_children
        The children of each node, numbered from the root, 0; -1 for leaves. Smaller features go left.
    split_indices, split_conditions
        The column that is compared, and what with; for a leaf, 0 and the value.
    """

    left_children: list[Child] = Field(min_length=1, max_length=_MOST_NODES)
    right_children: list[Child] = Field(max_length=_MOST_NODES)
    split_indices: list[Annotated[int, Field(ge=0)]] = Field(max_length=_MOST_NODES)
    split_conditions: list[FiniteFloat] = Field(max_length=_MOST_NODES)

    @model_validator(mode="after")
    def _check(self) -> Tree:
        nodes = len(self.left_children)
        if {len(self.right_children), len(self.split_indices), len(self.split_conditions)} != {nodes}:
            raise ValueError("the lists of a tree differ in length")
        for node, (left, right) in enumerate(zip(self.left_children, self.right_children, strict=True)):
            if (left, right) != (-1, -1) and not (node < left < nodes and node < right < nodes):
                raise ValueError(f"the children of node {node} of a tree are not nodes after it")
        return self

    def written(self, number: int, columns: int) -> dict[str, Any]:
        """Return the whole tree as XGBoost reads it, without the statistics of its training."""
        nodes = len(self.left_children)
        parents = [_NO_PARENT] * nodes
        for node, children in enumerate(zip(self.left_children, self.right_children, strict=True)):
            for child in children:
                if child >= 0:
                    parents[child] = node
        size = {"num_deleted": "0", "num_feature": str(columns), "num_nodes": str(nodes), "size_leaf_vector": "1"}
        return {
            "base_weights": [0.0] * nodes,
            "categories": [],
            "categories_nodes": [],
            "categories_segments": [],
            "categories_sizes": [],
            "default_left": [0] * nodes,
            "id": number,
            "left_children": self.left_children,
            "loss_changes": [0.0] * nodes,
            "parents": parents,
            "right_children": self.right_children,
            "split_conditions": self.split_conditions,
            "split_indices": self.split_indices,
            "split_type": [0] * nodes,
            "sum_hessian": [0.0] * nodes,
            "tree_param": size,
        }


class _Trees(_Part):
    trees: list[Tree] = Field(max_length=_MOST_TREES)


class _GradientBooster(_Part):
    model: _Trees
    name: Literal["gbtree"]


class _Learner(_Part):
    gradient_booster: _GradientBooster


class _Booster(_Part):
    learner: _Learner


class TaskModel(_Part):
    """The trees of one task.

    Attributes
    ----------
    knobs
        The names of the knobs of the task's spaces, and for splits the number of parts.
    columns
        The number of features.
    workloads, trials
        How many of them it was learned from.
    booster
        XGBoost's JSON.
    """

    knobs: tuple[tuple[str, int], ...]
    columns: Annotated[int, Field(ge=1, le=1000)]
    workloads: int
    trials: int
    booster: _Booster

    @model_validator(mode="after")
    def _check(self) -> TaskModel:
        for tree in self.trees:
            if max(tree.split_indices) >= self.columns:
                raise ValueError(f"a tree compares a feature that is not among the {self.columns}")
        return self

    @property
    def trees(self) -> list[Tree]:
        """The trees, whose values add up to the prediction."""
        return self.booster.learner.gradient_booster.model.trees

    def fits(self, features: ConfigFeatures) -> bool:
        """Return whether the trees were made for features like a workload's."""
        return (self.knobs, self.columns) == (features.family[0], features.columns)

    def speeds(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the predicted log2 of the GFLOPS of configs.

        Parameters
        ----------
        rows
            The configs' features, `[n, columns]`.
        """
        predicted: NDArray[Any] = self._loaded.inplace_predict(rows)
        return predicted

    @functools.cached_property
    def _loaded(self) -> Any:
        import xgboost

        booster = xgboost.Booster({"nthread": 1, "verbosity": 0})
        booster.load_model(bytearray(json.dumps(with_trees(self.trees, self.columns)).encode()))
        return booster


def with_trees(trees: Sequence[Tree], columns: int) -> dict[str, Any]:
    """Return trees as a booster in the JSON of the XGBoost that is installed: its form differs between releases."""
    import xgboost

    nothing = xgboost.DMatrix(np.zeros((2, columns), np.float32), np.zeros(2))
    booster = xgboost.train({"base_score": 0, "verbosity": 0, "nthread": 1}, nothing, num_boost_round=1)
    whole: dict[str, Any] = json.loads(booster.save_raw("json"))
    model = whole["learner"]["gradient_booster"]["model"]
    model["gbtree_model_param"]["num_trees"] = str(len(trees))
    model["iteration_indptr"] = [*range(len(trees) + 1)]
    model["tree_info"] = [0] * len(trees)
    model["trees"] = [tree.written(number, columns) for number, tree in enumerate(trees)]
    return whole


class CostModel(_Part):
    """What predicts the speed of configs, by task.

    Attributes
    ----------
    schema_version
        The version of the file's format.
    features
        The version of the features that it was learned from.
    kind
        The kind of target: `llvm`, `cuda`.
    tasks
        The model of each task.
    """

    schema_version: Literal[1]
    features: int
    kind: str
    tasks: dict[str, TaskModel]

    def of(self, task: str, features: ConfigFeatures) -> TaskModel | None:
        """Return the model of a task; None if there is none for such features."""
        known = self.tasks.get(task)
        return known if known is not None and known.fits(features) else None

    def seconds(
        self, template: Template, indices: Sequence[int], target: Target, workloads: int = 1
    ) -> list[float] | None:
        """Return the predicted times of configs of a workload, in seconds.

        Parameters
        ----------
        template, indices, target
            The workload, its configs, and what they are for.
        workloads
            How many workloads the task's model must have been learned from; None is returned if it was from fewer.
        """
        features = ConfigFeatures(template.space, template.args, target)
        known = self.of(template.task, features)
        if known is None or known.workloads < workloads:
            return None
        predicted = np.nan_to_num(known.speeds(features(indices)).astype(np.float64), nan=-_RANGE)
        speeds = 2.0 ** np.clip(predicted, -_RANGE, _RANGE)  # GFLOPS
        return [template.flop / speed / 1e9 for speed in speeds.tolist()]

    @staticmethod
    def read(path: Path, kind: str) -> CostModel:
        """Read a model's file for a kind of target.

        Raises
        ------
        InputError
            It is damaged, of another version, or made for other features or another kind of target.
        """
        try:
            size = path.stat().st_size
            data = path.read_bytes() if size <= MAX_MODEL else b""
        except OSError as error:
            raise InputError(f"the cost model can't be read: {error.strerror}", file=path, remedy=_REMEDY) from error
        if size > MAX_MODEL:
            raise InputError(f"the cost model is larger than {MAX_MODEL >> 20} MiB", file=path, remedy=_REMEDY)
        try:
            made = _Made.model_validate_json(data)
            if (made.schema_version, made.features) != (1, FEATURES):
                what = f"version {made.schema_version} with features {made.features}, and this release reads 1 with"
                raise InputError(f"the cost model is of {what} {FEATURES}", file=path, remedy=_REMEDY)
            if made.kind != kind:
                raise InputError(f"the cost model is for {made.kind}, not for {kind}", file=path, remedy=_REMEDY)
            return CostModel.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            said = f"the cost model is damaged: {f'{where}: ' if where else ''}{first['msg']}"
            raise InputError(said, file=path, remedy=_REMEDY) from error

    @staticmethod
    def beside(logs: Iterable[Path], kind: str, unusable: Callable[[InputError], None]) -> CostModel | None:
        """Read the model beside the first of the logs that has one; None if there is none.

        Parameters
        ----------
        unusable
            Is told why the model can't be read, and None is returned: nothing depends on it.
        """
        paths = (log.with_name(model_beside(log.name)) for log in logs)
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            return None
        try:
            return CostModel.read(path, kind)
        except InputError as error:
            unusable(error)
            return None

    def write(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the file; UsageError if it exists and `overwrite` is false."""
        tasks = {
            task: {
                **known.model_dump(exclude={"booster"}, mode="json"),
                "booster": with_trees(known.trees, known.columns),
            }
            for task, known in sorted(self.tasks.items())
        }
        whole = {**self.model_dump(exclude={"tasks"}, mode="json"), "tasks": tasks}
        with atomic_write(path, overwrite=overwrite) as stream:
            stream.write(json.dumps(whole, separators=(",", ":")).encode() + b"\n")


class _Made(_Part):
    """What tells whether the rest can be read."""

    schema_version: int
    features: int
    kind: str


def check_beside(model: Path, log: Path) -> None:
    """Raise InputError if clients could not use a cost model beside a log: it is damaged, or for other targets."""
    for record in read_records(log):
        CostModel.read(model, kind=record.target.kind)
        return
