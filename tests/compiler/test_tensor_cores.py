"""Random networks on tensor cores, run here as CUDA code: every way in which layers follow each other."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable
from typing import Any

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

import numpy as np

from tests.compiler.agreement import noise
from tests.conftest import examples, some
from tests.gpu.cuda_on_cpu import run_module, run_modules
from tophub_registry.compiler.compiler import compile_model
from tophub_registry.frontends import Model, read_model
from tophub_registry.frontends.mxnet import libraries
from tophub_registry.tasks.reading import calls_of

H100 = "cuda -model=h100 -arch=sm_90"
ERRORS = {"float16": 5e-3, "tf32": 5e-3, "3xtf32": 1e-5}
NETWORKS = 3 * examples(5)
PARTS = 5


class Network:
    """Builds a random network; most of its channels are such as tensor cores serve."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.nn = libraries.mxnet().gluon.nn
        self.channels = self.random.choice((3, 8, 16))
        self.first = self.channels

    def model(self) -> Model:
        kinds: list[Callable[[], Any]] = [
            *(self.convolution, self.residual, self.branches, self.depthwise, self.grouped, self.pool, self.halves),
            *(self.transposed, self.transposed),
        ]
        network = self.nn.HybridSequential()
        network.add(self.convolution())
        for _ in range(PARTS):
            network.add(self.random.choice(kinds)())
        network.add(self.nn.GlobalAvgPool2D(), self.nn.Dense(5))
        network.initialize(libraries.mxnet().init.Xavier())
        height, width = self.random.randint(9, 14), self.random.randint(9, 14)
        return read_model(network, shapes={"data": (1, self.first, height, width)})

    def convolution(self, channels: int | None = None, *, same: bool = False) -> Any:
        kernel = self.random.choice((1, 3))
        wanted = channels or self.random.choice((8, 12, 16, 24, 32, 40, 6))
        window = {
            "strides": 1 if same else self.random.choice((1, 1, 2)),
            "padding": kernel // 2,
            "activation": self.random.choice(("relu", None)),
            "use_bias": self.random.random() < 0.7,
        }
        made = self.nn.Conv2D(wanted, kernel, in_channels=self.channels, **window)
        self.channels = wanted
        return made

    def residual(self) -> Any:
        body = self.nn.HybridSequential()
        body.add(self.convolution(self.channels, same=True), self.convolution(self.channels, same=True))
        return _Sum(body)

    def branches(self) -> Any:
        together = libraries.mxnet().gluon.contrib.nn.HybridConcurrent(axis=1)
        before, total = self.channels, 0
        for _ in range(2):
            self.channels = before
            together.add(self.convolution(same=True))
            total += self.channels
        self.channels = total
        return together

    def halves(self) -> Any:
        if self.channels % 2:
            return self.depthwise()
        self.channels //= 2
        made = _Halves(self.convolution(self.channels, same=True))
        self.channels *= 2
        return made

    def depthwise(self) -> Any:
        return self.nn.Conv2D(self.channels, 3, padding=1, groups=self.channels, in_channels=self.channels)

    def grouped(self) -> Any:
        groups = self.random.choice([each for each in (1, 2, 3, 4, 6) if self.channels % each == 0])
        made = self.nn.Conv2D(8 * groups, 3, padding=1, groups=groups, in_channels=self.channels)
        self.channels = 8 * groups
        return made

    def transposed(self) -> Any:
        kernel, padding = self.random.choice(((2, 0), (3, 0), (3, 1), (4, 1)))
        stride = self.random.choice((1, 2, 2, 3))
        window = {"strides": stride, "padding": padding, "output_padding": self.random.randrange(min(stride, 2))}
        wanted = self.random.choice((8, 12, 16, 6))
        made = self.nn.Conv2DTranspose(wanted, kernel, in_channels=self.channels, activation="relu", **window)
        self.channels = wanted
        return made

    def pool(self) -> Any:
        kind = self.random.choice((self.nn.MaxPool2D, self.nn.AvgPool2D))
        return kind(3, strides=self.random.choice((1, 2)), padding=1)


def _Halves(body: Any) -> Any:  # noqa: N802
    class Halves(libraries.mxnet().gluon.HybridBlock):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = body

        def hybrid_forward(self, operators: Any, x: Any) -> Any:
            one, other = operators.split(x, num_outputs=2, axis=1)
            return operators.concat(other, self.body(one), dim=1)

    return Halves()


