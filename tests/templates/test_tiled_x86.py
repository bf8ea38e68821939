"""Register tiles of matrix products: they suit the target's registers, whatever the number of rows and columns."""

import random

import pytest

from tophub_registry.records.target import Target
from tophub_registry.records.task import tensor
from tophub_registry.templates.registry import instantiate
from tophub_registry.templates.tiled_x86 import Tile, default_tile

TARGETS = [Target.parse(f"llvm -mcpu={name}") for name in ("x86-64-v2", "x86-64-v3", "x86-64-v4")]


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_the_default_is_worth_trying(target):
    chance = random.Random(0)
    for _ in range(200):
        rows, inner, columns = (chance.choice([1, 2, 3, 7, 16, 49, 197, chance.randint(1, 400)]) for _ in range(3))
        dense = instantiate("dense_tiled.x86", [tensor([rows, inner]), tensor([columns, inner]), None, "float32"])
        assert dense.feasible(dense.default(target), target), (rows, columns)


@pytest.mark.parametrize(
    ("target", "rows", "columns", "tile"),
    [
        (TARGETS[2], 197, 3072, Tile(6, 4, 16)),
        (TARGETS[2], 128, 768, Tile(8, 3, 16)),
        (TARGETS[1], 197, 3072, Tile(6, 2, 8)),
        (TARGETS[1], 1, 1, Tile(1, 1, 8)),
    ],
)
def test_sums_fill_the_registers_and_little_is_computed_for_nothing(target, rows, columns, tile):
    assert default_tile(rows, columns, target) == tile
