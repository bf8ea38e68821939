"""Processes that build kernels and run them, and that come back whatever happens to them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

from pebble import ProcessPool

from tophub_registry.measurement import kernels
from tophub_registry.measurement.kernels import Timing
from tophub_registry.measurement.places import Place
from tophub_registry.records.record import Config, Provenance
from tophub_registry.templates.template import Template

_PREPARATION = 60.0
"""How long, in seconds, connecting to a device and computing a reference may take."""

_FAREWELL = 5.0
"""How long, in seconds, a kernel may go on running elsewhere when measuring ends."""


class Workers:
    """Processes that have TVM loaded, and come back whatever happens to them."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool = self._start()

    def _start(self) -> ProcessPool:
        context = multiprocessing.get_context("spawn")
        pool = ProcessPool(self._count, initializer=kernels.start_worker, context=context)
        pool.schedule(os.getpid)  # it starts its processes with the first thing to do
        return pool

    def schedule(self, function: Callable[..., Any], *args: Any, timeout: float) -> Future[Any]:
        """Call a function in one of the processes, and kill that when it takes longer than `timeout` seconds."""
        try:
            future: Future[Any] = self._pool.schedule(function, args=args, timeout=timeout)
        except RuntimeError:  # the pool has given up: a process was killed while it had nothing to do
            self.restart()
            future = self._pool.schedule(function, args=args, timeout=timeout)
        return future

    def restart(self) -> None:
        """Start with new processes."""
        self.close()
        self._pool = self._start()

    def close(self) -> None:
        """Stop the processes."""
        self._pool.stop()
        self._pool.join()


class DeviceWorker:
    """A process that runs kernels on one device, one after the other."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._workers = Workers(1)

    def run(
        self, template: Template, built: list[tuple[str, Config]], kind: str, timing: Timing, limit: float
    ) -> tuple[Future[None], Future[list[list[float]]]]:
        """Make the workload ready and run kernels; each of the two has a time limit of its own."""
        ready = self._workers.schedule(kernels.prepare, self._place, template, kind, timeout=_PREPARATION)
        limit += self._place.grace
        return ready, self._workers.schedule(kernels.run, built, kind, timing, timeout=limit)

    def describe(self, kind: str) -> Provenance:
        """Return what a record says of the device."""
        ready = self._workers.schedule(kernels.prepare, self._place, None, kind, timeout=_PREPARATION)
        said: Future[Provenance] = self._workers.schedule(kernels.describe, kind, timeout=_PREPARATION)
        ready.result()
        return said.result()

    def restart(self) -> None:
        """Go on in a new process."""
        self._workers.restart()

    def close(self) -> None:
        """Stop the process, where there are servers after what it is doing."""
        if self._place.grace:
            wait([self._workers.schedule(kernels.let_go, timeout=_FAREWELL)], timeout=_FAREWELL)
        self._workers.close()
