"""Which kernel computes each layer: the cheapest over the graph, changes of layout included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tophub_registry.deploy.choice import PLAIN, Use, choose_blocks, kernels_for
from tophub_registry.records.lookup import Answer, Match
from tophub_registry.records.record import Record, workload_key
from tophub_registry.records.target import Target
from tophub_registry.records.task import tensor
from tophub_registry.templates.registry import instantiate

TARGET = Target.parse("llvm -mcpu=znver4")
CONVOLUTION = (
    "conv2d_NCHWc.x86",
    [tensor([1, 32, 8, 8]), tensor([32, 32, 3, 3]), [1, 1], [1, 1, 1, 1], [1, 1], "NCHW", "NCHW", "float32"],
)
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Timed:
    """A kernel of which only its layouts and its time matter."""

    blocks: tuple[int, int]
    cost: float


def use(data: str, output: str, *kernels: Timed) -> Use:
    return Use(data, output, MEGABYTE, MEGABYTE, kernels)  # type: ignore[arg-type]


def test_a_faster_kernel_is_not_worth_a_change_of_layout_that_costs_more() -> None:
    same, other = Timed((16, 16), 110e-6), Timed((8, 8), 100e-6)
    uses = [use("x", "y", same), use("y", "z", same, other), use("z", "w", same)]
    blocks = choose_blocks(uses, dict.fromkeys("xyzw", 32), {})
    assert [each.best(blocks)[1].blocks for each in uses] == [(16, 16)] * 3


def test_a_much_faster_kernel_is_worth_it() -> None:
    same, other = Timed((16, 16), 9000e-6), Timed((8, 8), 100e-6)
    uses = [use("x", "y", Timed((16, 16), 50e-6)), use("y", "z", same, other), use("z", "w", Timed((16, 16), 50e-6))]
    blocks = choose_blocks(uses, dict.fromkeys("xyzw", 32), {})
    assert uses[1].best(blocks)[1] == other


def test_a_block_must_divide_the_channels_of_all_values_that_lie_alike() -> None:
    uses = [use("x", "y", Timed((16, 16), 1e-6))]
    assert choose_blocks(uses, {"x": 3, "y": 32}, {}) == {"x": PLAIN, "y": 16}


def test_what_an_operator_wants_plain_stays_plain_where_nobody_gains() -> None:
    assert choose_blocks([], {"x": 32}, {"x": MEGABYTE}) == {"x": PLAIN}


def answer(entity: list[Any], cost: float) -> Answer:
    row = {
        "input": [str(TARGET), *CONVOLUTION, {}],
        "config": {"index": 0, "code_hash": None, "entity": entity},
        "result": [[cost], 0, 0.1, 1.7e9],
        "version": 0.2,
        "tvm_version": "0.27.0",
    }
    return Answer(Record.model_validate(row), Match.DEVICE, "a log")


def test_of_each_layout_the_best_record_and_no_config_that_does_not_exist() -> None:
    template = instantiate(*CONVOLUTION)
    good, twin = (
        [[knob.name, knob.kind, knob.value] for knob in template.space.config_of(values).entity]
        for values in (
            {"tile_ic": [2, 16], "tile_oc": [2, 16], "tile_ow": [1, 8], "unroll_kw": True},
            {"tile_ic": [2, 16], "tile_oc": [2, 16], "tile_ow": [2, 4], "unroll_kw": True},
        )
    )
    wrong = [["tile_ic", "sp", [-1, 5]], *good[1:]]
    found = [answer(good, 3e-5), answer(twin, 2e-5), answer(wrong, 1e-6)]
    (kernel,) = kernels_for([CONVOLUTION], TARGET, {workload_key(*CONVOLUTION, {}): found})
    assert (kernel.blocks, kernel.cost) == ((16, 16), 2e-5)


def test_without_a_record_autotvms_default() -> None:
    (kernel,) = kernels_for([CONVOLUTION], TARGET, {workload_key(*CONVOLUTION, {}): []})
    assert kernel.config == instantiate(*CONVOLUTION).default(TARGET)
    assert kernel.answer.match is Match.NONE
