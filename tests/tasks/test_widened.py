"""Random networks with awkward numbers of channels: computed with more of them, they compute the same."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import examples

tvm = pytest.importorskip("tvm", reason="needs the extra [compile]")
np = pytest.importorskip("numpy")


class Network:
    """Builds a random network of convolutions with and without groups, and what may lie between them."""

    def __init__(self, rng: random.Random) -> None:
        from tvm import relax

        self.random, self.relax = rng, relax
        self.numbers = np.random.default_rng(rng.randrange(1000))
        self.channels = rng.choice([58, 30, 24, 3, 11])
        self.data = relax.Var("data", relax.TensorType((1, self.channels, 9, 11), "float32"))
        self.before: list[tuple[Any, int]] = []

    def module(self) -> tvm.IRModule:
        builder = self.relax.BlockBuilder()
        operations = [self.convolution, self.convolution, self.depthwise, self.bias, self.simple, self.join]
        with builder.function("main", [self.data]):
            with builder.dataflow():
                value = builder.emit(self.convolution(self.data))
                for _ in range(self.random.randint(4, 9)):
                    value = builder.emit(self.random.choice(operations)(value))
                    self.before.append((value, self.channels))
                output = builder.emit_output(value)
            builder.emit_func_output(output)
        return builder.get()

    def constant(self, *shape: int) -> Any:
        summed = int(np.prod(shape[1:]))
        return self.relax.const((self.numbers.standard_normal(shape) / summed**0.5).astype("float32"))

    def convolution(self, value: Any) -> Any:
        filters, kernel = self.random.choice([58, 116, 30, 16, 47, 7]), self.random.choice([1, 3])
        weight = self.constant(filters, self.channels, kernel, kernel)
        self.channels = filters
        return self.relax.op.nn.conv2d(value, weight, padding=kernel // 2)

    def depthwise(self, value: Any) -> Any:
        return self.relax.op.nn.conv2d(value, self.constant(self.channels, 1, 3, 3), padding=1, groups=self.channels)

    def bias(self, value: Any) -> Any:
        return self.relax.op.add(value, self.constant(1, self.channels, 1, 1))

    def simple(self, value: Any) -> Any:
        op = self.relax.op
        kinds = [
            lambda: op.nn.relu(value),
            lambda: op.tanh(value),
            lambda: op.nn.softmax(value, axis=1),
            lambda: op.nn.max_pool2d(value, (3, 3), padding=(1, 1)),
            lambda: op.nn.avg_pool2d(value, (3, 3), padding=(1, 1)),
            lambda: op.strided_slice(op.nn.pad(value, [0, 0, 0, 0, 0, 1, 0, 1]), [2, 3], [1, 1], [10, 12]),
            lambda: op.multiply(value, op.sigmoid(op.mean(value, [2, 3], keepdims=True))),
        ]
        return self.random.choice(kinds)()

    def join(self, value: Any) -> Any:
        other, channels = self.random.choice([*self.before, (self.data, int(self.data.ty.shape[1]))])
        if channels == self.channels:
            return self.relax.op.add(value, other)
        self.channels += channels
        return self.relax.op.concat([value, other], axis=1)


@pytest.mark.slow
def test_random_networks_compute_the_same_with_more_channels() -> None:
    from tophub_registry.compiler.compiler import compile_model
    from tophub_registry.tasks.widened import widened

    rng, changed, count = random.Random(5), 0, examples(20)
    for _ in range(count):
        module = Network(rng).module()
        compiled = compile_model(module, records=[])
        main = compiled.model.module["main"]
        changed += not widened(main).same_as(main)
        given = compiled.model.random_inputs()
        (ours,), (theirs,) = compiled.run(*given), compiled.model.reference(*given)
        assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max(), module
    assert changed > count // 2


@pytest.mark.parametrize(
    ("channels", "computed"),
    [
        (58, 64),
        (116, 128),
        (232, 232),
        (728, 736),
        (712, 720),
        (200, 200),
        (47, 48),
        (44, 48),
        (30, 32),
        (21, 24),
        (22, 24),
        (11, 16),
        (72, 72),
        (4, 4),
        (3, 3),
        (1, 1),
        (64, 64),
    ],
)
def test_channels_are_added_where_they_cost_less_than_vectors_gain(channels: int, computed: int) -> None:
    from tophub_registry.tasks.widened import wide

    assert wide(channels) == computed


def test_what_is_tuned_is_what_is_computed_and_records_of_the_layers_as_they_are_are_used(tmp_path: Path) -> None:
    from tvm import relax

    from tophub_registry.compiler.compiler import compile_model
    from tophub_registry.frontends import read_model
    from tophub_registry.records.log import write_log
    from tophub_registry.records.record import LOG_VERSION, Input, Record, Result
    from tophub_registry.records.target import Target
    from tophub_registry.templates.registry import instantiate

    weight = relax.const(np.random.default_rng(0).standard_normal((58, 16, 1, 1)).astype("float32"))
    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType((1, 16, 8, 8), "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            output = builder.emit_output(relax.op.nn.conv2d(data, weight))
        builder.emit_func_output(output)
    model = read_model(builder.get())
    narrow, wide = (model.tasks("llvm", own=own).tasks for own in (False, True))
    assert [task.args[1][1][0] for task in narrow] == [58]
    assert wide[: len(narrow)] == narrow
    assert {task.args[1][1][0] for task in wide[len(narrow) :]} == {64}

    compiled = compile_model(model, records=[])
    target = compiled.target

    def record(task: str, args: list[object]) -> Record:
        template = instantiate(task, args)
        config = template.default(Target.parse(str(target)))
        return Record(
            input=Input(str(target), task, args, {}),
            config=config,
            result=Result([1e-5], 0, 1.0, 1.7e9),
            version=LOG_VERSION,
            tvm_version="0.27.0",
        )

    log = tmp_path / "narrow.log"
    write_log(log, [record(narrow[0].task, narrow[0].args)])
    (layer,) = compile_model(model, records=[log]).layers
    assert (layer.recorded, layer.layer.kernel[0]) == (True, 58)
    both = tmp_path / "both.log"
    write_log(both, [record(each.task, each.args) for each in (narrow[0], wide[-1])])
    (layer,) = compile_model(model, records=[both]).layers
    assert (layer.recorded, layer.layer.kernel[0]) == (True, 64)
