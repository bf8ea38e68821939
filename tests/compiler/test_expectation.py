"""What tuning is expected to bring to a compiled model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tophub_registry.compiler.compiled import CompiledModel
from tophub_registry.compiler.expectation import Expectation, expectation
from tophub_registry.records.lookup import Match
from tophub_registry.records.target import Target
from tophub_registry.records.task import tensor
from tophub_registry.templates.registry import instantiate
from tophub_registry.templates.template import Template


def layer(
    cost: float | None, match: Match = Match.NONE, template: Template | None = None, *, beaten: bool = False
) -> Any:
    kernel = None if cost is None else SimpleNamespace(cost=cost, template=template)
    return SimpleNamespace(kernel=kernel, match=match, recorded=match is Match.DEVICE, beaten=beaten)


def expected(target: str, *layers: Any) -> Expectation:
    return expectation(cast("CompiledModel", SimpleNamespace(layers=layers, target=Target.parse(target))))


def test_layers_with_records_of_their_own_gain_nothing() -> None:
    assert expected("cuda", layer(1e-3, Match.DEVICE), layer(None)) == (0, 0)


def test_the_gain_is_in_proportion_to_what_a_layer_takes() -> None:
    without, gain = expected("cuda", layer(1e-3, Match.DEVICE), layer(3e-3), layer(None))
    assert without == 1
    assert gain == pytest.approx(0.75 * (1 - 1 / 6.9))


def test_a_borrowed_config_leaves_less_to_gain_on_a_gpu_and_a_default_one_little_on_a_processor() -> None:
    nothing, borrowed, processor = (
        expected(target, layer(1e-3, match)).gain
        for target, match in (("cuda", Match.NONE), ("cuda", Match.FALLBACK), ("llvm", Match.NONE))
    )
    assert nothing > 0.5
    assert 0.15 > borrowed > processor > 0


def test_a_default_config_on_tensor_cores_leaves_less_to_gain_than_one_for_float32() -> None:
    args = [tensor([1, 64, 14, 14]), tensor([64, 64, 3, 3]), [1, 1], [1, 1, 1, 1], [1, 1], "float32"]
    on_tensor_cores, float32 = (
        expected("cuda", layer(1e-3, template=instantiate(task, args))).gain
        for task in ("conv2d_nchw_mma_tf32.cuda", "conv2d_nchw.cuda")
    )
    assert 0 < on_tensor_cores < float32


def test_a_layer_whose_records_lost_in_the_whole_model_was_tuned() -> None:
    assert expected("llvm", layer(1e-3, beaten=True)) == (0, 0)


def test_a_model_without_any_template_expects_nothing() -> None:
    assert expected("llvm", layer(None)) == (0, 0)
