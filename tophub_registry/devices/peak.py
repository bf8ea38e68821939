"""The device's float32 peak, measured with a kernel of multiply-adds.

Every thread keeps several sums in registers and updates each by a multiply-add, over and over: nothing waits for
memory, and no operation for the one before it. This bounds every float32 kernel that does not use matrix units;
Winograd convolution may exceed it in GFLOPS of direct convolution, since it needs fewer multiplications.
"""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

from tophub_registry.devices import gpu
from tophub_registry.devices.processor import processor
from tophub_registry.records.families import vectors_of
from tophub_registry.records.target import Target

_FLOPS_OF_A_MULTIPLY_ADD = 2

_SECONDS = 0.01
"""The approximate length of a repeat. The fastest repeat counts, since disturbances only slow it down."""

_REPEATS = 10
_AGREEING = 3
_AGREEMENT = 1.01
_PATIENCE = 2.0
"""At least ten repeats, and more until the fastest three are within 1 %, or for two seconds."""

# A core starts two multiply-adds of vectors per cycle, each with a latency of four or five cycles: ten sums keep it
# busy, and together with the two factors they fit into the sixteen registers of AVX2.
_SUMS_OF_A_CORE = 12
_STEPS_OF_A_CORE = 1 << 18

# The latency on a GPU is about four cycles, which other threads of the multiprocessor hide.
_SUMS_OF_A_THREAD = 8
_STEPS_OF_A_THREAD = 1 << 12
_THREADS_OF_A_BLOCK = 256
# A multiprocessor runs 1024, 1536 or 2048 threads at once: it is full until its last blocks.
_BLOCKS_OF_A_MULTIPROCESSOR = 24
# Multiply-adds of each sum per iteration of the loop.
_UNROLLED = 16


class Work(NamedTuple):
    """The work of a multiply-add kernel.

    Attributes
    ----------
    groups
        Processor threads, or blocks of a GPU.
    lanes
        Numbers in a vector, or threads of a block.
    sums
        Independent sums of each lane.
    steps
        Multiply-adds of each sum.
    """

    groups: int
    lanes: int
    sums: int
    steps: int

    @property
    def flop(self) -> int:
        """Floating-point operations."""
        return _FLOPS_OF_A_MULTIPLY_ADD * self.groups * self.lanes * self.sums * self.steps


def measure_peak(kind: str) -> float | None:
    """Return the device's float32 peak in GFLOPS; None if it can't be measured.

    On a processor it is measured with TVM's own number of threads. This starts TVM's thread pool, so never call it in
    a process that starts others (see `tophub_registry.devices.device.describe`).

    Parameters
    ----------
    kind
        `llvm` or `cuda`.
    """
    import tvm

    try:
        device = tvm.cuda(0) if kind == "cuda" else tvm.cpu()
        work = gpu_work(int(device.multi_processor_count)) if kind == "cuda" else processor_work()
        kernel = tvm.compile(multiply_adds(kind, work), target=tvm.target.Target(_target(kind)))
        return _rate(kernel, device, work)
    except Exception:  # noqa: BLE001  # the peak is for information only: tuning goes on without it
        return None


def processor_work() -> Work:
    """Return the work for this machine's processor and the threads of TVM's runtime."""
    import tvm

    vectors = vectors_of(Target.parse(f"llvm -mcpu={processor()}"))
    return Work(int(tvm.runtime.num_threads()), vectors.lanes if vectors else 4, _SUMS_OF_A_CORE, _STEPS_OF_A_CORE)


def gpu_work(multiprocessors: int) -> Work:
    """Return the work for a GPU with this many multiprocessors."""
    blocks = multiprocessors * _BLOCKS_OF_A_MULTIPROCESSOR
    return Work(blocks, _THREADS_OF_A_BLOCK, _SUMS_OF_A_THREAD, _STEPS_OF_A_THREAD)


def multiply_adds(kind: str, work: Work) -> Any:
    """Return the kernel `main(factors, out)` as a TVM function.

    `factors` has two numbers, which the compiler can't know; `out` has one for each group and lane.
    """
    return _on_gpu(work) if kind == "cuda" else _on_processor(work)


def _on_processor(work: Work) -> Any:  # noqa: C901  # the loops of a kernel
    from tvm.script import tirx as T  # noqa: N812  # as TVM script calls it

    groups, lanes, sums, steps = work

    @T.prim_func  # type: ignore[untyped-decorator]
    def main(factors: T.Buffer((2,), "float32"), out: T.Buffer((groups, lanes), "float32")):  # type: ignore[valid-type,no-untyped-def]  # noqa: ANN202
        T.func_attr({"global_symbol": "main", "tirx.noalias": True})
        for group in T.parallel(groups):
            total = T.alloc_local((sums, lanes), "float32")
            for s in T.unroll(sums):
                for lane in T.vectorized(lanes):
                    # Different values, so that the compiler can't merge the sums.
                    total[s, lane] = T.Cast("float32", s)
            for _ in T.serial(steps):
                for s in T.unroll(sums):
                    for lane in T.vectorized(lanes):
                        total[s, lane] = total[s, lane] * factors[0] + factors[1]
            for lane in T.vectorized(lanes):
                out[group, lane] = T.float32(0)
            for s in T.unroll(sums):
                for lane in T.vectorized(lanes):
                    out[group, lane] = out[group, lane] + total[s, lane]

    return main


def _on_gpu(work: Work) -> Any:
    from tvm.script import tirx as T  # noqa: N812  # as TVM script calls it

    groups, lanes, sums, steps = work

    @T.prim_func  # type: ignore[untyped-decorator]
    def main(factors: T.Buffer((2,), "float32"), out: T.Buffer((groups, lanes), "float32")):  # type: ignore[valid-type,no-untyped-def]  # noqa: ANN202
        T.func_attr({"global_symbol": "main", "tirx.noalias": True})
        for group in T.thread_binding(groups, thread="blockIdx.x"):
            for lane in T.thread_binding(lanes, thread="threadIdx.x"):
                total = T.alloc_local((sums,), "float32")
                for s in T.unroll(sums):
                    total[s] = T.Cast("float32", s)
                for _ in T.serial(steps // _UNROLLED):
                    for _ in T.unroll(_UNROLLED):
                        for s in T.unroll(sums):
                            total[s] = total[s] * factors[0] + factors[1]
                out[group, lane] = T.float32(0)
                for s in T.unroll(sums):
                    out[group, lane] = out[group, lane] + total[s]

    return main


def _target(kind: str) -> dict[str, object]:
    if kind == "cuda":
        return {"kind": "cuda", "arch": gpu.architecture_of(gpu.this_gpu())}
    return {"kind": "llvm", "mcpu": processor()}


def _rate(kernel: Any, device: Any, work: Work) -> float:
    import numpy as np
    import tvm

    factors = tvm.runtime.tensor(np.array([0.5, 1.0], "float32"), device)
    out = tvm.runtime.tensor(np.zeros((work.groups, work.lanes), "float32"), device)
    timer = kernel.mod.time_evaluator("main", device, number=1)
    once = timer(factors, out).mean
    number = max(1, math.ceil(_SECONDS / once))
    timer = kernel.mod.time_evaluator("main", device, number=number, repeat=_REPEATS)
    costs: list[float] = []
    until = time.monotonic() + _PATIENCE
    while not costs or (costs[_AGREEING - 1] > _AGREEMENT * costs[0] and time.monotonic() < until):
        costs = sorted([*costs, *timer(factors, out).results])
    return float(work.flop / costs[0] / 1e9)
