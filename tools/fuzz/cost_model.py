"""The cost model's reader: what it accepts has trees that end, whose every node compares a column that there is."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tophub_registry.cost_model.features import FEATURES
from tophub_registry.cost_model.model import CostModel, Tree

from .harness import Harness, Raw, expect, tried
from .mutation import mutate_json

WORDS = (
    "schema_version", "features", "kind", "tasks", "knobs", "columns", "workloads", "trials", "booster", "learner",
    "gradient_booster", "model", "name", "gbtree", "trees", "left_children", "right_children", "split_indices",
    "split_conditions", "llvm", "cuda", "tile_ic", "conv2d_NCHWc.x86",
)  # fmt: skip


def check(data: bytes, folder: Path) -> None:
    """Read a model of processors."""
    path = folder / "llvm_v0.01.model.json"
    path.write_bytes(data)
    model = tried(CostModel.read, path, "llvm")
    for task in () if model is None else model.tasks.values():
        for tree in task.trees:
            expect(_ends(tree), "a tree ends")
            expect(all(0 <= column < task.columns for column in tree.split_indices), "a tree's columns are there")
            json.dumps(tree.written(0, task.columns), allow_nan=False)


def _ends(tree: Tree) -> bool:
    """Whether every way from the root comes to a leaf."""
    seen, waiting = set(), [0]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        children = (tree.left_children[node], tree.right_children[node])
        if children != (-1, -1):
            if not all(node < child < len(tree.left_children) for child in children):
                return False
            waiting.extend(children)
    return True


def mutate(data: bytes, size: int, chance: random.Random, raw: Raw) -> bytes:
    """Change a document."""
    return mutate_json(data, size, chance, raw, WORDS, data)


def seeds() -> list[bytes]:
    """Return a model of one small tree."""
    tree: dict[str, list[float]] = {"left_children": [1, -1, -1], "right_children": [2, -1, -1]}
    tree |= {"split_indices": [3, 0, 0], "split_conditions": [0.5, 1.5, -2.0]}
    booster = {"learner": {"gradient_booster": {"name": "gbtree", "model": {"trees": [tree, tree]}}}}
    task = {
        "knobs": [["tile_ic", 2], ["unroll_kw", 0]],
        "columns": 8,
        "workloads": 3,
        "trials": 100,
        "booster": booster,
    }
    model = {"schema_version": 1, "features": FEATURES, "kind": "llvm", "tasks": {"conv2d_NCHWc.x86": task}}
    return [json.dumps(model).encode()]


HARNESS = Harness(check, seeds, mutate, WORDS)
