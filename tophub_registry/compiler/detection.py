"""A detector's post-processing on a GPU: valid boxes and non-maximum suppression, one thread block for each image.

TVM implements these operators as loops for a processor. The kernels here return the same rows in the same order. Each
thread counts the rows that come before its own; only the suppression itself is sequential, box by box. Threads
synchronize between two loops over `threadIdx.x`, because they exchange data in shared memory.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator
from tvm.script import tirx as T  # noqa: N812  # as TVM script calls it

from tophub_registry.compiler.many_boxes import (
    OPAQUE,
    SHARED_BYTES,
    Options,
    counted_rows,
    gathered_rows,
    ranked_rows,
    surviving_rows,
    threads_for,
)
from tophub_registry.errors import InputError

_VALID = "relax.vision.get_valid_counts"
_SUPPRESS = "relax.vision.non_max_suppression"


def detection_on_gpu(module: tvm.IRModule, target: tvm.target.Target) -> tvm.IRModule:
    """Replace sorting and suppression by kernels for a GPU; call it before `LegalizeOps`.

    Raises
    ------
    InputError
        The suppression has unsupported options.
    """
    for _, function in module.functions_items():
        if isinstance(function, relax.Function):
            for block in function.body.blocks:
                for binding in block.bindings:
                    _check(binding.value)
    with target:
        replaced = _Suppression(module)
        for name, function in module.functions_items():
            if isinstance(function, relax.Function):
                replaced.builder_.update_func(name, replaced.visit_expr(function))
        return relax.backend.DispatchSortScan()(replaced.builder_.finalize())


@mutator
class _Suppression(PyExprMutator):  # type: ignore[misc]
    """Replaces the operators that count and suppress boxes by kernels."""

    def visit_call_(self, call: Any) -> Any:
        call = self.visit_expr_post_order(call)
        name = getattr(call.op, "name", "")
        if name == _VALID:
            return self._valid(call)
        if name == _SUPPRESS:
            return self._suppressed(call)
        return call

    def _valid(self, call: Any) -> Any:
        boxes, attrs = call.args[0], call.attrs
        batch, count, width = _shape(boxes)
        write = valid_rows if 4 * count <= SHARED_BYTES else counted_rows
        kernel = write((batch, count, width), float(attrs.score_threshold), int(attrs.id_index), int(attrs.score_index))
        return relax.call_tir(self.builder_.add_func(kernel, "valid_rows"), [boxes], list(call.ty.fields))

    def _suppressed(self, call: Any) -> Any:
        boxes, valid, _ = call.args[:3]
        attrs = call.attrs
        batch, count, width = _shape(boxes)
        options = Options(
            overlap=float(attrs.iou_threshold),
            classes=-1 if attrs.force_suppress else int(attrs.id_index),
            score=int(attrs.score_index),
            corners=int(attrs.coord_start),
            most=(int(attrs.top_k), int(attrs.max_output_size)),
            gaps=not attrs.invalid_to_bottom,
        )
        shape = (batch, count, width)
        if 4 * count * (width + 2) > SHARED_BYTES:
            return self._suppressed_apart(boxes, valid, shape, options)
        kernel = kept_rows(shape, options)
        return relax.call_tir(self.builder_.add_func(kernel, "kept_rows"), [boxes, valid], call.ty)

    def _suppressed_apart(self, boxes: Any, valid: Any, shape: tuple[int, int, int], options: Options) -> Any:
        """Return the kept ones of more boxes than shared memory holds, in three kernels."""
        alive = relax.TensorType(shape[:2], "int32")
        sort = self.builder_.add_func(ranked_rows(shape, options), "ranked_rows")
        sorted_ = self.builder_.emit(relax.call_tir(sort, [boxes, valid], [boxes.ty, alive]))
        ranked, candidates = (self.builder_.emit(relax.TupleGetItem(sorted_, index)) for index in range(2))
        suppress = self.builder_.add_func(surviving_rows(shape, options), "surviving_rows")
        survivors = self.builder_.emit(relax.call_tir(suppress, [ranked, candidates, valid], alive))
        gather = self.builder_.add_func(gathered_rows(shape, options), "gathered_rows")
        return relax.call_tir(gather, [ranked, survivors], boxes.ty)


def _shape(value: Any) -> tuple[int, int, int]:
    batch, count, width = map(int, value.ty.shape)
    return batch, count, width


def _check(value: Any) -> None:
    """Reject what the kernels don't support; in the mutator the error would lose its class on its way through TVM."""
    name = getattr(getattr(value, "op", None), "name", "")
    attrs = value.attrs if name == _SUPPRESS else None
    if attrs is not None and (attrs.return_indices or float(attrs.soft_nms_sigma) > 0):
        raise InputError(f"{name} returns indices or decays scores, which the GPU kernels don't support")


