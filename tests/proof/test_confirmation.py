"""Finalists of a model's layers, compared in the model: what really is slower there is marked, and no longer chosen."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")

import tvm
from tvm import relax

from tophub_registry.compiler.compiler import CompiledLayer, compile_model
from tophub_registry.compiler.own_logs import check_useful
from tophub_registry.devices.device import resolve
from tophub_registry.frontends import Model, read_model
from tophub_registry.proof.confirmation import confirm
from tophub_registry.records.log import read_records, write_log
from tophub_registry.records.record import Config, Input, Provenance, Record, Result
from tophub_registry.tasks.rules import OWN_RULES
from tophub_registry.templates.registry import instantiate

pytestmark = pytest.mark.timed

TASK = "conv2d_NCHWc.x86"
HERE = resolve("llvm")
DEFAULT = None


@pytest.fixture(autouse=True)
def _autotvms_templates_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer then has one task, whose configs differ several times in speed."""
    monkeypatch.setitem(OWN_RULES, "llvm", ())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model() -> Model:
    """A convolution with an activation."""
    weight = np.random.default_rng(0).standard_normal((64, 64, 3, 3)).astype("float32")
    x = relax.Var("x", relax.TensorType((1, 64, 56, 56), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            convolved = relax.op.nn.conv2d(x, relax.const(weight), strides=2, padding=1)
            result = builder.emit_output(relax.op.nn.relu(convolved))
        builder.emit_func_output(result)
    module: tvm.IRModule = builder.get()
    return read_model(module)


def write(model: Model, path: Path, *costs: tuple[int | None, float]) -> list[Record]:
    """Write a log with a record for each width of a tile of pixels, or the default config, and its cost."""
    (task,) = model.tasks("llvm", own=True).tasks
    records = recorded(task.task, task.args, *costs)
    write_log(path, records)
    return records


def recorded(task: str, args: list[Any], *costs: tuple[int | None, float]) -> list[Record]:
    template = instantiate(task, args)
    default = template.default(HERE)
    blocks = {name: default.value(name) for name in ("tile_ic", "tile_oc")}
    return [
        Record(
            input=Input(str(HERE), task, args, {}),
            config=default
            if width is None
            else template.space.config_of({**blocks, "tile_ow": [-1, width], "unroll_kw": False}),
            result=Result([cost], 0, 1.0, 1.7e9),
            version=0.2,
            tvm_version="0.27.0",
            tophub=Provenance(weights="cold"),
        )
        for width, cost in costs
    ]


def chosen(model: Model, log: Path) -> CompiledLayer:
    compiled = compile_model(model, str(HERE), records=[log])
    check_useful(compiled, [log])
    (layer,) = compiled.layers
    assert layer.kernel is not None
    return layer


def config(layer: CompiledLayer) -> Config:
    assert layer.kernel is not None
    return layer.kernel.config


def test_a_config_that_is_slower_in_the_model_is_marked_whatever_it_cost(model: Model, tmp_path: Path) -> None:
    """One pixel at a time takes several times as long as the default config."""
    log = tmp_path / "new.log"
    slow, fast = write(model, log, (1, 1.0e-6), (DEFAULT, 1.1e-6))
    assert config(chosen(model, log)) == slow.config
    steps: list[tuple[int, int]] = []
    found = confirm(model, str(HERE), log, progress=lambda *step: steps.append(step))
    assert (found.compared, found.choice) == (1, "winners")
    assert steps[0][0] == 1
    assert all(before + 1 == after for (before, _), (after, _) in itertools.pairwise(steps))
    marked, unmarked = read_records(log)
    assert marked.tophub == Provenance(weights="cold", slower_in=model.name)
    assert (marked.config, marked.result, unmarked) == (slow.config, slow.result, fast)
    assert config(chosen(model, log)) == fast.config
    assert confirm(model, str(HERE), log).compared == 0  # what was beaten is no finalist again


def test_nothing_changes_where_the_costs_were_right(model: Model, tmp_path: Path) -> None:
    log = tmp_path / "new.log"
    write(model, log, (DEFAULT, 1.0e-6), (1, 1.1e-6))
    before = log.read_bytes()
    found = confirm(model, str(HERE), log)
    assert (found.compared, found.choice) == (1, "lowest costs")
    assert log.read_bytes() == before


def test_where_the_default_config_is_faster_in_the_model_it_is_chosen_again(model: Model, tmp_path: Path) -> None:
    """The best by its cost is slow, and has no rival among the finalists: all others cost far more."""
    log = tmp_path / "new.log"
    slow, fast = write(model, log, (1, 1.0e-7), (DEFAULT, 1.0e-6))
    assert config(chosen(model, log)) == slow.config
    found = confirm(model, str(HERE), log)
    assert (found.compared, found.choice) == (0, "default configs")
    assert [record.cost.beaten for record in read_records(log)] == [True, False]
    assert config(chosen(model, log)) == fast.config


def test_only_those_layers_get_the_default_config_where_it_is_faster(tmp_path: Path) -> None:
    """The first layer's default computes one of 37 pixels at a time; the second's record does that."""
    weight = np.random.default_rng(0).standard_normal((64, 64, 3, 3)).astype("float32")
    x = relax.Var("x", relax.TensorType((1, 64, 74, 74), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            first = relax.op.nn.relu(relax.op.nn.conv2d(x, relax.const(weight), strides=2, padding=1))
            result = builder.emit_output(relax.op.nn.conv2d(first, relax.const(weight), strides=2, padding=1))
        builder.emit_func_output(result)
    model = read_model(builder.get())
    rows = [
        record
        for task, width in zip(model.tasks("llvm", own=True).tasks, (37, 1), strict=True)
        for record in recorded(task.task, task.args, (width, 1e-6))
    ]
    log = tmp_path / "new.log"
    write_log(log, rows)
    found = confirm(model, str(HERE), log)
    assert found.choice == "some defaults"
    assert found.seconds < found.without
    assert [record.cost.beaten for record in read_records(log)] == [False, True]
    wide, narrow = compile_model(model, str(HERE), records=[log]).layers
    assert config(wide) == rows[0].config
    assert config(narrow) == instantiate(TASK, rows[1].input.args).default(HERE)


def test_where_the_model_is_faster_without_records_none_is_used_and_that_is_no_error(
    model: Model, tmp_path: Path
) -> None:
    log = tmp_path / "new.log"
    (slow,) = write(model, log, (1, 1.0e-6))
    elsewhere = slow.model_copy(update={"input": slow.input._replace(target="llvm -mcpu=btver2")})
    log.unlink()
    write_log(log, [slow, elsewhere])
    found = confirm(model, str(HERE), log)
    assert (found.choice, found.seconds) == ("no records", found.without)
    assert [record.cost.beaten for record in read_records(log)] == [True, False]  # it lost on this target only
    layer = chosen(model, log)
    assert config(layer) != slow.config
    assert layer.beaten is not None
    assert layer.beaten.record is not None
    assert layer.beaten.record.config == slow.config
    assert not layer.recorded
