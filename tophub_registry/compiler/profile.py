"""Where a compiled model's time goes: the seconds of each kernel, for all of its calls in one run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_BUILTIN = "vm.builtin."

_CAPTURED = "vm.builtin.cuda_graph.run_or_capture"
"""Runs a GPU's kernels as one graph; within it they can't be told apart."""


@dataclass(frozen=True)
class KernelTime:
    """What one kernel takes in a run of the model.

    Attributes
    ----------
    name
        The kernel's function in the compiled module. Layers that are alike share it.
    shapes
        Its arguments' shapes: the inputs, then the output.
    calls
        How often a run calls it.
    seconds
        Of all these calls together, in the fastest of the runs that were timed; some microseconds for each call are
        the profile's own.
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
        A `relax.VirtualMachine` of one's own: what watches its calls stays with it.
    device
        What it runs on.
    inputs
        The model's, on the device.
    runs
        How many runs to time, after one that is not.

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