def valid_rows(shape: tuple[int, int, int], threshold: float, classes: int, score: int) -> Any:  # noqa: C901  # the loops of a kernel
    """Return the kernel `(boxes) -> (count, rows, places)` that moves valid rows to the front, keeping their order.

    Parameters
    ----------
    shape
        Number of images, boxes per image, values per box; float32.
    threshold
        Scores above it are valid.
    classes, score
        The columns of the class, which must not be negative (-1: there is no such column), and of the score.
    """
    batch, count, width = shape
    threads = threads_for(count)
    turns = -(-count // threads)

    @T.prim_func(private=True, s_tir=True)  # type: ignore[untyped-decorator]
    def main(  # type: ignore[no-untyped-def]  # noqa: ANN202, C901
        boxes: T.Buffer((batch, count, width), "float32"),  # type: ignore[valid-type]
        total: T.Buffer((batch,), "int32"),  # type: ignore[valid-type]
        rows: T.Buffer((batch, count, width), "float32"),  # type: ignore[valid-type]
        places: T.Buffer((batch, count), "int32"),  # type: ignore[valid-type]
    ):
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True, "op_pattern": OPAQUE})
        with T.sblock("root"):
            for image in T.thread_binding(batch, thread="blockIdx.x"):
                valid = T.alloc_buffer((count,), "int32", scope="shared")
                # Explicit barriers: TVM inserts none after a conditional block.
                with T.attr(T.int32(0), "hand_threaded", 0):
                    for turn in T.serial(turns):
                        for thread in T.thread_binding(threads, thread="threadIdx.x"):
                            box = turn * threads + thread
                            if box < count:
                                valid[box] = T.Cast(
                                    "int32",
                                    boxes[image, box, score] > T.float32(threshold)
                                    and (classes < 0 or boxes[image, box, T.max(classes, 0)] >= T.float32(0)),
                                )
                                places[image, box] = -1
                                for number in T.serial(width):
                                    rows[image, box, number] = T.float32(-1)
                    T.evaluate(T.tvm_storage_sync("shared"))
                    for turn in T.serial(turns):
                        for thread in T.thread_binding(threads, thread="threadIdx.x"):
                            before = T.alloc_buffer((1,), "int32", scope="local")
                            box = turn * threads + thread
                            before[0] = 0
                            if box < count:
                                for other in T.serial(box):
                                    before[0] = before[0] + valid[other]
                                if valid[box] != 0:
                                    places[image, before[0]] = box
                                    for number in T.serial(width):
                                        rows[image, before[0], number] = boxes[image, box, number]
                                if box == count - 1:
                                    total[image] = before[0] + valid[box]

    return main