def _Sum(body: Any) -> Any:  # noqa: N802  # MXNet is imported late, and with it the class to derive from
    class Sum(libraries.mxnet().gluon.HybridBlock):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = body

        def hybrid_forward(self, _: Any, x: Any) -> Any:
            return self.body(x) + x

    return Sum()


def _Attention() -> Any:  # noqa: N802
    mx = libraries.mxnet()

    class Attention(mx.gluon.HybridBlock):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key, self.value = (mx.gluon.nn.Dense(16, flatten=False, in_units=16) for _ in range(3))

        def hybrid_forward(self, operators: Any, x: Any) -> Any:
            query, key, value = self.query(x), self.key(x), self.value(x)
            shares = operators.softmax(operators.batch_dot(query, key, transpose_b=True))
            return operators.batch_dot(shares, value)

    return Attention()


@pytest.mark.slow
@pytest.mark.parametrize("precision", some([*ERRORS], 1))
def test_products_of_two_activations(precision: str) -> None:
    network = _Attention()
    network.initialize(libraries.mxnet().init.Xavier())
    model = read_model(network, shapes={"data": (2, 19, 16)})  # 19 numbers are no multiple of what is copied at once
    compiled = compile_model(model, H100, records=[], precision=precision)
    given = model.random_inputs()
    (ours,), (theirs,) = run_module(compiled.scheduled.module, given), model.reference(*given)
    assert np.abs(ours - theirs).max() < ERRORS[precision] * np.abs(theirs).max()
    tasks = [layer.kernel and layer.kernel.template.task for layer in compiled.layers]
    assert tasks.count(f"batch_matmul_mma_{precision}.cuda") == 2


