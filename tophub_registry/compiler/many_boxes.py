"""Non-maximum suppression of more boxes than a GPU's shared memory holds, such as the 6000 of a proposal network.

Counting, sorting and gathering use a thread for each box, in many blocks; suppression is sequential, and uses one block
for each image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm.script import tirx as T  # noqa: N812  # as TVM script calls it

SHARED_BYTES = 48 * 1024
"""Shared memory in bytes that a thread block may use on any GPU by default."""

MOST_THREADS = 1024
_WARP = 32
_FEW_THREADS = 128
"""Threads of a block whose threads are independent."""

OPAQUE = 8
"""TVM's pattern kind for a function that is not fused with others."""


@dataclass(frozen=True)
class Options:
    """How boxes are suppressed.

    Attributes
    ----------
    overlap
        A box is dropped if its intersection with a better one is at least this share of their union.
    classes, score, corners
        The columns of the class, within which boxes are compared (-1: across all), of the score, and of the first of
        four coordinates.
    most
        How many boxes of the best scores to consider, and how many to keep; all if not positive.
    gaps
        Whether the places of dropped boxes stay empty.
    """

    overlap: float
    classes: int
    score: int
    corners: int
    most: tuple[int, int] = (-1, -1)
    gaps: bool = False

    def resolved(self, count: int) -> tuple[float, int, int, int, tuple[int, int], bool]:
        """Return the options in order, with numbers for `most` of so many boxes."""
        considered, kept = (number if number > 0 else count for number in self.most)
        return self.overlap, self.classes, self.score, self.corners, (considered, kept), self.gaps


