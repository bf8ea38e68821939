"""Region proposals, position-sensitive pooling and correlation compute in Relax what they do in MXNet."""

from __future__ import annotations

import importlib.util
import random

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

import numpy as np

from tests.compiler.agreement import run
from tests.conftest import examples
from tests.gpu.cuda_on_cpu import run_module
from tophub_registry.compiler.compiler import compile_model
from tophub_registry.frontends import read_model
from tophub_registry.frontends.mxnet import libraries

GPU = "cuda -model=h100 -arch=sm_90"


@pytest.fixture(scope="module", name="F")
def _operators():
    return libraries.mxnet().sym


@pytest.fixture
def model_of(F, tmp_path):
    """Return what reads a network of outputs, with these inputs."""

    def read(outputs, inputs):
        path = tmp_path / "net-symbol.json"
        F.Group(outputs).save(str(path))
        model = read_model(path, shapes={name: array.shape for name, array in inputs.items()}, weightless=True)
        assert not model.untranslated
        return model

    return read


def assert_agree(model, inputs, ours, forms):
    theirs = model.reference(*(inputs[name] for name in model.inputs))
    for mine, expected, form in zip(ours, theirs, forms, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=1e-4, err_msg=str(form))


def arrays_of(model, inputs):
    return [inputs[name].astype("float32") for name in model.inputs]


def correlation(draw):
    kernel, reach = draw.choice([1, 1, 3]), draw.randint(1, 4)
    return {
        "kernel_size": kernel,
        "max_displacement": reach,
        "stride1": draw.randint(1, 2),
        "stride2": draw.randint(1, min(2, reach)),
        "pad_size": draw.randint(reach, reach + 3) if reach > 1 else draw.randint(0, 3),
        "is_multiply": draw.random() < 0.7,
    }


def images(seed):
    generator = np.random.default_rng(seed)
    return {name: generator.standard_normal((2, 3, 9, 11)).astype("float32") for name in ("left", "right")}


def correlations(F, forms):
    left, right = F.var("left"), F.var("right")
    return [F.Correlation(left, right, **form) for form in forms]


def test_correlation_agrees_with_mxnet(F, model_of):
    forms = [correlation(random.Random(seed)) for seed in range(examples(50))]
    inputs = images(0)
    model = model_of(correlations(F, forms), inputs)
    assert_agree(model, inputs, run(model, *arrays_of(model, inputs)), forms)


def pooling(draw):
    """Return attributes, and whether offsets move the samples."""
    pooled, groups = draw.choice([1, 2, 3, 4, 7]), draw.choice([1, 2, 3])
    attributes = {
        "pooled_size": pooled,
        "group_size": groups,
        "output_dim": draw.choice([1, 2, 4]),
        "spatial_scale": draw.choice([0.25, 0.4, 1.0]),
    }
    if draw.random() < 0.4:
        return attributes, None
    part = draw.choice([pooled, draw.randint(1, 4)])
    sampled = {"part_size": part, "sample_per_part": draw.randint(1, 3), "trans_std": draw.choice([0.1, 0.5])}
    classes = draw.choice([each for each in (1, 2, 4) if attributes["output_dim"] % each == 0])
    return attributes | sampled, None if draw.random() < 0.3 else (2 * classes, part, part)


def regions(count, seed):
    generator = np.random.default_rng(seed)
    first = generator.uniform(-8, 24, (count, 2))
    size = generator.uniform(0.1, 20, (count, 2)) * generator.choice([1, 1, 1, 0.01], (count, 1))
    return np.concatenate([generator.integers(0, 2, (count, 1)), first, first + size], axis=1).astype("float32")


COUNT = 12


