"""How a kernel is timed: on a processor with cold weights, as a model runs it.

A model reads each layer's weights from memory, since those of the other layers have passed through the cache since the
last run. A kernel that runs over and over on the same arrays finds them in the cache; that can be twice as fast, and
another config is the best then. So each run gets weights of its own from a large arena, one after the other; data and
output stay where the run before left them, as a model's are left by the layer before.

A GPU's kernels are timed on the same arrays: whole models take as long as that says (`benchmarks/sum_of_layers.py`).
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from tophub_registry.devices.pages import back_with_huge_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Clock = Callable[[int], float]
    """Runs a kernel a number of times, and returns the mean of seconds."""

COLD = "cold"
"""What a record's provenance says of its weights if they were cold; otherwise it says nothing."""

_ARENA = 96 << 20
"""Bytes of weights that pass through the cache before any are used again: a model's, and more than most caches hold."""

_ALIGNMENT = 64  # which kernels may rely on

_FLUSH = "cache_flush_cpu_non_first_arg"
"""TVM's function that takes all arguments but the first out of an x86 processor's cache."""

_FLUSHED = 50
"""The most runs of a repeat before each of which the cache is flushed."""


class Timing(NamedTuple):
    """How long and how often a kernel is timed.

    Attributes
    ----------
    repeats
        The number of costs that are recorded.
    seconds
        The minimum length of a repeat; the kernel runs as often as that takes.
    give_up
        A kernel whose first run takes longer than this, in seconds, is timed only once more.
    """

    repeats: int = 3
    seconds: float = 0.01
    give_up: float = math.inf


class ColdWeights:
    """An arena with arrays for weights, each of which was last used long ago."""

    def __init__(self) -> None:
        self._arena: NDArray[Any] | None = None
        self._position = 0

    def clock(self, kernel: Callable[..., None], arguments: Sequence[Any], weights: int) -> Clock:
        """Return what times a kernel on this process's own processor.

        Parameters
        ----------
        kernel
            It takes `arguments`: data, weights, and one output.
        weights
            The number of weights.
        """
        first = len(arguments) - 1 - weights

        def seconds(number: int) -> float:
            runs = [[*arguments[:first], *map(self._next, arguments[first:-1]), arguments[-1]] for _ in range(number)]
            start = time.perf_counter()
            for run in runs:
                kernel(*run)
            return (time.perf_counter() - start) / number

        return seconds

    def _next(self, like: Any) -> Any:
        """Return an array of the same shape and type."""
        import numpy as np
        import tvm

        dtype = np.dtype(str(like.dtype))
        if self._arena is None or self._arena.dtype != dtype:
            self._arena, self._position = _filled(dtype), 0
        size = math.prod(map(int, like.shape))
        step = -(-size * dtype.itemsize // _ALIGNMENT) * _ALIGNMENT // dtype.itemsize
        if size > len(self._arena):
            return like
        if self._position + size > len(self._arena):
            self._position = 0
        array = self._arena[self._position : self._position + size].reshape(like.shape)
        self._position += step
        return tvm.runtime.from_dlpack(array)


def _filled(dtype: Any) -> NDArray[Any]:
    """Return an aligned array with numbers as weights may be."""
    import numpy as np

    raw = np.empty(_ARENA + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    arena: NDArray[Any] = raw[start : start + _ARENA].view(dtype)
    span = 1 if dtype.kind == "f" else 8
    some = (span * np.random.default_rng(7).uniform(-1, 1, 1 << 16)).astype(dtype)
    arena.reshape(-1, len(some))[:] = some
    back_with_huge_pages(raw.ctypes.data, raw.nbytes)  # as a model's weights are
    return arena


def evaluator(module: Any, device: Any, arguments: Sequence[Any], *, flush: bool = False) -> Clock:
    """Return what times a kernel by TVM's time evaluator, on a GPU or behind RPC.

    Parameters
    ----------
    flush
        Take weights and output out of the processor's cache before each run.
    """

    def seconds(number: int) -> float:
        if not flush:
            return float(module.time_evaluator("main", device, number=number)(*arguments).mean)
        runs = min(number, _FLUSHED)  # flushing takes longer than many a kernel
        timer = module.time_evaluator("main", device, number=1, repeat=runs, f_preproc=_FLUSH)
        return float(timer(*arguments).mean)

    return seconds
