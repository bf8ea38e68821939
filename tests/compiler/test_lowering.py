"""Layers become the kernels of their records, and compute the same."""

from __future__ import annotations

import importlib.util
import json
import re

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)


import tvm
from tvm.ir.instrument import pass_instrument

from tests.compiler.agreement import assert_close, noise
from tests.compiler.writes import writes
from tophub_registry.compiler.compiler import compile_model
from tophub_registry.frontends import read_model
from tophub_registry.frontends.mxnet import libraries
from tophub_registry.records.lookup import Match
from tophub_registry.tasks.layers import TransposedConvolution
from tophub_registry.tasks.rules import workloads
from tophub_registry.templates.registry import instantiate

TARGET = "llvm -mcpu=x86-64-v3"


def transposed(channels=32, filters=16, **window):
    """Return a model of a convolution, and a transposed one with bias and activation after it."""
    nn = libraries.mxnet().gluon.nn
    network = nn.HybridSequential()
    network.add(nn.Conv2D(channels, 1, in_channels=8))
    network.add(nn.Conv2DTranspose(filters, in_channels=channels, activation="relu", **window))
    network.initialize()
    return read_model(network, shapes={"data": (1, 8, 7, 9)})


WINDOWS = {
    "simple_pose's": {"kernel_size": 4, "strides": 2, "padding": 1},
    "with more at the end": {"kernel_size": (3, 5), "strides": (2, 3), "padding": (1, 2), "output_padding": (1, 2)},
    "without overlap": {"kernel_size": 2, "strides": 2},
    "more cut off than the kernel reaches": {"kernel_size": (1, 2), "strides": (1, 2), "padding": (0, 2)},
    "few channels": {"kernel_size": 3, "strides": 2, "filters": 5, "channels": 6},
}


@pytest.mark.parametrize("window", WINDOWS)
def test_a_transposed_convolution_is_computed_without_zeros_and_with_what_follows(window):
    model = transposed(**WINDOWS[window])
    compiled = compile_model(model, TARGET, records=[])

    inputs = noise(model)
    assert_close(compiled.run(*inputs), model.reference(*inputs))
    (layer,) = (each for each in compiled.layers if isinstance(each.layer, TransposedConvolution))
    assert layer.kernel.template.task == "conv2d_transpose_NCHWc.x86"
    names = [kernel.name for kernel in compiled.profile(runs=1)]
    assert any(re.match("fused_conv2d_transpose_NCHWc.*relu", name) for name in names), names


def row(task, args, config, seconds, target=TARGET):
    """Return a line of a log."""
    fields = {
        "input": [target, task, args, {}],
        "config": {"index": config.index, "code_hash": None, "entity": [list(knob) for knob in config.entity]},
        "result": [[seconds], 0, 0.1, 1e9],
        "version": 0.2,
        "tvm_version": "0.19.0",
    }
    return json.dumps(fields) + "\n"


@pytest.mark.parametrize("window", WINDOWS)
def test_a_transposed_convolution_gets_the_record_of_autotvms_convolution_if_that_is_faster(window, tmp_path):
    model = transposed(**WINDOWS[window])
    *_, its = compile_model(model, TARGET, records=[]).layers
    (task, args), (own, own_args) = workloads(its.layer, "llvm", own=True)
    space = instantiate(task, args).space
    config = space.config(len(space) // 3)
    assert args[3] == [0, 0]  # as AutoTVM spells it
    log = tmp_path / "log"
    log.write_text(row(task, args, config, 1e-4) + row(own, own_args, its.kernel.config, 1e-3))

    compiled = compile_model(model, TARGET, records=[log])

    *_, layer = compiled.layers
    assert (layer.match, layer.kernel.config.entity) == (Match.DEVICE, config.entity)
    inputs = noise(model)
    assert_close(compiled.run(*inputs), model.reference(*inputs))


@pytest.mark.parametrize(
    ("precision", "task"), [("float32", "conv2d_nchw_tiled.cuda"), ("tf32", "conv2d_transpose_nchw_mma_tf32.cuda")]
)
def test_a_transposed_convolution_is_a_plain_one_on_a_gpu_except_on_tensor_cores(precision, task):
    model = transposed(**WINDOWS["simple_pose's"])
    compiled = compile_model(model, "cuda -model=h100 -arch=sm_90", records=[], precision=precision)

    assert compiled.layers[-1].kernel.template.task == task


@pytest.mark.parametrize(
    ("tf32", "exact", "used"),
    [(2e-5, 1e-5, "3xtf32"), (1e-5, 1e-5, "3xtf32"), (1e-5, 2e-5, "tf32"), (None, 1e-5, "tf32")],
)
def test_a_layer_is_computed_more_exactly_than_asked_where_that_was_measured_to_be_as_fast(tf32, exact, used, tmp_path):
    nn, gpu = libraries.mxnet().gluon.nn, "cuda -model=h100 -arch=sm_80"
    network = nn.Conv2D(32, 1, in_channels=32)
    network.initialize()
    model, rows = read_model(network, shapes={"data": (1, 32, 8, 8)}), []
    for precision, seconds in (("tf32", tf32), ("3xtf32", exact)):
        (layer,) = compile_model(model, gpu, records=[], precision=precision).layers
        template, config = layer.kernel.template, layer.kernel.config
        assert template.task == f"conv2d_nchw_mma_{precision}.cuda"
        rows += [row(template.task, template.args, config, seconds, gpu)] if seconds else []
    (tmp_path / "log").write_text("".join(rows))

    for asked, expected in (("tf32", used), ("3xtf32", "3xtf32")):
        (layer,) = compile_model(model, gpu, records=[tmp_path / "log"], precision=asked).layers
        assert layer.kernel.template.task == f"conv2d_nchw_mma_{expected}.cuda"


@pass_instrument
class Scheduled:
    """Keeps the module that the last scheduling left."""

    def run_after_pass(self, module, info):
        if info.name == "ApplyDefaultSchedule":
            self.module = module


def excited():
    """Return a model that scales the channels of an image by what small layers make of their means."""
    mx = libraries.mxnet()
    nn = mx.gluon.nn

    class Excited(mx.gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            with self.name_scope():
                self.image = nn.Conv2D(32, 3, padding=1, in_channels=8)
                self.scale = nn.HybridSequential()
                self.scale.add(nn.GlobalAvgPool2D(), nn.Conv2D(8, 1, in_channels=32, activation="relu"))
                self.scale.add(nn.Conv2D(32, 1, in_channels=8, activation="sigmoid"))

        def hybrid_forward(self, F, x):
            x = self.image(x)
            return F.relu(F.broadcast_mul(x, self.scale(x)) + x)

    network = Excited()
    network.initialize()
    return read_model(network, shapes={"data": (1, 8, 28, 28)})


def test_what_is_larger_than_a_kernel_s_output_is_written_in_one_go():
    model, seen = excited(), Scheduled()
    with tvm.transform.PassContext(instruments=[seen]):
        compiled = compile_model(model, TARGET, records=[])

    inputs = noise(model)
    assert_close(compiled.run(*inputs), model.reference(*inputs))
    large = [write for write in writes(seen.module) if "sigmoid" in write.function and write.times >= 32 * 28 * 28]
    assert len(large) == 1
