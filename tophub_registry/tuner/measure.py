"""Measuring configs: built in a pool of processes, run in a process of their own, each with a time limit.

A crash or a hang costs one config and becomes a result with AutoTVM's error number; the run goes on.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from pebble import ProcessExpired, ProcessPool

from tophub_registry.errors import EnvironmentFailure
from tophub_registry.records.record import Config, Provenance, Result
from tophub_registry.records.target import Target
from tophub_registry.templates.template import Template, Tensor
from tophub_registry.tuner import device, kernels

FAILED_COST = 1e9
"""The cost, in seconds, that AutoTVM writes for a config that failed."""


class ErrorNo(IntEnum):
    """What became of a config, with the numbers of AutoTVM's `MeasureErrorNo`."""

    NO_ERROR = 0
    INSTANTIATION_ERROR = 1
    COMPILE_HOST = 2
    COMPILE_DEVICE = 3
    RUNTIME_DEVICE = 4
    WRONG_ANSWER = 5
    BUILD_TIMEOUT = 6
    RUN_TIMEOUT = 7
    UNKNOWN_ERROR = 8


class Measured(NamedTuple):
    """A config's result, and for a failure what the compiler or the system said."""

    config: Config
    result: Result
    message: str | None


class Limits(NamedTuple):
    """Time limits in seconds, for building a kernel and for timing it."""

    build: float = 10.0
    run: float = 10.0


class _Kernel(NamedTuple):
    config: Config
    path: str
    build: Future[list[Tensor]]
    started: float


class _Stage(NamedTuple):
    """A stage in a config's life, and the numbers of what can go wrong in it."""

    what: str
    too_long: ErrorNo
    broken: ErrorNo

    def blame(self, error: Exception) -> tuple[ErrorNo, str]:
        """Return the number and the text for an error of this stage."""
        if isinstance(error, FutureTimeout):
            return self.too_long, f"{self.what} took longer than the limit"
        if isinstance(error, ProcessExpired):
            return self.broken, f"{self.what} crashed: {_exit(error.exitcode)}"
        if isinstance(error, kernels.InstantiationError):
            return ErrorNo.INSTANTIATION_ERROR, _message(error)
        return self.broken, _message(error)


_BUILD = _Stage("building", ErrorNo.BUILD_TIMEOUT, ErrorNo.COMPILE_HOST)
_RUN = _Stage("running", ErrorNo.RUN_TIMEOUT, ErrorNo.RUNTIME_DEVICE)


class Measurer:
    """Processes that build and run kernels for one target on this machine.

    Parameters
    ----------
    target
        What to compile for.
    workers
        How many processes build; all cores by default.
    limits
        Time limits.
    timing
        How long and how often a kernel is timed.
    """

    def __init__(
        self,
        target: Target,
        *,
        workers: int | None = None,
        limits: Limits = Limits(),  # noqa: B008  # immutable
        timing: kernels.Timing = kernels.Timing(),  # noqa: B008  # immutable
    ) -> None:
        self.target = target
        self._compiled_for = device.compiled_for(target)
        self.limits = limits
        self.timing = timing
        self._folder = tempfile.TemporaryDirectory(prefix="tophub-")
        context = multiprocessing.get_context("spawn")
        cores = len(os.sched_getaffinity(0))
        self._builders = ProcessPool(workers or cores, initializer=kernels.start_worker, context=context)
        self._runner = ProcessPool(1, initializer=kernels.start_worker, context=context)
        self._count = 0

    def measure(self, template: Template, configs: Sequence[Config], best: float | None = None) -> Iterator[Measured]:
        """Build all configs, then time one after the other and yield each as it is done.

        Parameters
        ----------
        best
            The best cost so far, in seconds: kernels several times slower are timed once only.
        """
        built = [self._submit(template, config) for config in configs]
        if self.target.kind == "llvm":
            # The kernels would share the cores with the compilers: nothing runs before all is built.
            for kernel in built:
                _settle(kernel.build)
        timing = self.timing if best is None else self.timing._replace(give_up=4 * best)
        for kernel in built:
            yield self._finish(kernel, timing)

    def describe(self) -> Provenance:
        """Return what a record says of the device that runs the kernels."""
        provenance: Provenance = self._runner.schedule(device.describe, args=(self.target.kind,)).result()
        return provenance

    def compare(self, template: Template, configs: Sequence[Config], rounds: int) -> list[list[float]]:
        """Time the kernels of several configs in turns and return the costs of each, in seconds.

        Raises
        ------
        EnvironmentFailure
            One of them can't be built or run here.
        """
        built = [self._submit(template, config) for config in configs]
        try:
            libraries = [(kernel.path, kernel.build.result()) for kernel in built]
            timing = self.timing._replace(repeats=rounds)
            future = self._runner.schedule(
                kernels.run_in_turns, args=(libraries, self.target.kind, timing), timeout=len(built) * self.limits.run
            )
            costs: list[list[float]] = future.result()
        except Exception as error:
            raise EnvironmentFailure(f"{template.task} can't be measured: {_message(error)}") from error
        finally:
            for kernel in built:
                Path(kernel.path).unlink(missing_ok=True)
        return costs

    def _submit(self, template: Template, config: Config) -> _Kernel:
        self._count += 1
        path = str(Path(self._folder.name) / f"{self._count}.so")
        build = self._builders.schedule(
            kernels.build,
            args=(template, config, self._compiled_for, path),
            timeout=self.limits.build,
        )
        return _Kernel(config, path, build, time.monotonic())

    def _finish(self, kernel: _Kernel, timing: kernels.Timing) -> Measured:
        """Run a kernel that was built, and put what happened to it into a result."""
        began = time.monotonic()
        stage = _BUILD
        try:
            tensors = kernel.build.result()
            stage = _RUN
            future = self._runner.schedule(
                kernels.run, args=(kernel.path, tensors, self.target.kind, timing), timeout=self.limits.run
            )
            result = Result(future.result(), int(ErrorNo.NO_ERROR), time.monotonic() - began, time.time())
        except Exception as error:  # noqa: BLE001  # whatever compiler and runtime raise is the config's property
            number, message = stage.blame(error)
            result = Result([FAILED_COST], int(number), time.monotonic() - kernel.started, time.time())
            return Measured(kernel.config, result, message)
        finally:
            Path(kernel.path).unlink(missing_ok=True)
        return Measured(kernel.config, result, None)

    def close(self) -> None:
        """Stop the processes and remove what they built."""
        for pool in (self._builders, self._runner):
            pool.stop()
            pool.join()
        self._folder.cleanup()

    def __enter__(self) -> Measurer:  # noqa: PYI034  # Self is not in Python 3.10
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _settle(future: Future[Any]) -> None:
    """Wait until a future is done, whatever came of it."""
    future.exception()


def _message(error: BaseException) -> str:
    """Return the last line of an error's text: TVM puts the reason there, below the stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]


def _exit(code: int | None) -> str:
    """Say how a process ended: the signal's name, or its exit code."""
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
