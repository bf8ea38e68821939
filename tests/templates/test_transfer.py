"""Another processor's record is used only where it may be expected to gain: on kernels that were timed, it does."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path
from statistics import geometric_mean

import pytest

from tests.records.rows import record
from tophub_registry.records.record import Knob
from tophub_registry.records.target import Target
from tophub_registry.templates.registry import instantiate
from tophub_registry.templates.transfer import for_everybody, transfers

TIMED = Path(__file__).parents[2] / "benchmarks" / "families.csv"
"""Records that were timed in turns with AutoTVM's default config, on code of both families."""

FIT_TO = "conv2d_NCHWc.x86"


def config_of(template, **values):
    return template.space.config_of(values)


@pytest.fixture(scope="module")
def gains():
    """Return, by task, processor of the record and family, the gains of records of other processors that are taken."""
    found = defaultdict(list)
    with TIMED.open(newline="") as stream:
        for row in csv.DictReader(stream):
            if row["origin"] == "default":
                default = float(row["seconds"])
                continue
            template = instantiate(row["task"], json.loads(row["args"]))
            config = template.space.config(template.space.find([Knob(*knob) for knob in json.loads(row["entity"])]))
            target, found_on = (Target.parse(f"llvm -mcpu={each}") for each in (row["family"], row["origin"]))
            if row["origin"] != row["family"] and transfers(template, config, target, found_on):
                found[row["task"], row["origin"], row["family"]].append(default / float(row["seconds"]))
    return found


def test_records_that_are_taken_gain_and_hardly_one_loses(gains):
    assert len(gains[FIT_TO, "znver4", "x86-64-v3"]) > 20
    assert geometric_mean(gains[FIT_TO, "znver4", "x86-64-v3"]) > 1.5
    taken = [gain for each in gains.values() for gain in each]
    assert geometric_mean(taken) > 1.1
    assert sum(gain < 0.97 for gain in taken) <= 0.05 * len(taken)
    assert min(taken) > 0.85


def test_what_leaves_wide_registers_idle_is_not_taken(gains):
    """As kernels for AVX2 do on AVX-512: all but a few lost when they were timed."""
    assert (FIT_TO, "x86-64-v3", "x86-64-v4") not in gains


def conv(oc, ow):
    template = instantiate(FIT_TO, record(channels=64).input.args)
    return template, config_of(
        template, tile_ic=[4, 16], tile_oc=[64 // oc, oc], tile_ow=[56 // ow, ow], unroll_kw=True
    )


@pytest.mark.parametrize(
    ("oc", "ow", "on_avx2", "on_avx512"),
    [
        (16, 4, True, False),  # 8 sums of AVX2, with two vectors of the kernel and a pixel 11 registers; 4 of AVX-512
        (16, 7, False, False),  # 17 registers; 7 sums are too few
        (16, 14, False, True),
        (16, 28, False, True),
        (32, 14, False, True),
        (64, 7, False, False),  # 28 sums, 4 vectors and a pixel: 33 registers
        (8, 14, True, False),  # 16 registers; half a vector of AVX-512
        (8, 8, True, False),
    ],
)
def test_sums_fill_the_registers_and_no_more(oc, ow, on_avx2, on_avx512):
    template, config = conv(oc, ow)
    found_on = Target.parse("llvm -mcpu=core2")
    assert transfers(template, config, Target.parse("llvm -mcpu=znver3"), found_on) is on_avx2
    assert transfers(template, config, Target.parse("llvm -mcpu=icelake-server"), found_on) is on_avx512


def test_of_a_processor_that_nobody_knows_nothing_is_expected():
    template, config = conv(16, 4)
    for target in ("llvm -mcpu=unheard-of", "llvm -mtriple=aarch64-linux-gnu"):
        assert not transfers(template, config, Target.parse(target), Target.parse("llvm -mcpu=znver3"))


def test_in_a_package_for_everybody_a_record_for_one_family_has_its_key():
    row = record(target="llvm -mcpu=znver4", tile_ow=14)
    assert for_everybody(row).target == Target.parse("llvm -keys=x86-64-v4 -mcpu=znver4")
    assert for_everybody(for_everybody(row)) == for_everybody(row)
    assert for_everybody(row).config == row.config
    for other in ("llvm -device=arm_cpu -model=rk3399", "cuda -model=h100"):
        assert for_everybody(record(target=other)) == record(target=other)


@pytest.mark.parametrize(("ow", "taken"), [(4, True), (7, True), (14, False), (28, False)])
def test_rows_whose_sums_leave_no_registers_are_not_taken(ow, taken):
    tensors = [["TENSOR", [1, 64, 56, 56], "float32"], ["TENSOR", [64, 1, 3, 3], "float32"]]
    template = instantiate("depthwise_conv2d_NCHWc.x86", [*tensors, [1, 1], [1] * 4, [1, 1], "NCHW", "NCHW", "float32"])
    config = config_of(template, tile_ic=[8, 8], tile_oc=[8, 8], tile_ow=[56 // ow, ow], unroll_kw=True)
    zen, xeon = (Target.parse(f"llvm -mcpu={name}") for name in ("znver3", "x86-64-v3"))
    assert transfers(template, config, zen, xeon) is taken


def test_our_convolutions_in_groups_keep_their_defaults():
    tensors = [["TENSOR", [1, 240, 28, 28], "float32"], ["TENSOR", [60, 80, 1, 1], "float32"]]
    template = instantiate("group_conv2d_NCHWc.x86", [*tensors, [1, 1], [0] * 4, [1, 1], 3, "float32"])
    zen, xeon = (Target.parse(f"llvm -mcpu={name}") for name in ("znver3", "x86-64-v3"))
    assert not transfers(template, template.default(zen), zen, xeon)
