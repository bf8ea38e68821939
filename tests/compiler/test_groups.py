"""Concatenations of parts whose numbers of channels allow only narrow blocks."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

if not importlib.util.find_spec("tvm"):
    pytest.skip("TVM is not installed", allow_module_level=True)

import numpy as np
import tvm
from tvm import relax

from tophub_registry.compiler import groups
from tophub_registry.compiler.compiler import compile_model
from tophub_registry.compiler.layouts import joins_unevenly
from tophub_registry.frontends import read_model
from tophub_registry.tasks.reading import calls_of

AVX512 = "llvm -mcpu=znver4"


def network(first: int, second: int, residuals: int) -> tvm.IRModule:
    """Return a module that concatenates two convolutions' channels, and adds convolutions to them."""
    numbers, channels = np.random.default_rng(0), first + second

    def known(*shape: int) -> Any:
        return relax.const(numbers.standard_normal(shape).astype("float32") / np.float32(shape[1]))

    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType((1, 8, 14, 14), "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            parts = [builder.emit(relax.op.nn.conv2d(data, known(part, 8, 1, 1))) for part in (first, second)]
            value = builder.emit(relax.op.concat(parts, axis=1))
            for _ in range(residuals):
                layer = builder.emit(relax.op.nn.conv2d(value, known(channels, channels, 3, 3), padding=1))
                value = builder.emit(relax.op.add(value, layer))
            output = builder.emit_output(value)
        builder.emit_func_output(output)
    return builder.get()


def changes(compiled: Any) -> int:
    """Return how many kernels change a layout."""
    names = [call.args[0].name_hint for _, call in calls_of(compiled.scheduled.module["main"])]
    return sum("to_plain" in name or "to_blocks" in name for name in names)


@pytest.mark.parametrize(
    ("parts", "uneven"), [((24, 216), True), ((12, 36), True), ((16, 224), False), ((58, 58), True), ((3, 5), True)]
)
def test_which_concatenations_join_unevenly(parts: tuple[int, int], uneven: bool) -> None:
    calls = [call for _, call in calls_of(network(*parts, 1)["main"])]
    assert [joins_unevenly(call) for call in calls if call.op.name == "relax.concat"] == [uneven]
    assert not any(joins_unevenly(call) for call in calls if call.op.name != "relax.concat")


def test_narrow_parts_do_not_narrow_the_blocks_of_all_that_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    model = read_model(network(24, 216, 4))
    apart = compile_model(model, AVX512, records=[])
    monkeypatch.setattr(groups, "joins_unevenly", lambda _: False)
    together = compile_model(model, AVX512, records=[])

    assert {layer.kernel.blocks for layer in apart.layers[2:] if layer.kernel} == {(16, 16)}
    assert changes(apart) < changes(together)


@pytest.mark.parametrize("parts", [(24, 216), (12, 36), (20, 12)])
def test_the_network_computes_the_same_whatever_shares_a_layout(parts: tuple[int, int]) -> None:
    model = read_model(network(*parts, 2))
    given = model.random_inputs()
    (ours,), (theirs,) = compile_model(model, "llvm", records=[]).run(*given), model.reference(*given)
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()