def kept_rows(shape: tuple[int, int, int], options: Options) -> Any:  # noqa: C901  # the loops of a kernel
    """Return the kernel `(boxes, valid) -> rows`: sorted by score, without those that a better one overlaps.

    Parameters
    ----------
    shape
        Number of images, boxes per image, values per box; float32. Only the first `valid` boxes of an image count.
        Rows of -1 fill the end, or the places of what was dropped.
    """
    overlap, classes, score, corners, (considered, kept), gaps = options.resolved(shape[1])
    batch, count, width = shape
    threads = threads_for(count)
    turns = -(-count // threads)

    @T.prim_func(private=True, s_tir=True)  # type: ignore[untyped-decorator]
    def main(  # type: ignore[no-untyped-def]  # noqa: ANN202, C901, PLR0912
        boxes: T.Buffer((batch, count, width), "float32"),  # type: ignore[valid-type]
        valid: T.Buffer((batch,), "int32"),  # type: ignore[valid-type]
        rows: T.Buffer((batch, count, width), "float32"),  # type: ignore[valid-type]
    ):
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True, "op_pattern": OPAQUE})
        with T.sblock("root"):
            for image in T.thread_binding(batch, thread="blockIdx.x"):
                scores = T.alloc_buffer((count,), "float32", scope="shared")
                ranked = T.alloc_buffer((count, width), "float32", scope="shared")
                alive = T.alloc_buffer((count,), "int32", scope="shared")
                # Explicit barriers: TVM inserts none after a conditional block.
                with T.attr(T.int32(0), "hand_threaded", 0):
                    for turn in T.serial(turns):
                        for thread in T.thread_binding(threads, thread="threadIdx.x"):
                            box = turn * threads + thread
                            if box < count:
                                alive[box] = 0
                                scores[box] = boxes[image, box, score]
                                for number in T.serial(width):
                                    rows[image, box, number] = T.float32(-1)
                    T.evaluate(T.tvm_storage_sync("shared"))
                    for turn in T.serial(turns):
                        for thread in T.thread_binding(threads, thread="threadIdx.x"):
                            rank = T.alloc_buffer((1,), "int32", scope="local")
                            box = turn * threads + thread
                            rank[0] = 0
                            if box < valid[image]:
                                for other in T.serial(valid[image]):
                                    if scores[other] > scores[box] or (scores[other] == scores[box] and other < box):
                                        rank[0] = rank[0] + 1
                                if rank[0] < considered:
                                    alive[rank[0]] = T.Cast("int32", scores[box] > T.float32(0))
                                    for number in T.serial(width):
                                        ranked[rank[0], number] = boxes[image, box, number]
                    T.evaluate(T.tvm_storage_sync("shared"))
                    for best in T.serial(T.min(valid[image], considered)):
                        for turn in T.serial(turns):
                            for thread in T.thread_binding(threads, thread="threadIdx.x"):
                                edges = T.alloc_buffer((8,), "float32", scope="local")
                                areas = T.alloc_buffer((2,), "float32", scope="local")
                                box = turn * threads + thread
                                if (
                                    best < box < T.min(valid[image], considered)
                                    and alive[best] * alive[box] != 0
                                    and (
                                        classes < 0 or ranked[best, T.max(classes, 0)] == ranked[box, T.max(classes, 0)]
                                    )
                                ):
                                    for axis in T.unroll(2):
                                        first, second = corners + axis, corners + axis + 2
                                        edges[axis] = T.min(ranked[best, first], ranked[best, second])
                                        edges[2 + axis] = T.max(ranked[best, first], ranked[best, second])
                                        edges[4 + axis] = T.min(ranked[box, first], ranked[box, second])
                                        edges[6 + axis] = T.max(ranked[box, first], ranked[box, second])
                                    areas[0] = T.max(
                                        T.float32(0), T.min(edges[3], edges[7]) - T.max(edges[1], edges[5])
                                    ) * T.max(T.float32(0), T.min(edges[2], edges[6]) - T.max(edges[0], edges[4]))
                                    areas[1] = (
                                        (edges[2] - edges[0]) * (edges[3] - edges[1])
                                        + (edges[6] - edges[4]) * (edges[7] - edges[5])
                                        - areas[0]
                                    )
                                    if T.Select(
                                        areas[1] <= T.float32(0), T.float32(0), areas[0] / areas[1]
                                    ) >= T.float32(overlap):
                                        alive[box] = 0
                        T.evaluate(T.tvm_storage_sync("shared"))
                    for turn in T.serial(turns):
                        for thread in T.thread_binding(threads, thread="threadIdx.x"):
                            before = T.alloc_buffer((1,), "int32", scope="local")
                            box = turn * threads + thread
                            before[0] = 0
                            if box < count and alive[box] != 0:
                                for other in T.serial(box):
                                    before[0] = before[0] + alive[other]
                                if before[0] < kept:
                                    for number in T.serial(width):
                                        rows[image, T.if_then_else(gaps, box, before[0]), number] = ranked[box, number]

    return main
