"""Which kernel computes each layer: the cheapest over the graph, changes of layout included."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import pytest

from tophub_registry.compiler.choice import PLAIN, Use, change, choose_blocks, kernels_for
from tophub_registry.records.lookup import Answer, Match
from tophub_registry.records.record import Record, workload_key
from tophub_registry.records.target import Target
from tophub_registry.records.task import tensor
from tophub_registry.tasks.layers import Convolution, TransposedConvolution
from tophub_registry.tasks.rules import workloads
from tophub_registry.templates.cuda import CudaTemplate
from tophub_registry.templates.neighbours import Neighbourhood
from tophub_registry.templates.registry import instantiate

TARGET = Target.parse("llvm -mcpu=znver4")
GPU = Target.parse("cuda -model=h100")
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
    blocks, _ = choose_blocks(uses, dict.fromkeys("xyzw", 32), {})
    assert [each.best(blocks)[1].blocks for each in uses] == [(16, 16)] * 3


def test_a_much_faster_kernel_is_worth_it() -> None:
    same, other = Timed((16, 16), 9000e-6), Timed((8, 8), 100e-6)
    uses = [use("x", "y", Timed((16, 16), 50e-6)), use("y", "z", same, other), use("z", "w", Timed((16, 16), 50e-6))]
    blocks, _ = choose_blocks(uses, dict.fromkeys("xyzw", 32), {})
    assert uses[1].best(blocks)[1] == other


def test_a_block_must_divide_the_channels_of_all_values_that_lie_alike() -> None:
    uses = [use("x", "y", Timed((16, 16), 1e-6))]
    assert choose_blocks(uses, {"x": 3, "y": 32}, {})[0] == {"x": PLAIN, "y": 16}


def test_what_an_operator_wants_plain_stays_plain_where_nobody_gains() -> None:
    assert choose_blocks([], {"x": 32}, {"x": MEGABYTE}) == ({"x": PLAIN}, 0)


def answer(entity: list[Any], cost: float, workload: tuple[str, list[Any]] = CONVOLUTION) -> Answer:
    row = {
        "input": [str(TARGET), *workload, {}],
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
    (kernel,) = kernels_for([CONVOLUTION], TARGET, {workload_key(*CONVOLUTION, {}): found}, Neighbourhood())
    assert (kernel.blocks, kernel.cost) == ((16, 16), 2e-5)


def like(size: int, cost: float, oc: int) -> Answer:
    """Return the record of a convolution that differs in its size."""
    task, args = CONVOLUTION
    data = [args[0][0], [1, args[0][1][1], size, size], args[0][2]]
    template = instantiate(task, [data, *args[1:]])
    values = {"tile_ic": [-1, 16], "tile_oc": [-1, oc], "tile_ow": [-1, 4], "unroll_kw": True}
    entity = [[knob.name, knob.kind, knob.value] for knob in template.space.config_of(values).entity]
    found = answer(entity, cost)
    assert found.record is not None
    row = found.record.model_copy(update={"input": found.record.input._replace(args=template.args)})
    return Answer(row, Match.DEVICE, "a log")


def gpu_convolution(size: int) -> tuple[str, list[Any]]:
    return "conv2d_nchw.cuda", [tensor([1, 32, size, size]), tensor([32, 32, 3, 3]), [1, 1], [1] * 4, [1, 1], "float32"]


def like_on_gpu(size: int, cost: float) -> Answer:
    """Return the record of a convolution that differs in its size."""
    workload = gpu_convolution(size)
    entity = [[knob.name, knob.kind, knob.value] for knob in instantiate(*workload).suggestion(GPU).entity]
    found = answer(entity, cost, workload)
    assert found.record is not None
    return Answer(
        found.record.model_copy(update={"input": found.record.input._replace(target=str(GPU))}), Match.DEVICE, "a log"
    )


def test_on_a_gpu_without_a_record_the_nearest_neighbours_config_and_that_is_said() -> None:
    """Its speed is what the layer is taken to reach."""
    here = gpu_convolution(8)
    near, far = like_on_gpu(16, 4e-5), like_on_gpu(128, 1e-9)
    (kernel,) = kernels_for([here], GPU, {workload_key(*here, {}): []}, Neighbourhood([far, near]))
    assert (kernel.answer.match, kernel.answer.record, kernel.answer.source) == (Match.FALLBACK, None, "a log")
    assert kernel.cost == pytest.approx(1e-5)
    assert kernel.neighbour is not None
    assert near.record is not None
    assert kernel.neighbour.args == near.record.input.args
    assert not kernel.answer.match.recorded


def test_on_a_processor_the_default_is_better_than_any_neighbours_config() -> None:
    key = workload_key(*CONVOLUTION, {})
    (kernel,) = kernels_for([CONVOLUTION], TARGET, {key: []}, Neighbourhood([like(16, 1e-4, 32)]))
    assert kernel.config == instantiate(*CONVOLUTION).default(TARGET)
    assert (kernel.answer.match, kernel.neighbour) == (Match.NONE, None)


def test_a_record_is_taken_whatever_neighbours_there_are() -> None:
    template = instantiate(*CONVOLUTION)
    entity = [[knob.name, knob.kind, knob.value] for knob in template.default(TARGET).entity]
    neighbourhood = Neighbourhood([like(2 * template.workload.height, 1e-9, 32)])
    answers = {workload_key(*CONVOLUTION, {}): [answer(entity, 1.0)]}
    assert [kernel.answer.match for kernel in kernels_for([CONVOLUTION], TARGET, answers, neighbourhood)] == [
        Match.DEVICE
    ]


def test_a_layer_whose_record_lost_gets_no_neighbours_config() -> None:
    here = gpu_convolution(8)
    key = workload_key(*here, {})
    (kernel,) = kernels_for([here], GPU, {key: []}, Neighbourhood([like_on_gpu(16, 1e-9)], excluded=[key]))
    assert kernel.config == instantiate(*here).suggestion(GPU)
    assert (kernel.answer.match, kernel.neighbour) == (Match.NONE, None)


@pytest.mark.parametrize("task", ["group_conv2d_nchw.cuda", "conv2d_nchw.cuda", "conv2d_nchw_winograd.cuda"])
def test_on_a_gpu_without_records_and_neighbours_a_config_that_keeps_it_busy(task: str) -> None:
    grouped = task.startswith("group")
    kernel = [256, 256 // (32 if grouped else 1), 3, 3]
    args = [
        tensor([1, 256, 28, 28]),
        tensor(kernel),
        [1, 1],
        [1, 1, 1, 1],
        [1, 1],
        *([32] if grouped else []),
        "float32",
    ]
    target = Target.parse("cuda -model=h100")
    (its,) = kernels_for([(task, args)], target, {workload_key(task, args, {}): []}, Neighbourhood())
    assert isinstance(its.template, CudaTemplate)
    limits = its.template.limits(its.config)
    assert its.template.feasible(its.config, target)
    assert 64 <= math.prod(limits.threads) <= 256
    assert limits.sums <= 16
    assert its.answer.match is Match.NONE


def test_without_a_record_autotvms_default() -> None:
    (kernel,) = kernels_for([CONVOLUTION], TARGET, {workload_key(*CONVOLUTION, {}): []}, Neighbourhood())
    assert kernel.config == instantiate(*CONVOLUTION).default(TARGET)
    assert kernel.answer.match is Match.NONE


def direct_and_winograd(size: int) -> list[tuple[str, list[Any]]]:
    tensors = tensor([1, 64, size, size]), tensor([64, 64, 3, 3])
    args = [*tensors, [1, 1], [1, 1, 1, 1], [1, 1], "NCHW", "NCHW", "float32"]
    return [("conv2d_NCHWc.x86", args), ("conv2d_NCHWc_winograd.x86", args)]


def recorded_default(workload: tuple[str, list[Any]], cost: float) -> Answer:
    """Return a record of AutoTVM's default config."""
    task, args = workload
    entity = [[knob.name, knob.kind, knob.value] for knob in instantiate(task, args).default(TARGET).entity]
    row = {
        "input": [str(TARGET), task, args, {}],
        "config": {"index": 0, "code_hash": None, "entity": entity},
        "result": [[cost], 0, 0.1, 1.7e9],
        "version": 0.2,
        "tvm_version": "0.19.0",
    }
    return Answer(Record.model_validate(row), Match.DEVICE, "an old log")


