"""Processes that build and run kernels, and are restarted if they crash or hang."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

from pebble import ProcessPool

from tophub_registry.measurement import kernels
from tophub_registry.measurement.places import Place
from tophub_registry.measurement.spawning import WorkerContext
from tophub_registry.measurement.timing import Timing
from tophub_registry.records.record import Config, Provenance
from tophub_registry.templates.template import Template

_PREPARATION = 60.0
"""The time limit for connecting to a device and computing a reference, in seconds."""

_SHUTDOWN = 5.0
"""How long to wait for a kernel on a remote device when measuring ends, in seconds."""


class Workers:
    """Processes with TVM loaded, which are restarted if they crash or hang."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool = self._start()

    def _start(self) -> ProcessPool:
        pool = ProcessPool(self._count, initializer=kernels.start_worker, context=WorkerContext())
        pool.schedule(os.getpid)  # the pool starts its processes with the first task
        return pool

    def schedule(self, function: Callable[..., Any], *args: Any, timeout: float) -> Future[Any]:
        """Call a function in one of the processes, which is killed after `timeout` seconds."""
        try:
            future: Future[Any] = self._pool.schedule(function, args=args, timeout=timeout)
        except RuntimeError:  # the pool is closed: a process was killed while it was idle
            self.restart()
            future = self._pool.schedule(function, args=args, timeout=timeout)
        return future

    def restart(self) -> None:
        """Restart with new processes."""
        self.close()
        self._pool = self._start()

    def close(self) -> None:
        """Stop the processes."""
        self._pool.stop()
        self._pool.join()


class DeviceWorker:
    """A process that runs kernels on one device, one at a time."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._workers = Workers(1)

    def run(
        self, template: Template, built: list[tuple[str, Config]], kind: str, timing: Timing, limit: float
    ) -> tuple[Future[None], Future[list[kernels.Ran]]]:
        """Prepare the workload and run kernels; each of the two has its own time limit."""
        ready = self._workers.schedule(kernels.prepare, self._place, template, kind, timeout=_PREPARATION)
        limit += self._place.grace
        return ready, self._workers.schedule(kernels.run, built, kind, timing, timeout=limit)

    def describe(self, kind: str) -> Provenance:
        """Return the description of the device in records."""
        ready = self._workers.schedule(kernels.prepare, self._place, None, kind, timeout=_PREPARATION)
        said: Future[Provenance] = self._workers.schedule(kernels.describe, kind, timeout=_PREPARATION)
        ready.result()
        return said.result()

    def restart(self) -> None:
        """Continue in a new process."""
        self._workers.restart()

    def close(self) -> None:
        """Stop the process; on a remote device wait for the kernel that is running."""
        if self._place.grace:
            wait([self._workers.schedule(kernels.release, timeout=_SHUTDOWN)], timeout=_SHUTDOWN)
        self._workers.close()
