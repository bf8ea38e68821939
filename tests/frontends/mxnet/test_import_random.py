"""Operators with random attributes and sizes compute in Relax what they do in MXNet."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

import numpy as np

from tests.compiler.agreement import run
from tests.conftest import examples
from tests.frontends.mxnet.forms import FAMILIES, forms_of, numbers
from tests.gpu.cuda_on_cpu import run_module
from tophub_registry.compiler.compiler import compile_model
from tophub_registry.frontends import Model, read_model
from tophub_registry.frontends.mxnet import libraries


def network_of(family: str, count: int) -> Model:
    """Return a network with so many forms of each operator of a family, whose outputs are all of theirs."""
    forms = forms_of(family, count)

    class All(libraries.mxnet().gluon.HybridBlock):
        def hybrid_forward(self, F, x):
            return [form(F, x) for form in forms]

    return read_model(All(), shapes={"data": numbers().shape})


def assert_outputs_agree(model: Model, ours: Sequence[np.ndarray]) -> None:
    for name, mine, theirs in zip(model.outputs, ours, model.reference(numbers()), strict=True):
        assert mine.dtype == theirs.dtype, name
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_random_forms_of_a_family_agree_with_mxnet(family):
    model = network_of(family, examples(10))

    assert not model.untranslated
    assert_outputs_agree(model, run(model, numbers()))


@pytest.mark.slow
@pytest.mark.parametrize(
    "family", [pytest.param(each, marks=[pytest.mark.exhaustive] * (each != "sorting")) for each in FAMILIES]
)
def test_their_code_for_a_gpu_agrees_too(family):
    model = network_of(family, 1)
    compiled = compile_model(model, "cuda -model=h100 -arch=sm_90", records=[])

    assert_outputs_agree(model, run_module(compiled.scheduled.module, [numbers()]))


def test_upsampling_with_a_weight_agrees_with_mxnet():
    mx = libraries.mxnet()
    data = np.random.default_rng(0).standard_normal((2, 3, 5, 4)).astype("float32")
    for scale in (1, 2, 3, 4):

        class Enlarged(mx.gluon.HybridBlock):
            def __init__(self, scale):
                super().__init__()
                self.scale, size = scale, 2 * scale - scale % 2
                with self.name_scope():
                    self.weight = self.params.get("weight", shape=(3, 1, size, size), init=mx.init.Normal(1))

            def hybrid_forward(self, F, x, weight):
                return F.UpSampling(x, weight, scale=self.scale, sample_type="bilinear", num_filter=3, num_args=2)

        block = Enlarged(scale)
        block.initialize()
        model = read_model(block, shapes={"data": data.shape})
        (ours,), (theirs,) = run(model, data), model.reference(data)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
