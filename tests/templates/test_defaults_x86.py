"""What is computed without records: how many sums go on at once, by the registers of the target."""

from __future__ import annotations

import pytest

from tests.templates.test_numerics import conv2d, depthwise, grouped, pointwise, tiled, winograd
from tophub_registry.records.target import Target
from tophub_registry.templates.registry import instantiate

AVX2, AVX512 = Target.parse("llvm -mcpu=znver3"), Target.parse("llvm -mcpu=znver4")
PADDED = 1, (1, 1, 1, 1)


@pytest.mark.parametrize(
    ("width", "avx2", "avx512"), [(112, 8, 16), (56, 8, 14), (28, 7, 14), (14, 7, 14), (13, 13, 13)]
)
def test_depthwise_sums_take_about_half_of_the_registers(width, avx2, avx512):
    template = instantiate(*depthwise([1, 64, width, width], [3, 3], *PADDED))
    for target, expected in ((AVX2, avx2), (AVX512, avx512)):
        assert template.suggestion(target).value("tile_ow")[-1] == expected


def test_autotvms_own_default_stays_what_it_is():
    template = instantiate(*depthwise([1, 64, 56, 56], [3, 3], *PADDED))
    assert template.default(AVX2).value("tile_ow")[-1] == 28


def test_a_tile_without_avx512_has_two_vectors_of_channels_rather_than_more_pixels():
    template = instantiate(*tiled([1, 256, 14, 14], [256, 256, 3, 3], *PADDED))
    assert (template.default(AVX2).value("tile_oc")[1], template.default(AVX2).value("tile_p")) == (2, 5)


@pytest.mark.parametrize(("filters", "panels"), [(728, [46, 2, 8]), (56, [4, 2, 8]), (24, [1, 3, 8]), (64, [4, 2, 8])])
def test_an_odd_number_of_blocks_is_computed_two_at_a_time(filters, panels):
    template = instantiate(*pointwise([1, 64, 19, 19], filters))
    config = template.default(AVX2)
    assert config.value("tile_oc") == panels
    assert template.feasible(config, AVX2)
    assert template.space.find(config.entity) == config.index >= 0


@pytest.mark.parametrize(("groups", "avx2", "avx512"), [(2, True, True), (4, True, False), (8, False, False)])
def test_groups_of_two_vectors_are_computed_in_tiles(groups, avx2, avx512):
    _, args = grouped(groups, [1, 128, 14, 14], [64, 128 // groups, 3, 3], *PADDED)
    template = instantiate("group_conv2d_NCHWc_tiled.x86", args)
    one_vector = instantiate("group_conv2d_NCHWc.x86", args)
    for target, expected in ((AVX2, avx2), (AVX512, avx512)):
        assert template.promising(target) == expected
        cheaper = template.untuned_cost(template.default(target)) < one_vector.untuned_cost(one_vector.default(target))
        assert cheaper == expected


@pytest.mark.parametrize(
    ("ins", "outs", "fixed"),
    [(64, 96, {"tile_ic": 16, "tile_oc": 16}), (3, 64, {"tile_oc": 16}), (32, 24, {"tile_ic": 16}), (24, 40, {})],
)
def test_a_search_leaves_blocks_of_channels_alone_if_the_channels_fill_vectors(ins, outs, fixed):
    for template in (
        instantiate(*pointwise([1, ins, 14, 14], outs)),
        instantiate(*tiled([1, ins, 14, 14], [outs, ins, 3, 3], *PADDED)),
        instantiate(*winograd(ins, (14, 14), outs)),
    ):
        assert template.fixed(AVX512) == fixed
        assert all(template.default(AVX512).value(name)[-1] == block for name, block in fixed.items())


def test_blocks_of_channels_that_cross_groups_are_no_config():
    template = instantiate("group_conv2d_NCHWc_tiled.x86", grouped(4, [1, 64, 14, 14], [64, 16, 3, 3], *PADDED)[1])
    values = {"tile_ic": [2, 32], "tile_oc": [4, 2, 8], "tile_p": 5, "tile_oh": 14}
    crossing = template.space.config_of(values)
    assert not template.possible(crossing)
    assert not template.feasible(crossing, AVX2)
    assert template.possible(template.space.config_of(values | {"tile_ic": [8, 8]}))


def test_a_direct_convolution_is_not_one_of_groups():
    _, args = conv2d([1, 16, 14, 14], [16, 16, 3, 3], *PADDED)
    assert instantiate("conv2d_NCHWc_tiled.x86", args).workload.group_channels == (16, 16)
