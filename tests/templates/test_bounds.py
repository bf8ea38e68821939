"""No kernel reads outside of its arguments: memory that nobody may touch lies right before and right after them."""

from __future__ import annotations

import ctypes
import mmap
import multiprocessing
from math import prod
from pathlib import Path

import pytest

pytest.importorskip("tvm", reason="needs the extra [tune]")

import numpy as np

from tests.templates.test_numerics import (
    batched,
    conv2d,
    dense,
    depthwise,
    grouped,
    pointwise,
    tiled,
    transposed,
    volumetric,
    winograd,
)
from tophub_registry.records.target import Target
from tophub_registry.templates.registry import instantiate

TARGET = Target.parse("llvm -mcpu=x86-64-v3")

WORKLOADS = {
    "direct": conv2d([1, 16, 14, 14], [16, 16, 3, 3], 1, (1, 1, 1, 1)),
    "pointwise": conv2d([1, 16, 14, 14], [16, 16, 1, 1]),
    "depthwise": depthwise([1, 16, 14, 14], [3, 3], 1, (1, 1, 1, 1)),
    "groups": grouped(2, [1, 32, 14, 14], [32, 16, 3, 3], 1, (1, 1, 1, 1)),
    "blocked groups": ("group_conv2d_NCHWc.x86", grouped(2, [1, 32, 14, 14], [32, 16, 3, 3], 1, (1, 1, 1, 1))[1]),
    "pixels, the last panel in part": pointwise([1, 16, 8, 8], 56),
    "tiled, the last panel in part": tiled([1, 16, 12, 10], [56, 16, 3, 3], 1, (1, 1, 1, 1)),
    "tiled groups": ("group_conv2d_NCHWc_tiled.x86", grouped(2, [1, 32, 13, 13], [32, 16, 3, 3], 1, (1, 1, 1, 1))[1]),
    "volumes": volumetric([1, 16, 4, 9, 8], [16, 16, 3, 3, 3], (1, 1, 1), (1, 1, 1, 1, 1, 1)),
    "volumes, depthwise": volumetric([1, 16, 4, 8, 8], [16, 1, 3, 3, 3], (1, 1, 1), (1, 1, 1, 1, 1, 1)),
    "pixels, the last tile again": pointwise([1, 16, 7, 7], 32),
    "tiled, the last tile again": tiled([1, 32, 7, 7], [32, 32, 3, 3], 1, (1, 1, 1, 1)),
    "tiled, strips of rows": tiled([1, 16, 13, 13], [32, 16, 3, 3], 2, (1, 1, 1, 1)),
    "pixels, channels in uneven parts": pointwise([1, 736, 4, 4], 64),
    "pixels, strided": pointwise([1, 16, 13, 13], 32, 2),
    "transposed": transposed([1, 16, 7, 9], [16, 16, 3, 3]),
    "transposed, data cut off": transposed([1, 16, 9, 9], [16, 16, 3, 2], 2, (5, 6, 0, 2)),
    "winograd": winograd(16, (14, 14), 16),
    "winograd, wide padding": winograd(16, (14, 14), 16, (2, 2, 2, 2)),
    "winograd, one tile": winograd(32, (3, 3), 32),
    "tiled, rows beyond the last": dense("tiled", 13, 32, 48),
    "tiled, columns beyond the last": dense("tiled", 16, 16, 17),
    "tiled products, rows and columns beyond the last": batched("_tiled", 16, 13, 16, 17),
}


def between_guards(size: int, at_end: bool) -> ctypes.Array[ctypes.c_char]:
    """Return bytes that begin right after memory that can't be read, or end right before it."""
    page = mmap.PAGESIZE
    room = -(-size // page) * page
    memory = mmap.mmap(-1, room + 2 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    for guard in (start, start + page + room):
        assert protect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0) == 0
    return (ctypes.c_char * size).from_buffer(memory, page + (room - size if at_end else 0))


def run(task: str, args: list[object], at_end: bool) -> None:
    """Build the default kernel and run it on guarded arguments."""
    import tvm

    template = instantiate(task, args)
    config = template.default(TARGET)
    kernel = tvm.compile(template.kernel(config), target={"kind": "llvm", "mcpu": "x86-64-v3"})
    arguments = []
    for shape, dtype in template.tensors(config):
        size = prod(shape) * np.dtype(dtype).itemsize
        assert size % 64 == 0  # what TVM's kernels take for granted of their arguments' places
        array = np.frombuffer(between_guards(size, at_end), dtype).reshape(shape)
        arguments.append(tvm.runtime.from_dlpack(array))
    kernel["main"](*arguments)


def run_all(at_end: bool, begun: Path) -> None:
    """Run each workload's kernel, and write down which was begun."""
    for name, workload in WORKLOADS.items():
        begun.write_text(name)
        run(*workload, at_end)


@pytest.mark.parametrize("at_end", [False, True], ids=["before", "after"])
def test_nothing_is_read_outside(at_end: bool, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    process = multiprocessing.get_context("spawn").Process(target=run_all, args=(at_end, begun))
    process.start()
    process.join()
    assert process.exitcode == 0, begun.read_text()