@pytest.mark.parametrize(("size", "chosen"), [(56, "conv2d_NCHWc_winograd.x86"), (14, "conv2d_NCHWc.x86")])
def test_an_untried_winograd_is_preferred_to_a_direct_record_of_a_large_layer(size: int, chosen: str) -> None:
    """A log of AutoTVM's templates alone has no record of Winograd's; on a small layer it may lose."""
    workloads = direct_and_winograd(size)
    found = recorded_default(workloads[0], 1e-3)
    answers = {workload_key(*workloads[0], {}): [found], workload_key(*workloads[1], {}): []}
    best = min(kernels_for(workloads, TARGET, answers, Neighbourhood()), key=lambda kernel: kernel.cost)
    assert best.template.task == chosen
    if chosen != workloads[0][0]:
        assert (best.config, best.instead_of) == (best.template.default(TARGET), found)
        assert 0.3e-3 < best.cost < 1e-3


def direct_and_own(channels: int, size: int, filters: int) -> list[tuple[str, list[Any]]]:
    shapes = (1, channels, size, size), (filters, channels, 3, 3)
    layer = Convolution("conv", "convolution", *shapes, (1, 1), (1, 1, 1, 1), (1, 1), 1)
    return workloads(layer, "llvm", own=True)


@pytest.mark.parametrize(("filters", "chosen"), [(64, "conv2d_NCHWc_tiled.x86"), (63, "conv2d_NCHWc.x86")])
def test_untried_tiles_are_preferred_to_a_direct_record_if_the_channels_fill_the_vectors(
    filters: int, chosen: str
) -> None:
    tasks = direct_and_own(32, 14, filters)
    found = recorded_default(tasks[0], 1e-3)
    answers = {workload_key(*each, {}): [found] if each == tasks[0] else [] for each in tasks}
    best = min(kernels_for(tasks, TARGET, answers, Neighbourhood()), key=lambda kernel: kernel.cost)
    assert (best.template.task, best.instead_of) == (chosen, None if filters == 63 else found)