@pytest.mark.slow
@pytest.mark.parametrize("precision", some([*ERRORS], 1))
def test_dense_layers_of_several_rows(precision: str) -> None:
    mx = libraries.mxnet()
    network = mx.gluon.nn.HybridSequential()
    network.add(mx.gluon.nn.Dense(24, activation="relu", flatten=False, in_units=16))
    network.add(mx.gluon.nn.Dense(12, flatten=False, in_units=24))
    network.initialize(mx.init.Xavier())
    model = read_model(network, shapes={"data": (1, 19, 16)})
    compiled = compile_model(model, H100, records=[], precision=precision)
    given = model.random_inputs()
    (ours,), (theirs,) = run_module(compiled.scheduled.module, given), model.reference(*given)
    assert np.abs(ours - theirs).max() < ERRORS[precision] * np.abs(theirs).max()
    assert [layer.kernel and layer.kernel.template.task for layer in compiled.layers] == 2 * [
        f"dense_mma_{precision}.cuda"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("precision", some([*ERRORS], 1))
def test_dense_layers_of_one_row(precision: str) -> None:
    nn = libraries.mxnet().gluon.nn
    network = nn.HybridSequential()
    network.add(nn.Dense(24, activation="relu", in_units=64), nn.Dense(12, in_units=24))
    network.initialize(libraries.mxnet().init.Xavier())
    model = read_model(network, shapes={"data": (1, 64)})
    compiled = compile_model(model, H100, records=[], precision=precision)
    given = model.random_inputs()
    (ours,), (theirs,) = run_module(compiled.scheduled.module, given), model.reference(*given)
    assert np.abs(ours - theirs).max() < ERRORS[precision] * np.abs(theirs).max()
    kernels = [layer.kernel for layer in compiled.layers if layer.kernel]
    task, dtype = ("_float16", "float16") if precision == "float16" else ("", "float32")
    assert [kernel.template.task for kernel in kernels] == 2 * [f"dense_small_batch{task}.gpu"]
    assert {kernel.template.tensors(kernel.config)[1].dtype for kernel in kernels} == {dtype}
    results = [call.ty for _, call in calls_of(compiled.scheduled.module["main"])]
    assert {type(each).__name__ for each in results} == {"TensorType"}  # no sums that another kernel adds the bias to


WINDOWS = [
    {"kernel_size": 4, "strides": 2, "padding": 1},
    {"kernel_size": (3, 5), "strides": (2, 3), "padding": (1, 2), "output_padding": (1, 2)},
    {"kernel_size": (4, 3), "strides": 2, "padding": (1, 0)},  # an odd width
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": (1, 2), "strides": (1, 2), "padding": (0, 2)},  # more is cut off than the kernel reaches
]


@pytest.mark.slow
@pytest.mark.parametrize("precision", some([*ERRORS], 1))
def test_transposed_convolutions_with_what_follows(precision: str) -> None:
    nn = libraries.mxnet().gluon.nn
    programs, expected = [], []
    for window in WINDOWS:
        network = nn.HybridSequential()
        network.add(nn.Conv2D(32, 1, in_channels=8))
        network.add(nn.Conv2DTranspose(20, in_channels=32, activation="relu", **window))
        network.add(nn.Conv2DTranspose(8, 2, in_channels=20, groups=2))
        network.initialize(libraries.mxnet().init.Xavier())
        model = read_model(network, shapes={"data": (1, 8, 7, 9)})
        compiled = compile_model(model, H100, records=[], precision=precision)
        tasks = [layer.kernel and layer.kernel.template.task for layer in compiled.layers]
        assert tasks[1:] == [f"conv2d_transpose_nchw_mma_{precision}.cuda", "conv2d_transpose_nchw.cuda"]
        names = [each.name_hint for each in compiled.scheduled.module.get_global_vars()]
        assert any(name.startswith("fused_conv2d_transpose_nchw_mma") and "relu" in name for name in names), names
        given = noise(model)
        programs.append((compiled.scheduled.module, given))
        expected += model.reference(*given)
    for (ours,), theirs in zip(run_modules(programs), expected, strict=True):
        assert np.abs(ours - theirs).max() < ERRORS[precision] * np.abs(theirs).max()


@pytest.mark.slow
def test_random_networks_compute_what_mxnet_does_in_every_precision() -> None:
    models = [Network(seed).model() for seed in range(NETWORKS)]
    precisions = [[*ERRORS][seed % len(ERRORS)] for seed in range(NETWORKS)]
    compiled = [
        compile_model(model, H100, records=[], precision=precision)
        for model, precision in zip(models, precisions, strict=True)
    ]
    inputs = [noise(model) for model in models]
    found = run_modules([(each.scheduled.module, given) for each, given in zip(compiled, inputs, strict=True)])
    served = 0
    for seed, (model, precision, given, (ours,)) in enumerate(zip(models, precisions, inputs, found, strict=True)):
        (theirs,) = model.reference(*given)
        assert np.abs(ours - theirs).max() < ERRORS[precision] * np.abs(theirs).max(), (seed, precision)
        served += sum("mma" in layer.kernel.template.task for layer in compiled[seed].layers if layer.kernel)
    assert served > 2 * NETWORKS


@pytest.mark.slow
def test_what_is_only_chosen_among_rounded_numbers_is_not_converted() -> None:
    nn, contrib = libraries.mxnet().gluon.nn, libraries.mxnet().gluon.contrib.nn
    network = nn.HybridSequential()
    network.add(nn.Conv2D(16, 3, padding=1, in_channels=8), nn.MaxPool2D(3, 2, 1))
    for _ in range(2):
        branches, pooled = contrib.HybridConcurrent(axis=1), nn.HybridSequential()
        pooled.add(nn.AvgPool2D(3, 1, 1), nn.Conv2D(8, 1, in_channels=16))
        branches.add(nn.Conv2D(8, 1, in_channels=16), pooled)
        network.add(branches)
    network.add(nn.Conv2D(8, 1, in_channels=16))
    network.initialize(libraries.mxnet().init.Xavier())
    model = read_model(network, shapes={"data": (1, 8, 14, 15)})
    compiled = compile_model(model, H100, records=[], precision="float16")
    kernels = [name.name_hint for name, _ in compiled.scheduled.module.functions_items()]
    assert not any(name.startswith("cast") for name in kernels)
    assert not any("concatenate" in name and "cast" in name for name in kernels)
    given = model.random_inputs()
    (ours,), (theirs,) = run_module(compiled.scheduled.module, given), model.reference(*given)
    assert np.abs(ours - theirs).max() < ERRORS["float16"] * np.abs(theirs).max()
