"""The GPU's kernels for detection give what TVM's operators give on a processor, and are bound to the GPU."""

from __future__ import annotations

import importlib.util

import pytest

if not importlib.util.find_spec("tvm"):
    pytest.skip("TVM is not installed", allow_module_level=True)

import numpy as np
import tvm
from tvm import relax

from tests.conftest import some
from tests.gpu.cuda_on_cpu import Launch, run_kernels
from tophub_registry.compiler.detection import detection_on_gpu, kept_rows, valid_rows
from tophub_registry.compiler.many_boxes import Options, counted_rows, gathered_rows, ranked_rows, surviving_rows
from tophub_registry.compiler.schedules import schedule_all
from tophub_registry.errors import InputError

BATCH, COUNT, WIDTH = 2, 50, 6
GPU = tvm.target.Target(
    {"kind": "cuda", "arch": "sm_90", "max_num_threads": 1024, "thread_warp_size": 32}, host={"kind": "llvm"}
)


def boxes(seed: int = 0) -> np.ndarray:
    """Return rows of class, score and corners; some scores are alike, some classes and scores negative."""
    generator = np.random.default_rng(seed)
    corners = generator.uniform(0, 100, (BATCH, COUNT, 4))
    corners[..., 2:] = corners[..., :2] + generator.uniform(-5, 50, (BATCH, COUNT, 2))
    classes = generator.integers(-1, 3, (BATCH, COUNT, 1))
    scores = generator.integers(-2, 20, (BATCH, COUNT, 1)) / 20
    return np.concatenate([classes, scores, corners], axis=2).astype("float32")


def suppression(width: int = COUNT, **options) -> tvm.IRModule:
    """Return a module that keeps the valid rows and suppresses some."""
    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType((BATCH, width, WIDTH), "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            found = builder.emit(relax.op.vision.get_valid_counts(data, 0.1, id_index=0, score_index=1))
            settings = {
                "iou_threshold": 0.3,
                "id_index": 0,
                "top_k": -1,
                "max_output_size": -1,
                "invalid_to_bottom": True,
                **options,
            }
            kept = relax.op.vision.non_max_suppression(found[1], found[0], found[2], return_indices=False, **settings)
            output = builder.emit_output(relax.Tuple([found[0], found[1], found[2], builder.emit(kept)]))
        builder.emit_func_output(output)
    return builder.get()


def by_tvm(module: tvm.IRModule, *inputs: np.ndarray) -> list[np.ndarray]:
    machine = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())
    return [output.numpy() for output in machine["main"](*map(tvm.runtime.tensor, inputs))]


SUPPRESSIONS = [
    ({}, {"classes": 0}),
    ({"force_suppress": True}, {"classes": -1}),
    ({"top_k": 20, "max_output_size": 5}, {"classes": 0, "most": (20, 5)}),
    ({"top_k": 20, "invalid_to_bottom": False}, {"classes": 0, "most": (20, -1), "gaps": True}),
]


def suppressed(data: np.ndarray, total: np.ndarray, options: Options, *, apart: bool) -> np.ndarray:
    """Run the kernel for boxes that fit into shared memory, or those for others."""
    of_rows, of_marks = (data.shape, "float32"), (data.shape[:2], "int32")
    if not apart:
        (rows,) = run_kernels([Launch(kept_rows(data.shape, options), [data, total], [of_rows])])
        return rows
    ranked, alive = run_kernels([Launch(ranked_rows(data.shape, options), [data, total], [of_rows, of_marks])])
    (left,) = run_kernels([Launch(surviving_rows(data.shape, options), [ranked, alive, total], [of_marks])])
    (rows,) = run_kernels([Launch(gathered_rows(data.shape, options), [ranked, left], [of_rows])])
    return rows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "settings", "apart"), some([*((*each, False) for each in SUPPRESSIONS), (*SUPPRESSIONS[2], True)], 2)
)
def test_suppression_keeps_the_same_rows_in_the_same_order(options, settings, apart):
    data = boxes()
    total, rows, places, kept = by_tvm(suppression(**options), data)

    shapes = [((BATCH,), "int32"), (data.shape, "float32"), ((BATCH, COUNT), "int32")]
    write = counted_rows if apart else valid_rows
    ours = run_kernels([Launch(write(data.shape, 0.1, 0, 1), [data], shapes)])
    our_rows = suppressed(ours[1], ours[0], Options(overlap=0.3, score=1, corners=2, **settings), apart=apart)

    for mine, theirs in zip([*ours, our_rows], [total, rows, places, kept], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert 0 < (kept[..., 1] > 0).sum() < total.sum() < BATCH * COUNT


@pytest.mark.slow
def test_more_boxes_than_a_block_has_threads():
    count = 1200
    data = np.repeat(boxes(), count // COUNT, axis=1)
    data[..., 1] = np.random.default_rng(1).permutation(BATCH * count).reshape(BATCH, count) / (BATCH * count)
    total, rows, _, kept = by_tvm(suppression(count), data)

    ours = suppressed(rows, total, Options(overlap=0.3, score=1, corners=2, classes=0), apart=False)

    np.testing.assert_array_equal(ours, kept)


def test_detection_is_bound_to_the_gpu():
    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType((1, 5000), "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            output = builder.emit_output(relax.op.topk(data, 400, axis=1, ret_type="indices", dtype="int32"))
        builder.emit_func_output(output)

    for module in (builder.get(), suppression(), suppression(13000)):
        with GPU:
            lowered = relax.transform.LegalizeOps()(detection_on_gpu(module, GPU))
        scheduled = schedule_all(lowered, GPU, [])

        assert all(
            function.attrs.get("tirx.is_scheduled")
            for _, function in scheduled.functions_items()
            if isinstance(function, tvm.tirx.PrimFunc)
        )
        tvm.compile(scheduled, target=GPU)


def test_indices_of_boxes_are_refused():
    with pytest.raises(InputError, match="returns indices or decays scores"):
        detection_on_gpu(suppression(soft_nms_sigma=0.5), GPU)