def pooled(F, forms):
    """Return outputs that pool regions of images, and the inputs."""
    generator = np.random.default_rng(0)
    inputs = {"rows": regions(COUNT, 0)}
    outputs, rows = [], F.var("rows")
    for index, (attributes, offsets) in enumerate(forms):
        name = f"image{index}"
        channels = attributes["output_dim"] * attributes["group_size"] ** 2
        inputs[name] = generator.standard_normal((2, channels, 13, 17)).astype("float32")
        data = F.var(name), rows
        if "part_size" not in attributes:
            outputs.append(F.contrib.PSROIPooling(*data, **attributes))
        elif offsets is None:
            outputs.append(F.contrib.DeformablePSROIPooling(*data, no_trans=True, **attributes))
        else:
            moved = f"moved{index}"
            inputs[moved] = generator.standard_normal((COUNT, *offsets)).astype("float32")
            outputs.append(F.contrib.DeformablePSROIPooling(*data, F.var(moved), **attributes))
    return outputs, inputs


def test_position_sensitive_pooling_agrees_with_mxnet(F, model_of):
    forms = [pooling(random.Random(seed)) for seed in range(examples(50))]
    outputs, inputs = pooled(F, forms)
    model = model_of(outputs, inputs)
    assert_agree(model, inputs, run(model, *arrays_of(model, inputs)), forms)


def proposals(draw):
    scales = draw.choice([(2.0,), (1.0, 3.0), (4.0, 8.0)])
    ratios = draw.choice([(0.5, 1.0, 2.0), (1.0,), (0.3, 1.5)])
    attributes = {
        "scales": scales,
        "ratios": ratios,
        "feature_stride": draw.choice([4, 8, 16]),
        "rpn_pre_nms_top_n": draw.choice([20, 60, 6000]),
        "rpn_post_nms_top_n": draw.choice([5, 30, 70]),
        "rpn_min_size": draw.choice([1, 5, 16]),
        "threshold": draw.choice([0.3, 0.7]),
        "iou_loss": draw.random() < 0.3,
        "output_score": True,
    }
    return attributes, draw.choice([1, 2]), (draw.choice([3, 5]), draw.choice([4, 7]))


def proposed(F, forms):
    generator = np.random.default_rng(0)
    outputs, inputs = [], {}
    for index, (attributes, batch, size) in enumerate(forms):
        anchors = len(attributes["scales"]) * len(attributes["ratios"])
        stride = attributes["feature_stride"]
        reach = stride / 5 if attributes["iou_loss"] else 0.4
        given = {
            "scores": generator.permutation(batch * 2 * anchors * size[0] * size[1]) / 1e4,
            "offsets": generator.normal(0, reach, batch * 4 * anchors * size[0] * size[1]),
        }
        given = {name: array.reshape(batch, -1, *size) for name, array in given.items()}
        rows = [[stride * (size[0] - 0.7), stride * size[1] + each, 1 + each / 2] for each in range(batch)]
        given["size"] = np.array(rows)
        inputs |= {f"{name}{index}": array.astype("float32") for name, array in given.items()}
        operator = F.contrib.Proposal if batch == 1 else F.contrib.MultiProposal
        outputs += [*operator(*(F.var(f"{name}{index}") for name in given), **attributes)]
    return outputs, inputs


@pytest.mark.slow
def test_proposals_agree_with_mxnet(F, model_of):
    forms = [proposals(random.Random(seed)) for seed in range(examples(20))]
    outputs, inputs = proposed(F, forms)
    model = model_of(outputs, inputs)
    assert_agree(model, inputs, run(model, *arrays_of(model, inputs)), [form for form in forms for _ in range(2)])


@pytest.mark.slow
@pytest.mark.parametrize("kind", [correlation, pooling, proposals])
def test_compiled_code_agrees_too(F, model_of, kind):
    forms = [kind(random.Random(seed)) for seed in range(1 if kind is proposals else 3)]
    if kind is correlation:
        outputs, inputs = correlations(F, forms), images(0)
    else:
        outputs, inputs = (pooled if kind is pooling else proposed)(F, forms)
    model = model_of(outputs, inputs)
    each = [form for form in forms for _ in range(2 if kind is proposals else 1)]
    arrays = arrays_of(model, inputs)
    assert_agree(model, inputs, compile_model(model, "llvm", records=[]).run(*arrays), each)
    on_gpu = compile_model(model, GPU, records=[]).scheduled.module
    assert_agree(model, inputs, run_module(on_gpu, arrays), each)