def test_groups_are_computed_in_blocks_even_where_that_costs_changes_of_layout() -> None:
    layer = Convolution("conv", "convolution", (1, 128, 56, 56), (256, 64, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 2)
    tasks = workloads(layer, "llvm", own=True)
    answers: dict[str, list[Answer]] = {workload_key(*each, {}): [] for each in tasks}
    costs = {its.blocks: its.cost for its in kernels_for(tasks, TARGET, answers, Neighbourhood())}
    size = 4 * 56 * 56
    assert min(cost for blocks, cost in costs.items() if PLAIN not in blocks) < costs[PLAIN, PLAIN] - (
        change(128 * size) + change(256 * size)
    )


@pytest.mark.parametrize(("size", "chosen"), [(7, "conv2d_NCHWc_tiled.x86"), (28, "conv2d_NCHWc_winograd.x86")])
def test_winograds_default_is_for_images_with_so_many_pixels_that_it_saves_more_than_its_larger_kernel_costs(
    size: int, chosen: str
) -> None:
    tasks = direct_and_own(512, size, 512)
    answers: dict[str, list[Answer]] = {workload_key(*each, {}): [] for each in tasks}
    (kernel,) = kernels_for(tasks, Target.parse("llvm -mcpu=x86-64-v4"), answers, Neighbourhood())
    assert kernel.template.task == chosen


def test_a_winograd_that_was_tried_and_lost_is_not_preferred() -> None:
    workloads = direct_and_winograd(56)
    found = [recorded_default(each, cost) for each, cost in zip(workloads, (1e-3, 2e-3), strict=True)]
    answers = {workload_key(*each, {}): [its] for each, its in zip(workloads, found, strict=True)}
    (kernel,) = kernels_for(workloads, TARGET, answers, Neighbourhood())
    assert (kernel.answer, kernel.instead_of) == (found[0], None)


def test_other_layers_direct_records_do_not_stand_before_winograds_default() -> None:
    """Without any record a large layer gets it, and no worse with those of other layers."""
    workloads, others = direct_and_winograd(56), direct_and_winograd(64)
    answers: dict[str, list[Answer]] = {workload_key(*each, {}): [] for each in workloads}
    for neighbourhood in (Neighbourhood(), Neighbourhood([recorded_default(others[0], 1e-3)])):
        best = min(reversed(kernels_for(workloads, TARGET, answers, neighbourhood)), key=lambda kernel: kernel.cost)
        assert (best.template.task, best.answer.match) == ("conv2d_NCHWc_winograd.x86", Match.NONE)


@pytest.mark.parametrize(("rows", "chosen"), [(197, "dense_tiled.x86"), (128, "dense_pack.x86"), (1, "dense_pack.x86")])
def test_tiles_of_any_number_of_rows_are_preferred_where_autotvms_space_has_none_that_fit(
    rows: int, chosen: str
) -> None:
    args = [tensor([rows, 64]), tensor([96, 64]), None, "float32"]
    workloads = [("dense_pack.x86", args), ("dense_tiled.x86", args)]
    answers = {
        workload_key(*workloads[0], {}): [recorded_default(workloads[0], 1e-3)],
        workload_key(*workloads[1], {}): [],
    }
    best = min(kernels_for(workloads, TARGET, answers, Neighbourhood()), key=lambda kernel: kernel.cost)
    assert best.template.task == chosen


def test_another_layers_record_does_not_stand_before_tiles_of_any_number_of_rows() -> None:
    """It is of one row, mostly."""
    others = ("dense_nopack.x86", [tensor([1, 64]), tensor([96, 64]), None, "float32"])
    args = [tensor([128, 64]), tensor([96, 64]), None, "float32"]
    workloads = [("dense_nopack.x86", args), ("dense_pack.x86", args), ("dense_tiled.x86", args)]
    answers: dict[str, list[Answer]] = {workload_key(*each, {}): [] for each in workloads}
    neighbourhood = Neighbourhood([recorded_default(others, 1e-6)])
    best = min(kernels_for(workloads, TARGET, answers, neighbourhood), key=lambda kernel: kernel.cost)
    assert (best.template.task, best.answer.match) == ("dense_tiled.x86", Match.NONE)


def test_tiles_are_preferred_to_autotvms_records_of_products_of_activations() -> None:
    args = [tensor([12, 128, 64]), tensor([12, 128, 64]), [12, 128, 128], "float32", 0, 1]
    workloads = [("batch_matmul.x86", args), ("batch_matmul_tiled.x86", args)]
    found = recorded_default(workloads[0], 1e-3)
    answers = {workload_key(*workloads[0], {}): [found], workload_key(*workloads[1], {}): []}
    best = min(kernels_for(workloads, TARGET, answers, Neighbourhood()), key=lambda kernel: kernel.cost)
    assert (best.template.task, best.instead_of) == ("batch_matmul_tiled.x86", found)


def test_a_1x1_convolution_over_all_pixels_goes_before_another_layers_config_but_not_before_a_record() -> None:
    def args(size: int) -> list[Any]:
        window = [[1, 1], [0, 0, 0, 0], [1, 1], "NCHW", "NCHW", "float32"]
        return [tensor([1, 64, size, size]), tensor([64, 64, 1, 1]), *window]

    workloads = [(task, args(28)) for task in ("conv2d_NCHWc.x86", "conv2d_NCHWc_pointwise.x86")]
    answers: dict[str, list[Answer]] = {workload_key(*each, {}): [] for each in workloads}
    other, own = (
        answer(
            [
                [knob.name, knob.kind, knob.value]
                for knob in instantiate("conv2d_NCHWc.x86", these).default(TARGET).entity
            ],
            1e-5,
            ("conv2d_NCHWc.x86", these),
        )
        for these in (args(56), args(28))
    )
    best = min(kernels_for(workloads, TARGET, answers, Neighbourhood([other])), key=lambda kernel: kernel.cost)
    assert (best.template.task, best.answer.match) == ("conv2d_NCHWc_pointwise.x86", Match.NONE)
    recorded = kernels_for(workloads, TARGET, {**answers, workload_key(*workloads[0], {}): [own]}, Neighbourhood())
    assert [kernel.answer.match for kernel in recorded] == [Match.DEVICE]


@pytest.mark.parametrize(("stride", "gains"), [(2, True), (1, False)])
def test_a_transposed_convolution_without_zeros_is_preferred_to_a_record_of_one_with_many(
    stride: int, gains: bool
) -> None:
    layer = TransposedConvolution(
        "up", "transposed convolution", (1, 64, 8, 8), (64, 32, 4, 4), (stride,) * 2, (1, 1, 1, 1), (0, 0), 1
    )
    direct, own = workloads(layer, "llvm", own=True)
    found = recorded_default(direct, 1e-3)
    answers = {workload_key(*direct, {}): [found], workload_key(*own, {}): []}
    best = min(kernels_for([direct, own], TARGET, answers, Neighbourhood()), key=lambda kernel: kernel.cost)
    assert (best.template.task, best.instead_of) == ((own[0], found) if gains else (direct[0], None))
    answers[workload_key(*own, {})] = [recorded_default(own, 2e-3)]  # tuned, and slower than the one with zeros
    best = min(kernels_for([direct, own], TARGET, answers, Neighbourhood()), key=lambda kernel: kernel.cost)
    assert best.answer == found


def test_a_transposed_convolution_goes_before_another_layers_config() -> None:
    def tasks(size: int) -> list[tuple[str, list[Any]]]:
        data = (1, 64, size, size)
        window = (2, 2), (1, 1, 1, 1), (0, 0), 1
        return workloads(TransposedConvolution("up", "transposed", data, (64, 32, 4, 4), *window), "llvm", own=True)

    answers: dict[str, list[Answer]] = {workload_key(*each, {}): [] for each in tasks(8)}
    neighbourhood = Neighbourhood([recorded_default(tasks(16)[0], 1e-5)])
    best = min(kernels_for(tasks(8), TARGET, answers, neighbourhood), key=lambda kernel: kernel.cost)
    assert (best.template.task, best.answer.match) == ("conv2d_transpose_NCHWc.x86", Match.NONE)


@pytest.mark.parametrize(("device", "kind"), [("h100 -arch=sm_90", "wgmma"), ("a100 -arch=sm_80", "mma")])
def test_instructions_that_a_gpu_has_not_are_left_out(device, kind):
    tensors = [["TENSOR", shape, "float32"] for shape in ([1, 64, 28, 28], [64, 64, 3, 3])]
    args = [*tensors, [1, 1], [1, 1, 1, 1], [1, 1], "float32"]
    layer = [(f"conv2d_nchw_{its}_float16.cuda", args) for its in ("mma", "wgmma")]
    target = Target.parse(f"cuda -model={device}")
    kernels = kernels_for(layer, target, defaultdict(list), Neighbourhood())
    assert [kernel.template.task for kernel in kernels] == [f"conv2d_nchw_{kind}_float16.cuda"]


@pytest.mark.parametrize("channels", [16, 48])
def test_volumes_are_never_in_blocks(channels):
    window = [[1] * 3, [1] * 6, [1] * 3]
    volume = "conv3d_ncdhw.x86", [tensor([1, 32, 4, 8, 16]), tensor([channels, 32, 3, 3, 3]), *window, 1, "float32"]
    (kernel,) = kernels_for([volume], TARGET, defaultdict(list), Neighbourhood())
    assert kernel.blocks == (PLAIN, PLAIN)


@pytest.mark.parametrize(("kernel", "gains"), [((1, 1), True), ((3, 3), False)])
def test_tiles_are_preferred_to_autotvms_records_of_large_1x1_convolutions_on_a_gpu(
    kernel: tuple[int, int], gains: bool
) -> None:
    args = [tensor([1, 256, 56, 56]), tensor([64, 256, *kernel]), [1, 1], [0, 0, 0, 0], [1, 1], "float32"]
    workloads = [("conv2d_nchw.cuda", args), ("conv2d_nchw_tiled.cuda", args)]
    found = recorded_default(workloads[0], 1e-4)
    answers = {workload_key(*workloads[0], {}): [found], workload_key(*workloads[1], {}): []}
    best = min(kernels_for(workloads, GPU, answers, Neighbourhood()), key=lambda kernel: kernel.cost)
    assert (best.template.task, best.instead_of) == (workloads[gains][0], found if gains else None)


@pytest.mark.parametrize(("cost", "chosen"), [(1e-6, "conv2d_nchw.cuda"), (1.0, "conv2d_nchw_tiled.cuda")])
def test_an_estimated_time_competes_with_another_layers_record(cost: float, chosen: str) -> None:
    window = [[1, 1], [0, 0, 0, 0], [1, 1], "float32"]
    args, others = ([tensor([1, size, 28, 28]), tensor([64, size, 3, 3]), *window] for size in (32, 64))
    workloads = [("conv2d_nchw.cuda", args), ("conv2d_nchw_tiled.cuda", args)]
    answers: dict[str, list[Answer]] = {workload_key(*each, {}): [] for each in workloads}
    neighbourhood = Neighbourhood([recorded_default(("conv2d_nchw.cuda", others), cost)])
    best = min(kernels_for(workloads, GPU, answers, neighbourhood), key=lambda kernel: kernel.cost)
    assert best.template.task == chosen


@pytest.mark.parametrize(("blocks", "fits"), [((8, 8), False), ((16, 8), True)])
def test_a_default_config_may_lie_as_its_neighbours_do_where_the_record_does_not(
    blocks: tuple[int, int], fits: bool
) -> None:
    workload = (
        "conv2d_NCHWc_pointwise.x86",
        [tensor([1, 64, 28, 28]), tensor([64, 64, 1, 1]), [1, 1], [0] * 4, [1, 1], "NCHW", "NCHW", "float32"],
    )
    target = Target.parse("llvm -mcpu=znver3")
    template = instantiate(*workload)
    default = template.default(target)
    values = {knob.name: knob.value for knob in default.entity}
    values |= {"tile_ic": [-1, blocks[0]], "tile_oc": [*values["tile_oc"][:2], blocks[1]]}
    entity = [[knob.name, knob.kind, knob.value] for knob in template.space.config_of(values).entity]
    found = answer(entity, 100e-6, workload)

    kernels = kernels_for([workload], target, {workload_key(*workload, {}): [found]}, Neighbourhood())

    if not fits:  # the record is where the default would be
        assert [kernel.answer for kernel in kernels] == [found]
        return
    record, other = kernels
    assert (record.answer, record.blocks) == (found, blocks)
    assert (other.config, other.instead_of, other.is_for_layout) == (default, found, True)
    assert other.cost == pytest.approx(template.untuned_share * 100e-6)
    uses = [use("x", "y", Timed((8, 8), 1e-3)), Use("y", "z", MEGABYTE, MEGABYTE, kernels)]
    chosen, _ = choose_blocks(uses, dict.fromkeys("xyz", 64), {})
    assert uses[1].best(chosen)[1] is other
