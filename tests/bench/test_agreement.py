"""Outputs agree within a thousandth; only detections with the same score may come in another order."""

from __future__ import annotations

import numpy as np
import pytest

from tophub_registry.bench.agreement import TOLERANCE, difference, with_ties_in_order

SCORES = [0.9, 0.5, 0.5 - 1e-7, 0.5 - 2e-7, 0.2, -1.0]
CLASSES = [3.0, 7.0, 1.0, 7.0, 1.0, -1.0]
BOXES = [[10, 20, 30, 40], [5, 5, 9, 9], [50, 60, 70, 80], [1, 2, 3, 4], [0, 0, 8, 8], [-1, -1, -1, -1]]


def detections() -> list[np.ndarray]:
    """Return classes, scores and boxes, as a detector of gluoncv's does."""
    return [np.array([each], "float32").reshape(1, len(each), -1) for each in (CLASSES, SCORES, BOXES)]


def joined() -> list[np.ndarray]:
    """Return one output with all columns."""
    return [np.concatenate(detections(), axis=2)]


@pytest.fixture(params=[detections, joined])
def reference(request):
    return request.param()


def judged(ours, reference):
    arranged, moved = with_ties_in_order(ours, reference)
    return difference(arranged, reference), moved


def test_tied_detections_agree_in_any_order(reference):
    ours = [array[:, [0, 3, 1, 2, 4, 5]] for array in reference]
    assert difference(ours, reference) > TOLERANCE
    assert judged(ours, reference) == (pytest.approx(0, abs=1e-6), 3)


def test_what_is_in_order_stays(reference):
    assert judged(reference, reference) == (0, 0)


def test_detections_with_other_scores_do_not_change_places(reference):
    ours = [array[:, [0, 1, 2, 4, 3, 5]] for array in reference]
    assert judged(ours, reference)[0] > TOLERANCE


def test_a_tied_detection_with_another_box_is_wrong(reference):
    ours = [array[:, [0, 3, 1, 2, 4, 5]] for array in reference]
    ours[-1][0, 2, -1] += 1
    assert judged(ours, reference)[0] > TOLERANCE


def test_each_detection_counts_once(reference):
    ours = [array[:, [0, 1, 1, 3, 4, 5]] for array in reference]
    assert judged(ours, reference)[0] > TOLERANCE


def test_a_number_that_is_none_is_wrong(reference):
    ours = [array.copy() for array in reference]
    ours[-1][0, 1, -1] = np.nan
    assert judged(ours, reference)[0] == float("inf")


def test_each_image_of_a_batch_has_its_own_order(reference):
    other = [array[:, [0, 2, 1, 3, 4, 5]] for array in reference]
    both = [np.concatenate(pair) for pair in zip(reference, reference, strict=True)]
    ours = [np.concatenate(pair) for pair in zip(reference, other, strict=True)]
    assert judged(ours, both) == (pytest.approx(0, abs=1e-6), 2)


@pytest.mark.parametrize(
    "ours",
    [[np.ones(3)], [np.ones((1, 3, 2))], [np.ones((1, 0, 4)), np.ones((1, 0))], [np.ones((1, 3)), np.ones((1, 4))]],
    ids=["a vector", "no score", "nothing", "of different numbers"],
)
def test_other_outputs_stay(ours):
    arranged, moved = with_ties_in_order(ours, [array.copy() for array in ours])
    assert moved == 0
    assert [array.shape for array in arranged] == [array.shape for array in ours]


def test_outputs_of_another_shape_differ():
    ours = [np.ones((1, 3, 4))]
    assert judged(ours, [np.ones((1, 2, 4))]) == (float("inf"), 0)
