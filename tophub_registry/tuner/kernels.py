"""What happens to one config inside a worker process: building its kernel, and running it.

These functions are called by name in other processes; what goes in and out can be pickled.
"""

from __future__ import annotations

import ctypes
import functools
import math
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tophub_registry.records.record import Config
    from tophub_registry.templates.template import Template, Tensor

_PR_SET_PDEATHSIG = 1


class InstantiationError(Exception):
    """The template refused the config."""


class Timing(NamedTuple):
    """How a kernel is timed.

    Attributes
    ----------
    repeats
        How many costs are recorded.
    seconds
        How long one repeat lasts at least; the kernel runs as often as that takes.
    give_up
        A kernel whose first run takes longer than this, in seconds, is not timed any further.
    """

    repeats: int = 3
    seconds: float = 0.01
    give_up: float = math.inf


def start_worker() -> None:
    """Prepare a worker: it leaves Ctrl-C to its parent, dies with it, and has TVM loaded."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    import tvm  # noqa: F401


def build(template: Template, config: Config, target: dict[str, object], path: str) -> list[Tensor]:
    """Compile a config's kernel into the shared library `path` and return its arguments.

    Raises
    ------
    InstantiationError
        The template refused the config.
    Exception
        Whatever the compiler raises.
    """
    import tvm

    try:
        schedule = template.schedule(config)
    except Exception as error:
        raise InstantiationError(str(error)) from error
    library = tvm.compile(schedule.mod, target=tvm.target.Target(target))
    if target["kind"] == "llvm":
        _link(library, path)
    else:
        library.export_library(path)
    return template.tensors(config)


def _link(library: Any, path: str) -> None:
    """Make a shared library of one object; `export_library` would call the C++ compiler for it."""
    object_file = Path(path).with_suffix(".o")
    library.mod.write_to_file(str(object_file), "o")
    subprocess.run(["ld", "-shared", "-o", path, str(object_file)], check=True, capture_output=True, text=True)
    object_file.unlink()


def run(path: str, tensors: list[Tensor], kind: str, timing: Timing) -> list[float]:
    """Time a kernel on random inputs and return the mean time of a run in each repeat, in seconds."""
    return run_in_turns([(path, tensors)], kind, timing)[0]


def run_in_turns(kernels: list[tuple[str, list[Tensor]]], kind: str, timing: Timing) -> list[list[float]]:
    """Time several kernels in turns, so that a disturbance meets all of them.

    Parameters
    ----------
    kernels
        The shared library and the arguments of each.
    kind
        The kind of target, which says on what they run.

    Returns
    -------
    list
        For each kernel its costs, one for each repeat, in seconds.
    """
    import tvm

    device = tvm.cuda(0) if kind == "cuda" else tvm.cpu()
    measures: list[Callable[[], float]] = []
    repeats: list[int] = []
    for path, tensors in kernels:
        module = tvm.runtime.load_module(path)
        arrays = [_array(number, tensor, device) for number, tensor in enumerate(tensors)]

        def measure(number: int, module: Any = module, arrays: Sequence[Any] = arrays) -> float:
            return float(module.time_evaluator("main", device, number=number)(*arrays).mean)

        first = measure(1)
        slow = first > timing.give_up
        number = 1 if slow else max(1, math.ceil(timing.seconds / max(first, 1e-9)))
        measures.append(functools.partial(measure, number))
        repeats.append(1 if slow else timing.repeats)
    costs: list[list[float]] = [[] for _ in kernels]
    for repeat in range(timing.repeats):
        for kernel, measure_again in enumerate(measures):
            if repeat < repeats[kernel]:
                costs[kernel].append(measure_again())
    return costs


@functools.lru_cache(maxsize=64)
def _array(number: int, tensor: Tensor, device: Any) -> Any:
    """Return an argument filled with random numbers; the worker keeps it for the next config."""
    import numpy as np
    import tvm

    values = np.random.default_rng(number).uniform(0.1, 1.0, tensor.shape).astype(tensor.dtype)
    return tvm.runtime.tensor(values, device)
