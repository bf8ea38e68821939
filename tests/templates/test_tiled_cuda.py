"""Matrix products by tiles on a GPU: which configs are likely, and how long they are estimated to take."""

import math

import numpy as np
import pytest

from tests.gpu.workloads import conv2d, dense
from tophub_registry.records.target import Target
from tophub_registry.records.task import tensor
from tophub_registry.templates.registry import instantiate
from tophub_registry.templates.tiled_cuda import BlockTile, seconds

CUDA = Target.parse("cuda -model=h100 -arch=sm_90")
POINTWISE = conv2d("conv2d_nchw_tiled", [4, 1024, 14, 14], [512, 1024, 1, 1])


@pytest.mark.parametrize(
    ("task", "args"),
    [
        POINTWISE,
        conv2d("conv2d_nchw_tiled", [1, 3, 33, 31], [5, 3, 7, 7], 2, (3, 3, 3, 3)),
        ("dense_tiled.cuda", dense("large", 2, 1, 3)[1]),
        ("batch_matmul_tiled.cuda", [tensor([3, 1, 7]), tensor([3, 5, 7]), [3, 1, 5], "float32", 0, 1]),
    ],
)
def test_likely_configs_are_feasible_and_unlike_each_other(task, args):
    template = instantiate(task, args)
    first, *others = configs = template.likely(CUDA, 4)
    assert first == template.default(CUDA)
    assert others
    assert all(template.feasible(config, CUDA) for config in configs)
    apart = [
        sum(a != b for a, b in zip(one.entity, other.entity, strict=True))
        for number, one in enumerate(configs)
        for other in configs[:number]
    ]
    assert min(apart) > 1


def test_the_default_is_the_config_of_the_least_estimate():
    template = instantiate(*POINTWISE)
    feasible = [
        config
        for index in range(len(template.space))
        if template.feasible(config := template.space.config(index), CUDA)
    ]
    least = min(map(template.estimate, feasible))
    assert math.isclose(template.estimate(template.default(CUDA)), least)


def test_many_configs_are_estimated_as_each_alone():
    template = instantiate(*POINTWISE)
    tiles = [BlockTile.of(template.space.config(index)) for index in range(0, len(template.space), 97)]
    together = seconds(BlockTile(*map(np.array, zip(*tiles, strict=True))), template.sizes, template.factors)
    assert np.allclose(together, [seconds(tile, template.sizes, template.factors) for tile in tiles])


def test_products_of_more_matrices_than_a_grid_has_blocks_get_no_config():
    args = [tensor([70_000, 2, 8]), tensor([70_000, 2, 8]), None, "float32", 0, 1]
    template = instantiate("batch_matmul_tiled.cuda", args)
    assert template.likely(CUDA, 3) == []
    assert not template.possible(template.default(CUDA))
