"""MetaSchedule's model is compiled whole: what its database has nothing for, and what has no weights, too."""

from __future__ import annotations

import importlib.util

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "tvm"))):
    pytest.skip("MXNet and TVM are not both installed", allow_module_level=True)

from tophub_registry.bench.agreement import difference
from tophub_registry.bench.job import Job
from tophub_registry.bench.prepared import prepare
from tophub_registry.bench.runners import METASCHEDULE, RUNNERS
from tophub_registry.frontends.mxnet import libraries


def detector(folder):
    """Save a network whose one convolution gives boxes, of which some are suppressed, and return its symbol file."""
    mx = libraries.mxnet()
    found = mx.sym.Convolution(mx.sym.var("data"), num_filter=5, kernel=(1, 1), name="conv")
    rows = mx.sym.reshape(mx.sym.transpose(found, (0, 2, 3, 1)), (1, -1, 5))
    score, corner, size = (mx.sym.slice_axis(rows, 2, *part) for part in ((0, 1), (1, 3), (3, 5)))
    boxes = mx.sym.concat(mx.sym.sigmoid(score), corner, corner + mx.sym.exp(size), dim=2)
    kept = mx.sym.contrib.box_nms(
        boxes, overlap_thresh=0.4, valid_thresh=0.1, id_index=-1, score_index=0, coord_start=1
    )
    kept.save(str(folder / "detector-symbol.json"))
    mx.random.seed(3)
    weights = {"arg:conv_weight": mx.nd.random.normal(shape=(5, 3, 1, 1)), "arg:conv_bias": mx.nd.ones((5,))}
    mx.nd.save(str(folder / "detector-0000.params"), weights)
    return folder / "detector-symbol.json"


def test_a_detector_with_an_empty_database(tmp_path):
    prepared = prepare(str(detector(tmp_path)), tmp_path / "prepared", shapes={"data": (1, 3, 9, 10)})
    assert prepared.detector
    for kind in ("workload", "tuning_record"):
        (tmp_path / f"database_{kind}.json").touch()

    runner = RUNNERS[METASCHEDULE](Job(str(prepared.folder), "llvm", None, 1, str(tmp_path)), prepared.inputs())

    assert runner.note == "0 trials"
    (expected,) = references = prepared.references()
    assert 5 < (expected[0, :, 0] >= 0).sum() < 90
    assert difference(runner.outputs(), references) < 1e-3
