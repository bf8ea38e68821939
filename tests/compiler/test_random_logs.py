"""Any valid log compiles: whatever blocks and templates neighbouring layers have, the model computes the same."""

from __future__ import annotations

import importlib.util
import random

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

from tests.compiler.agreement import assert_close, noise
from tests.compiler.random_logs import MODELS, check, compiled_with, families_here, random_log, small
from tophub_registry.compiler.compiler import compile_model

KINDS_OF_NETWORKS = {"cifar_resnet20_v1", "resnet18_v1", "mobilenetv2_1.0", "se_resnext50_32x4d", "insightface"}
"""Residual, depthwise, grouped, squeeze-and-excite, PReLU; the others have no kind of neighbours more."""

ON_GPU = {"cifar_resnet20_v1", "mobilenetv2_1.0"}
H100 = "cuda -model=h100 -arch=sm_90"

pytestmark = pytest.mark.slow


def models(kept):
    return [pytest.param(name, marks=[pytest.mark.exhaustive] * (name not in kept)) for name in MODELS]


def models_and_families():
    """Return all models with all families; those that are kept have one family each, in turn."""
    families = families_here()
    turns = {name: families[number % len(families)] for number, name in enumerate(sorted(KINDS_OF_NETWORKS))}
    return [
        pytest.param(name, family, marks=[pytest.mark.exhaustive] * (turns.get(name) != family))
        for name in MODELS
        for family in families
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "family"), models_and_families())
def test_random_configs_for_every_layer_of_a_processor(name, family, tmp_path, exhaustive):
    model, target = small(name, tmp_path), f"llvm -mcpu={family}"
    for seed in range(4 if exhaustive else 1):
        log = tmp_path / f"{seed}.log"
        assert random_log(model, target, random.Random(f"{name} {family} {seed}"), log) > 5
        check(model, target, log)


@pytest.mark.slow
@pytest.mark.parametrize("name", models(ON_GPU))
def test_random_configs_for_every_layer_of_a_gpu_compile(name, tmp_path):
    model, log = small(name, tmp_path), tmp_path / "random.log"
    assert random_log(model, H100, random.Random(name), log) > 5
    assert compiled_with(model, H100, log).executable is not None


@pytest.mark.slow
def test_blocks_that_differ_between_neighbours(cases, tmp_path):
    """A residual of one layer is added, bias and all, in the kernel of another, whose blocks it has not."""
    log = tmp_path / "mixed_blocks.log"
    log.write_text((cases / "compile_mixed_blocks.log").read_text().replace("-mcpu=znver3", "-mcpu=x86-64-v3"))
    compiled = compile_model("resnet18_v1", "llvm -mcpu=x86-64-v3", records=[log], shapes={"data": (1, 3, 224, 224)})
    assert all(layer.recorded for layer in compiled.layers)
    assert len({layer.kernel.blocks for layer in compiled.layers}) > 3
    inputs = noise(compiled.model)
    assert_close(compiled.run(*inputs), compiled.model.reference(*inputs))
    # A change of layout comes after bias and activation, which are computed in the kernel.
    kernels = {each.name for each in compiled.profile(runs=1)}
    assert not any(name.startswith("fused_add") or "relu" in name.split("_")[1:2] for name in kernels), kernels
