"""Convolutions of images of one pixel, computed as dense layers."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.conftest import examples
from tests.tasks.modules import one_layer

tvm = pytest.importorskip("tvm", reason="needs the extra [compile]")
np = pytest.importorskip("numpy")

H100 = "cuda -model=h100 -arch=sm_90"


class Network:
    """Builds a random network of gates: images, averaged to a pixel, through layers, multiplied with the images."""

    def __init__(self, seed: int) -> None:
        from tvm import relax

        self.random, self.op, self.relax = random.Random(seed), relax.op, relax
        self.numbers = np.random.default_rng(seed)

    def module(self) -> tvm.IRModule:
        batch, channels = self.random.choice([1, 1, 3, 9]), self.random.choice([4, 12, 16])
        data = self.relax.Var("data", self.relax.TensorType((batch, channels, 6, 7), "float32"))
        builder = self.relax.BlockBuilder()
        with builder.function("main", [data]):
            with builder.dataflow():
                value, outputs = data, []
                for _ in range(2):
                    value = builder.emit(self.convolution(value, channels, 3))
                    pixel = builder.emit(self.op.mean(value, [2, 3], keepdims=True))
                    for filters in (self.random.choice([5, 8]), channels):
                        pixel = builder.emit(self.convolution(pixel, filters, self.random.choice([1, 1, 3])))
                        for _ in range(self.random.randint(0, 3)):
                            pixel = builder.emit(self.simple(pixel))
                    outputs.append(builder.emit(self.view(pixel)))
                    value = builder.emit(self.op.multiply(value, pixel))
                output = builder.emit_output(self.relax.Tuple([value, *outputs]))
            builder.emit_func_output(output)
        return builder.get()

    def convolution(self, value: Any, filters: int, kernel: int) -> Any:
        channels = int(value.ty.shape[1])
        weight = self.relax.const(self.numbers.standard_normal((filters, channels, kernel, kernel)).astype("float32"))
        dilation = 1 if kernel == 1 else self.random.choice([1, 2])
        return self.op.nn.conv2d(value, weight, padding=dilation * (kernel // 2), dilation=dilation)

    def simple(self, value: Any) -> Any:
        channels = int(value.ty.shape[1])
        shape = self.random.choice([(1, channels, 1, 1), (channels, 1, 1), (1, 1, 1, 1), (1, 1, 1), (1, 1), (1,), ()])
        number = self.relax.const(self.numbers.standard_normal(shape).astype("float32"))
        kinds = [
            lambda: self.op.add(value, number),
            lambda: self.op.multiply(number, value),
            lambda: self.op.nn.relu(value),
            lambda: self.op.sigmoid(value),
            lambda: self.op.clip(value, 0, 6),
            lambda: self.op.add(value, value),
            lambda: self.op.nn.softmax(value, axis=1),
            lambda: self.op.where(self.op.greater(value, number), value, self.op.tanh(value)),
            lambda: self.op.multiply(self.op.astype(self.op.less(value, number), "float32"), value),
        ]
        return self.random.choice(kinds)()

    def view(self, value: Any) -> Any:
        batch, channels, *_ = map(int, value.ty.shape)
        kinds = [
            lambda: self.op.reshape(value, (batch, channels)),
            lambda: self.op.reshape(value, (channels, batch, 1)),
            lambda: self.op.squeeze(value, [2, 3]),
            lambda: self.op.permute_dims(value, [0, 2, 3, 1]),
            lambda: self.op.permute_dims(value, [1, 2, 3, 0]),
            lambda: self.op.concat([value, value], axis=1),
            lambda: value,
        ]
        return self.random.choice(kinds)()


def alike(ours: Any, theirs: Any, tolerance: float = 1e-5) -> bool:
    return len(ours) == len(theirs) and all(
        mine.shape == its.shape and np.abs(mine - its).max() <= tolerance * np.abs(its).max()
        for mine, its in zip(ours, theirs, strict=True)
    )


def convolutions_of_pixels(function: Any) -> int:
    from tophub_registry.tasks.pixels import is_pixel
    from tophub_registry.tasks.reading import calls_of

    calls = [call for _, call in calls_of(function) if call.op.name == "relax.nn.conv2d"]
    return sum(is_pixel(call) and is_pixel(call.args[0]) for call in calls)


def test_random_networks_compute_the_same_as_dense_layers() -> None:
    from tophub_registry.frontends import read_model
    from tophub_registry.tasks.pixels import flattened

    for seed in range(examples(20)):
        model = read_model(Network(seed).module())
        main = model.module["main"]
        new = flattened(main)
        assert convolutions_of_pixels(main) == 4
        assert convolutions_of_pixels(new) == 0
        given = model.random_inputs()
        assert alike(read_model(tvm.IRModule({"main": new})).reference(*given), model.reference(*given)), seed


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "tf32", "float16"])
def test_random_networks_run_as_cuda_code(precision: str) -> None:
    from tests.gpu.cuda_on_cpu import run_module
    from tophub_registry.compiler.compiler import compile_model
    from tophub_registry.frontends import read_model

    for seed in range(100, 100 + examples(3)):
        model = read_model(Network(seed).module())
        compiled = compile_model(model, H100, records=[], precision=precision)
        given = model.random_inputs()
        ours = run_module(compiled.scheduled.module, given)
        assert alike(ours, model.reference(*given), 1e-5 if precision == "float32" else 2e-2), seed
        names = [layer.kernel.template.task for layer in compiled.layers if layer.kernel]
        assert sum(name.startswith("dense") for name in names) == 4


def test_weights_that_meet_only_padding_do_not_count() -> None:
    from tophub_registry.frontends import read_model
    from tophub_registry.tasks.pixels import flattened

    model = read_model(one_layer("conv2d", (2, 4, 1, 1), (3, 4, 2, 2), padding=1, strides=3, dilation=2))
    new = read_model(tvm.IRModule({"main": flattened(model.module["main"])}))
    given = model.random_inputs()
    (ours,), (theirs,) = new.reference(*given), model.reference(*given)
    assert convolutions_of_pixels(new.module["main"]) == 0
    assert np.array_equal(ours, theirs)
    assert not theirs.any()


def test_other_layers_stay_as_they_are() -> None:
    from tophub_registry.tasks.pixels import flattened

    for shapes in (((1, 4, 1, 2), (3, 4, 1, 1)), ((1, 4, 3, 3), (3, 4, 3, 3))):
        main = one_layer("conv2d", *shapes)["main"]
        assert flattened(main).same_as(main)


@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 3, 1, 1), (1, 1, 1), (1, 1), (1,), ()])
def test_a_constant_broadcasts_over_rows_as_it_does_over_pixels(shape: tuple[int, ...]) -> None:
    from tvm import relax

    from tophub_registry.tasks.pixels import flattened

    numbers = np.random.default_rng(0)
    weight, added = (relax.const(numbers.standard_normal(each).astype("float32")) for each in ((3, 4, 1, 1), shape))
    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType((2, 4, 1, 1), "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            layer = builder.emit(relax.op.nn.conv2d(data, weight))
            output = builder.emit_output(relax.op.add(layer, added))
        builder.emit_func_output(output)
    given = numbers.standard_normal((2, 4, 1, 1)).astype("float32")
    expected = np.einsum("oi,ni->no", weight.value.numpy()[..., 0, 0], given[..., 0, 0])[..., None, None]
    module = tvm.IRModule({"main": flattened(builder.get()["main"])})
    run = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())["main"]
    np.testing.assert_allclose(run(tvm.runtime.tensor(given)).numpy(), expected + added.value.numpy(), rtol=1e-5)
