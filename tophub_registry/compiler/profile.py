"""Where a compiled model spends its time: the time of each kernel, over all its calls in one run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_BUILTIN = "vm.builtin."

_CAPTURED = "vm.builtin.cuda_graph.run_or_capture"
"""Runs a GPU's kernels as one CUDA graph, in which they can't be timed one by one."""


@dataclass(frozen=True)
class KernelTime:
    """The time of one kernel in a run of the model.

    Attributes
    ----------
    name
        The kernel's function in the compiled module. Identical layers share it.
    shapes
        Its arguments' shapes: the inputs, then the output.
    calls
        Number of calls in a run.
    seconds
        Total time of these calls in the fastest of the timed runs. Profiling adds a few microseconds to each call.
    """

    name: str
    shapes: tuple[tuple[int, ...], ...]
    calls: int
    seconds: float


def profile(machine: Any, device: Any, inputs: Sequence[Any], runs: int) -> list[KernelTime]:
    """Time each kernel of a model.

    Parameters
    ----------
    machine
        A `relax.VirtualMachine` for this alone: it stays instrumented.
    device
        The device it runs on.
    inputs
        The model's inputs, on the device.
    runs
        Number of runs to time, after an untimed one.

    Returns
    -------
    list
        The slowest kernel first.
    """
    calls: list[tuple[str, tuple[tuple[int, ...], ...], float]] = []
    began = [0.0]

    def watch(_: Any, name: str, before: bool, __: Any, *arguments: Any) -> int:
        device.sync()
        if before:
            began[0] = time.perf_counter()
        elif not name.startswith(_BUILTIN) or name == _CAPTURED:
            seconds = time.perf_counter() - began[0]
            shapes = tuple(tuple(map(int, each.shape)) for each in arguments if hasattr(each, "shape"))
            calls.append((name, shapes, seconds))
        return 0

    machine.set_instrument(watch)
    fastest: dict[tuple[str, tuple[tuple[int, ...], ...]], KernelTime] = {}
    for run in range(1 + runs):
        calls.clear()
        machine["main"](*inputs)
        for kernel in _summed(calls) if run else []:
            key = kernel.name, kernel.shapes
            fastest[key] = min(kernel, fastest.get(key, kernel), key=lambda each: each.seconds)
    return sorted(fastest.values(), key=lambda kernel: -kernel.seconds)


def _summed(calls: Sequence[tuple[str, tuple[tuple[int, ...], ...], float]]) -> list[KernelTime]:
    times: dict[tuple[str, tuple[tuple[int, ...], ...]], list[float]] = {}
    for name, shapes, seconds in calls:
        times.setdefault((name, shapes), []).append(seconds)
    return [KernelTime(name, shapes, len(each), sum(each)) for (name, shapes), each in times.items()]
