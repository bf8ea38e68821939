"""What detectors are made of, and small detectors, compute in Relax what they do in MXNet."""

from __future__ import annotations

import importlib.util
import random

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

import numpy as np

from tests.compiler.agreement import run
from tophub_registry.errors import UsageError
from tophub_registry.frontends import read_model
from tophub_registry.frontends.mxnet import libraries

IMAGES = (2, 6, 7, 9)
REGIONS = 30


@pytest.fixture(scope="module")
def mx():
    return libraries.mxnet()


def regions(seed: int) -> np.ndarray:
    """Return rows of an image's number and corners, some outside of the image, some inside out or tiny."""
    generator = np.random.default_rng(seed)
    first = generator.uniform(-6, 20, (REGIONS, 2))
    size = generator.uniform(0.1, 16, (REGIONS, 2)) * generator.choice([1, 1, 1, 0.01], (REGIONS, 1))
    return np.concatenate([generator.integers(0, 2, (REGIONS, 1)), first, first + size], axis=1).astype("float32")


def pooled(mx, forms):
    """Return a network of operators on images and regions, which are its only input, one after the other."""

    class Pooled(mx.gluon.HybridBlock):
        def hybrid_forward(self, F, x):
            count = int(np.prod(IMAGES))
            images = F.reshape(F.slice_axis(x, axis=0, begin=0, end=count), IMAGES)
            rows = F.reshape(F.slice_axis(x, axis=0, begin=count, end=None), (-1, 5))
            return [form(F, images, rows) for form in forms]

    return read_model(Pooled(), shapes={"data": (int(np.prod(IMAGES)) + 5 * REGIONS,)})


def aligned_regions(draw: random.Random):
    attributes = {
        "pooled_size": (draw.randint(1, 4), draw.randint(1, 4)),
        "spatial_scale": draw.choice([0.25, 0.4, 1.0]),
        "sample_ratio": draw.choice([-1, 0, 1, 2, 3]),
        "aligned": draw.random() < 0.5,
    }
    return lambda F, images, rows: F.contrib.ROIAlign(images, rows, **attributes)


def pooled_regions(draw: random.Random):
    attributes = {
        "pooled_size": (draw.randint(1, 4), draw.randint(1, 4)),
        "spatial_scale": draw.choice([0.25, 0.4, 1.0]),
    }
    return lambda F, images, rows: F.ROIPooling(images, rows, **attributes)


@pytest.mark.slow
def test_regions_are_pooled_as_by_mxnet(mx):
    forms = [draw(random.Random(seed)) for seed in range(6) for draw in (aligned_regions, pooled_regions)]
    model = pooled(mx, forms)

    images = np.random.default_rng(0).standard_normal(IMAGES).astype("float32")
    data = np.concatenate([images.ravel(), regions(0).ravel()])
    for ours, theirs in zip(run(model, data), model.reference(data), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_region_of_no_image_is_zero(mx):
    """MXNet 1.9 leaves such a region's numbers undefined on a processor, against its own documentation."""
    rows = regions(0)
    rows[3:, 0] = np.where(np.arange(3, REGIONS) % 2, -1, rows[3:, 0])
    model = pooled(mx, [lambda F, images, rows: F.contrib.ROIAlign(images, rows, (2, 2), 0.5, sample_ratio=2)])
    data = [np.concatenate([np.ones(IMAGES, "float32").ravel(), each.ravel()]) for each in (regions(0), rows)]

    (every,), (theirs,) = map(model.reference, data)  # the second time, memory has the numbers of all regions
    (ours,) = run(model, data[1])

    ignored = rows[:, 0] < 0
    assert every[ignored].any(axis=(1, 2, 3)).sum() > 5
    assert (ours[0] > 0).any()
    assert (ours[ignored] == 0).all()
    assert (theirs[ignored] == 0).all()
    np.testing.assert_array_equal(theirs[~ignored], every[~ignored])
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_position_sensitive_regions_are_refused(mx):
    model = pooled(mx, [lambda F, images, rows: F.contrib.ROIAlign(images, rows, (2, 3), 0.5, position_sensitive=True)])

    with pytest.raises(UsageError, match="_contrib_ROIAlign that is position-sensitive"):
        model.check_translated()


def multi_box(mx, attributes, *, batch: int, classes: int, count: int):
    """Return a network of a softmax, offsets, anchors that depend on the image's size, and MultiBoxDetection."""

    class MultiBox(mx.gluon.HybridBlock):
        def hybrid_forward(self, F, x):
            prior = F.contrib.MultiBoxPrior(F.ones((1, 1, count // 8, 2)), sizes=(0.4, 0.2), ratios=(1, 2, 0.5))
            scores, offsets = (F.slice_axis(x, axis=1, begin=b, end=e) for b, e in ((0, classes), (classes, None)))
            found = [
                F.contrib.MultiBoxDetection(F.softmax(scores, axis=1), F.flatten(offsets), prior, **each)
                for each in attributes
            ]
            return [*found, prior]

    return read_model(MultiBox(), shapes={"data": (batch, classes + 4, count)})


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 2])
def test_mxnets_own_detection_agrees(mx, batch):
    attributes = [
        {},
        {"nms_topk": 9, "threshold": 0.2},
        {"nms_threshold": 0.2, "force_suppress": True, "clip": False},
        {"variances": (0.2, 0.1, 0.1, 0.3), "nms_threshold": 0.45, "nms_topk": 400},
        {"nms_threshold": 0, "threshold": 0.3},
        {"threshold": 0.9999},
    ]
    model = multi_box(mx, attributes, batch=batch, classes=4, count=48)

    data = np.random.default_rng(0).standard_normal((batch, 8, 48)).astype("float32") * 2
    for index, (ours, theirs) in enumerate(zip(run(model, data), model.reference(data), strict=True)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5, err_msg=str(index))


def test_what_only_training_needs_is_refused_with_that_reason(mx):
    def target(F, x):
        return F.contrib.MultiBoxTarget(
            F.slice_axis(x, axis=2, begin=0, end=4), F.slice_axis(x, axis=2, begin=4, end=9), F.reshape(x, (1, 9, -1))
        )[0]

    model = read_model(mx.gluon.nn.HybridLambda(target), shapes={"data": (1, 3, 9)})

    with pytest.raises(UsageError, match="_contrib_MultiBoxTarget that only training needs"):
        model.check_translated()