def threads_for(count: int) -> int:
    """Return the threads of a block that works on so many boxes."""
    return min(MOST_THREADS, -(-count // _WARP) * _WARP)


def counted_rows(  # noqa: C901  # the loops of a kernel
    shape: tuple[int, int, int], threshold: float, classes: int, score: int
) -> Any:
    """Return what `detection.valid_rows` does for fewer boxes: `(boxes) -> (count, rows, places)`."""
    batch, count, width = shape

    @T.prim_func(private=True, s_tir=True)  # type: ignore[untyped-decorator]
    def main(  # type: ignore[no-untyped-def]  # noqa: ANN202
        boxes: T.Buffer((batch, count, width), "float32"),  # type: ignore[valid-type]
        total: T.Buffer((batch,), "int32"),  # type: ignore[valid-type]
        rows: T.Buffer((batch, count, width), "float32"),  # type: ignore[valid-type]
        places: T.Buffer((batch, count), "int32"),  # type: ignore[valid-type]
    ):
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True, "op_pattern": OPAQUE})
        with T.sblock("root"):
            for image in T.thread_binding(batch, thread="blockIdx.y"):
                for part in T.thread_binding(-(-count // _FEW_THREADS), thread="blockIdx.x"):
                    for thread in T.thread_binding(_FEW_THREADS, thread="threadIdx.x"):
                        numbers = T.alloc_buffer((3,), "int32", scope="local")  # before this box, up to it, in all
                        box = part * _FEW_THREADS + thread
                        if box < count:
                            for index in T.unroll(3):
                                numbers[index] = 0
                            for other in T.serial(count):
                                if boxes[image, other, score] > T.float32(threshold) and (
                                    classes < 0 or boxes[image, other, T.max(classes, 0)] >= T.float32(0)
                                ):
                                    numbers[0] = numbers[0] + T.Cast("int32", other < box)
                                    numbers[1] = numbers[1] + T.Cast("int32", other <= box)
                                    numbers[2] = numbers[2] + 1
                            valid = numbers[1] > numbers[0]
                            place = T.if_then_else(valid, numbers[0], numbers[2] + box - numbers[0])
                            places[image, place] = T.if_then_else(valid, box, -1)
                            for number in T.serial(width):
                                rows[image, place, number] = T.if_then_else(
                                    valid, boxes[image, box, number], T.float32(-1)
                                )
                            if box == 0:
                                total[image] = numbers[2]

    return main


def ranked_rows(shape: tuple[int, int, int], options: Options) -> Any:
    """Return the kernel `(boxes, valid) -> (ranked, alive)`: valid boxes sorted by score, and whether they count."""
    batch, count, width = shape
    _, _, score, _, (considered, _), _ = options.resolved(count)

    @T.prim_func(private=True, s_tir=True)  # type: ignore[untyped-decorator]
    def main(  # type: ignore[no-untyped-def]  # noqa: ANN202
        boxes: T.Buffer((batch, count, width), "float32"),  # type: ignore[valid-type]
        valid: T.Buffer((batch,), "int32"),  # type: ignore[valid-type]
        ranked: T.Buffer((batch, count, width), "float32"),  # type: ignore[valid-type]
        alive: T.Buffer((batch, count), "int32"),  # type: ignore[valid-type]
    ):
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True, "op_pattern": OPAQUE})
        with T.sblock("root"):
            for image in T.thread_binding(batch, thread="blockIdx.y"):
                for part in T.thread_binding(-(-count // _FEW_THREADS), thread="blockIdx.x"):
                    for thread in T.thread_binding(_FEW_THREADS, thread="threadIdx.x"):
                        rank = T.alloc_buffer((1,), "int32", scope="local")
                        box = part * _FEW_THREADS + thread
                        if box < count:
                            rank[0] = box  # an invalid box stays in its place, behind the valid ones
                            if box < valid[image]:
                                rank[0] = 0
                                for other in T.serial(valid[image]):
                                    if boxes[image, other, score] > boxes[image, box, score] or (
                                        boxes[image, other, score] == boxes[image, box, score] and other < box
                                    ):
                                        rank[0] = rank[0] + 1
                            alive[image, rank[0]] = T.Cast(
                                "int32",
                                box < valid[image] and rank[0] < considered and boxes[image, box, score] > T.float32(0),
                            )
                            for number in T.serial(width):
                                ranked[image, rank[0], number] = boxes[image, box, number]

    return main


def surviving_rows(shape: tuple[int, int, int], options: Options) -> Any:  # noqa: C901  # the loops of a kernel
    """Return the kernel `(ranked, alive, valid) -> survivors`, which marks the boxes that no better one overlaps."""
    batch, count, width = shape
    overlap, classes, _, corners, (considered, _), _ = options.resolved(count)
    threads = threads_for(count)
    turns = -(-count // threads)

    @T.prim_func(private=True, s_tir=True)  # type: ignore[untyped-decorator]
    def main(  # type: ignore[no-untyped-def]  # noqa: ANN202, C901
        ranked: T.Buffer((batch, count, width), "float32"),  # type: ignore[valid-type]
        alive: T.Buffer((batch, count), "int32"),  # type: ignore[valid-type]
        valid: T.Buffer((batch,), "int32"),  # type: ignore[valid-type]
        survivors: T.Buffer((batch, count), "int32"),  # type: ignore[valid-type]
    ):
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True, "op_pattern": OPAQUE})
        with T.sblock("root"):
            for image in T.thread_binding(batch, thread="blockIdx.x"):
                # Explicit barriers: TVM inserts none after a conditional block.
                with T.attr(T.int32(0), "hand_threaded", 0):
                    for turn in T.serial(turns):
                        for thread in T.thread_binding(threads, thread="threadIdx.x"):
                            if turn * threads + thread < count:
                                survivors[image, turn * threads + thread] = alive[image, turn * threads + thread]
                    T.evaluate(T.tvm_storage_sync("shared"))
                    for best in T.serial(T.min(valid[image], considered)):
                        for turn in T.serial(turns):
                            for thread in T.thread_binding(threads, thread="threadIdx.x"):
                                edges = T.alloc_buffer((8,), "float32", scope="local")
                                areas = T.alloc_buffer((2,), "float32", scope="local")
                                box = turn * threads + thread
                                if (
                                    best < box < T.min(valid[image], considered)
                                    and survivors[image, best] * survivors[image, box] != 0
                                    and (
                                        classes < 0
                                        or ranked[image, best, T.max(classes, 0)]
                                        == ranked[image, box, T.max(classes, 0)]
                                    )
                                ):
                                    for axis in T.unroll(2):
                                        first, second = corners + axis, corners + axis + 2
                                        edges[axis] = T.min(ranked[image, best, first], ranked[image, best, second])
                                        edges[2 + axis] = T.max(ranked[image, best, first], ranked[image, best, second])
                                        edges[4 + axis] = T.min(ranked[image, box, first], ranked[image, box, second])
                                        edges[6 + axis] = T.max(ranked[image, box, first], ranked[image, box, second])
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
                                        survivors[image, box] = 0
                        T.evaluate(T.tvm_storage_sync("shared"))

    return main


def gathered_rows(shape: tuple[int, int, int], options: Options) -> Any:
    """Return the kernel `(ranked, survivors) -> rows`: the survivors in order, and rows of -1 for the others."""
    batch, count, width = shape
    *_, (_, kept), gaps = options.resolved(count)

    @T.prim_func(private=True, s_tir=True)  # type: ignore[untyped-decorator]
    def main(  # type: ignore[no-untyped-def]  # noqa: ANN202
        ranked: T.Buffer((batch, count, width), "float32"),  # type: ignore[valid-type]
        survivors: T.Buffer((batch, count), "int32"),  # type: ignore[valid-type]
        rows: T.Buffer((batch, count, width), "float32"),  # type: ignore[valid-type]
    ):
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True, "op_pattern": OPAQUE})
        with T.sblock("root"):
            for image in T.thread_binding(batch, thread="blockIdx.y"):
                for part in T.thread_binding(-(-count // _FEW_THREADS), thread="blockIdx.x"):
                    for thread in T.thread_binding(_FEW_THREADS, thread="threadIdx.x"):
                        numbers = T.alloc_buffer((2,), "int32", scope="local")  # before this box, and in all
                        place = T.alloc_buffer((1,), "int32", scope="local")
                        box = part * _FEW_THREADS + thread
                        if box < count:
                            numbers[0] = 0
                            numbers[1] = 0
                            for other in T.serial(count):
                                numbers[0] = numbers[0] + T.if_then_else(other < box, survivors[image, other], 0)
                                numbers[1] = numbers[1] + survivors[image, other]
                            stays = survivors[image, box] != 0 and numbers[0] < kept
                            place[0] = box
                            if not gaps:
                                place[0] = T.if_then_else(
                                    stays,
                                    numbers[0],
                                    T.min(numbers[1], kept) + box - T.min(numbers[0], kept),
                                )
                            for number in T.serial(width):
                                rows[image, place[0], number] = T.if_then_else(
                                    stays, ranked[image, box, number], T.float32(-1)
                                )

    return main
