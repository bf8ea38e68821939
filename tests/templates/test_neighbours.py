"""Neighbours: configs of other workloads in the space of the one at hand, on real spaces and our own package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tophub_registry.records.lookup import Answer, Match, Source, lookup_all
from tophub_registry.records.record import Config, Record
from tophub_registry.records.target import Target
from tophub_registry.records.task import tensor
from tophub_registry.templates.neighbours import Neighbourhood, TunedConfig, adapt, nearest
from tophub_registry.templates.registry import instantiate
from tophub_registry.templates.template import Template

CUDA = Path(__file__).parents[2] / "registry_data" / "cuda_v0.11.log"
H100 = Target.parse("cuda -model=h100")
HERE = Target.parse("llvm -mcpu=znver4")


def convolution(channels: int, size: int, kernel: int = 3, stride: int = 1, *, cuda: bool = False) -> Template:
    args = [
        tensor([1, channels, size, size]),
        tensor([channels, channels, kernel, kernel]),
        *([stride, stride], [kernel // 2] * 4, [1, 1]),
        *(() if cuda else ("NCHW", "NCHW")),
        "float32",
    ]
    return instantiate("conv2d_nchw.cuda" if cuda else "conv2d_NCHWc.x86", args)


def config(template: Template, ic: int, oc: int, ow: int) -> Config:
    return template.space.config_of({"tile_ic": [-1, ic], "tile_oc": [-1, oc], "tile_ow": [-1, ow], "unroll_kw": True})


def answer(template: Template, its: Config, cost: float) -> Answer:
    row = {
        "input": ["llvm -mcpu=znver4", template.task, template.args, {}],
        "config": its.model_dump(),
        "result": [[cost], 0, 0.1, 1.7e9],
        "version": 0.2,
        "tvm_version": "0.27.0",
    }
    return Answer(Record.model_validate_json(Record.model_validate(row).to_json()), Match.DEVICE, "a log")


def test_a_config_of_another_workload_moves_to_the_nearest_options() -> None:
    small, large = convolution(48, 14), convolution(64, 56)
    adapted = adapt(config(large, 64, 16, 28), large.space, small.space)
    assert adapted is not None
    moved = small.space.config(adapted.index)
    assert [moved.value(name)[-1] for name in ("tile_ic", "tile_oc", "tile_ow")] == [48, 16, 14]
    assert moved.value("unroll_kw") is True


def test_what_fits_as_it_is_is_nearer_than_what_has_to_change() -> None:
    here, alike, other = convolution(64, 28), convolution(64, 56), convolution(48, 56)
    origins = [
        TunedConfig(other.space, other.args, config(other, 48, 48, 8)),
        TunedConfig(alike.space, alike.args, config(alike, 16, 16, 14)),
    ]
    (first, adapted), (_, further) = nearest(here.space, here.args, origins, count=2)
    assert (first, adapted.distance) == (1, 1)  # half as many tiles of 14
    assert further.distance > 1


def test_other_knobs_are_no_neighbours() -> None:
    here, pointwise = convolution(64, 28), convolution(64, 28, kernel=1)
    assert adapt(pointwise.space.config(3), pointwise.space, here.space) is None
    assert (
        nearest(here.space, here.args, [TunedConfig(pointwise.space, pointwise.args, pointwise.space.config(3))]) == []
    )


def test_a_neighbours_speed_is_the_guess() -> None:
    here, there = convolution(64, 28), convolution(64, 56)
    (its,) = Neighbourhood([answer(there, config(there, 16, 16, 14), 4e-4)]).of(here, HERE)
    assert its.config.value("tile_ow") == [-1, 14]
    assert its.seconds == pytest.approx(1e-4)
    assert (its.task, its.args) == (there.task, there.args)


def test_a_workload_is_not_its_own_neighbour_and_damaged_records_are_none() -> None:
    here, there = convolution(64, 28), convolution(64, 56)
    wrong = config(there, 5, 16, 14)
    assert (
        Neighbourhood([answer(here, config(here, 16, 16, 14), 1e-4), answer(there, wrong, 1e-4)]).of(here, HERE) == []
    )


def test_every_layer_left_out_of_our_gpu_package_gets_a_config_that_a_gpu_runs() -> None:
    answers = lookup_all(H100, [Source("cuda", CUDA)])
    neighbourhood = Neighbourhood(answers.values())
    for its in answers.values():
        assert its.record is not None
        template = instantiate(its.record.input.task, its.record.input.args)
        (neighbour,) = neighbourhood.of(template, H100)
        assert neighbour.args != template.args
        assert template.feasible(neighbour.config, H100)


def test_what_fits_one_workload_and_no_gpu_for_another_is_passed_over() -> None:
    """Where every other pixel is left out, the same outputs read four times as many."""
    here, there = convolution(64, 56, 1, 2, cuda=True), convolution(64, 28, 1, cuda=True)
    values = {
        "tile_f": [-1, 1, 16, 1],
        "tile_y": [-1, 1, 1, 4],
        "tile_x": [-1, 1, 28, 1],
        "tile_rc": [-1, 64],
        "tile_ry": [-1, 1],
        "tile_rx": [-1, 1],
        "auto_unroll_max_step": 512,
        "unroll_explicit": 1,
    }
    its = there.space.config_of(values)
    assert there.feasible(its, H100)
    adapted = adapt(its, there.space, here.space)
    assert adapted is not None
    assert not here.feasible(here.space.config(adapted.index), H100)
    assert Neighbourhood([answer(there, its, 1e-5)]).of(here, HERE) == []


def test_a_cost_model_chooses_among_the_nearest_neighbours_of_a_gpu() -> None:
    workloads = [convolution(64, size, cuda=True) for size in (14, 28, 56)]
    here = convolution(64, 20, cuda=True)
    answers = [cuda_answer(template, template.suggestion(H100), 1e-5) for template in workloads]
    nearest_first = [its.args for its in Neighbourhood(answers).of(here, H100, count=3)]
    costs: dict[int, float] = {}

    def predict(template: Template, indices: Sequence[int], target: Target, _: int) -> list[float]:
        assert (template, target) == (here, H100)
        costs.update({index: 1e-6 * (len(indices) - place) for place, index in enumerate(indices)})
        return [costs[index] for index in indices]

    (best,) = Neighbourhood(answers, predict=predict).of(here, H100)
    assert best.predicted
    assert best.args == nearest_first[-1]
    assert best.seconds == min(costs.values())
    (unknown,) = Neighbourhood(answers, predict=lambda *_: None).of(here, H100)
    assert (unknown.predicted, unknown.args) == (False, nearest_first[0])


def test_on_a_processor_a_neighbour_must_clearly_beat_the_default_config_with_the_same_blocks() -> None:
    here, there = convolution(64, 28), convolution(64, 56)
    default, same, other = config(here, 16, 16, 14), config(there, 16, 16, 8), config(there, 32, 16, 8)
    answers = [answer(there, same, 1e-4), answer(convolution(64, 14), config(convolution(64, 14), 32, 16, 7), 1e-4)]
    moved = here.space.find(config(here, 16, 16, 7).entity), here.space.find(config(here, 16, 16, 8).entity)

    def better(seconds: float) -> Config | None:
        def predict(_: Template, indices: Sequence[int], __: Target, workloads: int) -> list[float]:
            assert workloads > 59  # models of fewer are no better than chance
            return [1e-4 if index == here.space.find(default.entity) else seconds for index in indices]

        its = Neighbourhood(answers, predict=predict).better(here, default, HERE)
        return None if its is None else its.config

    chosen = better(0.5e-4)
    assert chosen is not None
    assert chosen.index in moved  # not the one with other blocks
    assert better(0.9e-4) is None
    assert Neighbourhood([answer(there, other, 1e-4)], predict=lambda *_: [1e-9]).better(here, default, HERE) is None
    assert Neighbourhood(answers).better(here, default, HERE) is None  # nothing is predicted
    assert Neighbourhood(answers, predict=lambda *_: None).better(here, default, HERE) is None  # of this task


def cuda_answer(template: Template, its: Config, cost: float) -> Answer:
    found = answer(template, its, cost)
    assert found.record is not None
    record = found.record.model_copy(update={"input": found.record.input._replace(target=str(H100))})
    return Answer(record, Match.DEVICE, "a log")
