"""Measuring configs: built in a pool of processes, run in one process per device, each with a time limit.

A kernel's output is compared with NumPy's before it is timed. A crash, a hang or a wrong answer affects one config
and becomes a result with AutoTVM's error number. If a device is lost, its config goes to another one. If no device
or no disk space is left, measuring ends with an error.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from pebble import ProcessExpired

from tophub_registry.errors import EnvironmentFailure
from tophub_registry.measurement import kernels
from tophub_registry.measurement.outcome import BUILD, FAILED_COST, PREPARE, RUN, ErrorNo, Measured, Stage, last_line
from tophub_registry.measurement.places import NoDevice, Place, ThisMachine
from tophub_registry.measurement.timing import Timing
from tophub_registry.measurement.workers import DeviceWorker, Workers
from tophub_registry.records.record import Config, Provenance, Result
from tophub_registry.records.target import Target
from tophub_registry.templates.template import Template

_POLL_INTERVAL = 1.0
"""The interval at which the number of devices is polled, in seconds."""

_LOSSES = 2
"""Blame a config after this many lost devices."""

_REBUILDS = 3
"""How often a kernel is rebuilt because the builder processes were killed."""

_ROOM = 1 << 20
"""With less free disk space than this, in bytes, a failed build is not the config's fault."""


class Limits(NamedTuple):
    """Time limits for building and for timing a kernel, in seconds."""

    build: float = 10.0
    run: float = 10.0


@dataclass
class _Kernel:
    """A config that is being built, or waits for a device."""

    config: Config
    path: str
    build: Future[None]
    started: float
    losses: int = 0
    rebuilt: int = 0


class _Run(NamedTuple):
    """A kernel on a device: the preparation of the workload, then the costs."""

    kernel: _Kernel
    ready: Future[None]
    costs: Future[list[kernels.Ran]]
    began: float


class Measurer:
    """Processes that build kernels for one target on this machine, and run them here or elsewhere.

    Parameters
    ----------
    target
        What to compile for.
    place
        Where kernels run; on any number of devices at once.
    workers
        The number of builder processes; by default one per CPU.
    limits
        Time limits.
    timing
        How long and how often a kernel is timed.
    tell
        Called with a message when devices appear or disappear.

    Raises
    ------
    EnvironmentFailure
        There is no such device.
    """

    def __init__(
        self,
        target: Target,
        *,
        place: Place = ThisMachine(),  # noqa: B008  # immutable
        workers: int | None = None,
        limits: Limits = Limits(),  # noqa: B008  # immutable
        timing: Timing = Timing(),  # noqa: B008  # immutable
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.target = target
        self.place = place
        self.limits = limits
        self.timing = timing
        self._tell = tell
        self._compiled_for = place.compiled_for(target)
        self._devices = place.count()
        if not self._devices:
            raise EnvironmentFailure(f"no device at {place}", remedy=place.remedy)
        self._polled = time.monotonic()
        self._none_since: float | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="tophub-")
        self._workers = workers or len(os.sched_getaffinity(0))
        self._builders = Workers(self._workers)
        self._device_workers = [DeviceWorker(place) for _ in range(self._devices)]
        self._count = 0
        self._said: Provenance | None = None

    @property
    def overlaps(self) -> bool:
        """Whether kernels run while others are built; not if they would share the CPU with the builders."""
        return not (self.place.here and self.target.kind == "llvm")

    @property
    def ahead(self) -> int:
        """How many kernels to build while others run: enough for all builders, or none."""
        return 2 * self._workers if self.overlaps else 0

    def measure(self, template: Template, configs: Sequence[Config], best: float | None = None) -> Iterator[Measured]:
        """Build all configs, run each on one of the devices, and yield the results as they arrive.

        Building starts at once, before the first result is asked for. On a single device the results come in order,
        except for configs whose build fails.

        Parameters
        ----------
        best
            The best cost so far, in seconds: kernels several times slower are timed only once.

        Raises
        ------
        EnvironmentFailure
            The disk is full, or no device is left.
        """
        timing = self.timing if best is None else self.timing._replace(give_up=4 * best)
        return self._measured(template, [self._submit(template, config) for config in configs], timing)

    def _measured(self, template: Template, waiting: list[_Kernel], timing: Timing) -> Iterator[Measured]:
        if not self.overlaps:
            _wait_for([kernel.build for kernel in waiting])
        running: dict[DeviceWorker, _Run] = {}
        while waiting or running:
            self._poll()
            for kernel in [kernel for kernel in waiting if kernel.build.done()]:
                error = kernel.build.exception()
                if isinstance(error, BrokenProcessPool):
                    self._build_again(template, kernel)
                elif error:
                    waiting.remove(kernel)
                    yield self._failed(kernel, BUILD, error)
                elif worker := self._free_worker(running):
                    waiting.remove(kernel)
                    running[worker] = self._start(worker, template, kernel, timing)
            self._wait(waiting, running)
            for worker, run in [(worker, run) for worker, run in running.items() if run.costs.done()]:
                del running[worker]
                self._device_workers.remove(worker)
                if self.place.here and isinstance(run.costs.exception(), kernels.DeviceLost):
                    worker.restart()
                if measured := self._finish(run):
                    self._device_workers.insert(0, worker)  # it holds a device
                    yield measured
                else:
                    self._device_workers.append(worker)
                    waiting.insert(0, run.kernel)

    def describe(self) -> Provenance:
        """Return the description of the device in records; EnvironmentFailure if no device responds."""
        if self._said is not None:
            return self._said
        try:
            said = self._said = self._device_workers[0].describe(self.target.kind)
        except (NoDevice, FutureTimeout, ProcessExpired, BrokenProcessPool) as error:
            raise EnvironmentFailure(
                f"no device at {self.place} responds: {last_line(error)}", remedy=self.place.remedy
            ) from error
        return said

    def compare(self, template: Template, configs: Sequence[Config], rounds: int) -> list[list[float]]:
        """Time the kernels of several configs in turns and return the costs of each, in seconds; see `run_in_turns`."""
        return [ran.costs for ran in self.run_in_turns(template, configs, rounds)]

    def run_in_turns(self, template: Template, configs: Sequence[Config], rounds: int) -> list[kernels.Ran]:
        """Time the kernels of several configs in turns and return the costs of each, and the errors of their outputs.

        Raises
        ------
        EnvironmentFailure
            One of them can't be built or run, or its output is wrong.
        """
        built = [self._submit(template, config) for config in configs]
        try:
            for kernel in built:
                kernel.build.result()
            libraries = [(kernel.path, kernel.config) for kernel in built]
            timing = self.timing._replace(repeats=rounds)
            ready, costs = self._device_workers[0].run(
                template, libraries, self.target.kind, timing, len(built) * self.limits.run
            )
            ready.result()
            return costs.result()
        except Exception as error:
            if self.place.here and isinstance(error, kernels.DeviceLost):
                self._device_workers[0].restart()
            raise EnvironmentFailure(f"{template.task} can't be measured: {last_line(error)}") from error
        finally:
            for kernel in built:
                Path(kernel.path).unlink(missing_ok=True)

    def _submit(self, template: Template, config: Config) -> _Kernel:
        self._count += 1
        path = str(Path(self._folder.name) / f"{self._count}.so")
        return _Kernel(config, path, self._build(template, config, path), time.monotonic())

    def _build(self, template: Template, config: Config, path: str) -> Future[None]:
        return self._builders.schedule(
            kernels.build, template, config, self._compiled_for, path, timeout=self.limits.build
        )

    def _build_again(self, template: Template, kernel: _Kernel) -> None:
        """Rebuild a kernel whose builder was killed; EnvironmentFailure if that keeps happening."""
        kernel.rebuilt += 1
        if kernel.rebuilt > _REBUILDS:
            raise EnvironmentFailure(
                f"the builder processes were killed {kernel.rebuilt} times",
                remedy="the machine may be out of memory",
            )
        kernel.build = self._build(template, kernel.config, kernel.path)

    def _free_worker(self, running: dict[DeviceWorker, _Run]) -> DeviceWorker | None:
        """Return a process that can run a kernel; None if all devices are in use."""
        if len(running) >= self._devices:
            return None
        return next((worker for worker in self._device_workers if worker not in running), None)

    def _start(self, worker: DeviceWorker, template: Template, kernel: _Kernel, timing: Timing) -> _Run:
        built = [(kernel.path, kernel.config)]
        return _Run(kernel, *worker.run(template, built, self.target.kind, timing, self.limits.run), time.monotonic())

    def _wait(self, waiting: list[_Kernel], running: dict[DeviceWorker, _Run]) -> None:
        """Wait until a build or a run is done, or until it is time to poll the devices."""
        awaited: list[Future[Any]] = [run.costs for run in running.values()]
        if self._free_worker(running):
            awaited += [kernel.build for kernel in waiting if not kernel.build.done()]
        if awaited:
            _wait_for(awaited, timeout=_POLL_INTERVAL, return_when=FIRST_COMPLETED)
        elif waiting:
            time.sleep(_POLL_INTERVAL)

    def _poll(self) -> None:
        """Poll the number of devices, use new ones, and give up if there have been none for too long."""
        now = time.monotonic()
        if now - self._polled < _POLL_INTERVAL:
            return
        devices, self._polled = self.place.count(), now
        if devices != self._devices:
            self._tell(f"now {devices or 'no'} device{'' if devices == 1 else 's'} at {self.place}")
            if not devices:
                self._tell(f"waiting {self.place.patience:.0f} s for a device to come back: {self.place.remedy}")
        if devices > self._devices:
            self._none_since = None
        self._devices = devices
        self._device_workers += [DeviceWorker(self.place) for _ in range(devices - len(self._device_workers))]
        if devices and self._none_since is None:
            return
        self._none_since = self._none_since or now
        if now - self._none_since > self.place.patience:
            raise EnvironmentFailure(f"no device is left at {self.place}", remedy=self.place.remedy)

    def _finish(self, run: _Run) -> Measured | None:
        """Return the result of a run; None if it failed through no fault of the config, which then runs again."""
        kernel, stage, error = run.kernel, PREPARE, run.ready.exception()
        if isinstance(error, (NoDevice, FutureTimeout)):
            self._missed(error)
            return None
        if error is None:
            self._none_since = None
            stage, error = RUN, run.costs.exception()
        if error is None:
            Path(kernel.path).unlink(missing_ok=True)
            seconds = time.monotonic() - run.began
            return Measured(
                kernel.config, Result(run.costs.result()[0].costs, int(ErrorNo.NO_ERROR), seconds, time.time()), None
            )
        if self._lost(error):
            kernel.losses += 1
            if kernel.losses < _LOSSES:
                self._tell("a device was lost; its config goes to another one")
                return None
            error = kernels.DeviceLost(f"{_LOSSES} devices were lost while running it")
        return self._failed(kernel, stage, error)

    def _missed(self, error: BaseException) -> None:
        """Remember since when no device was available; one in use by others counts as available."""
        if isinstance(error, NoDevice) and error.busy:
            self._none_since = None
        else:
            self._none_since = self._none_since or time.monotonic()
            self._tell(f"retrying: {last_line(error)}")

    def _lost(self, error: BaseException) -> bool:
        """Whether an error means that a device is gone, whether or not the config caused it."""
        if isinstance(error, (BrokenProcessPool, NoDevice)):  # our process died before the kernel ran
            return True
        # A remote kernel runs in a process of the server, which has its own time limit: these mean a lost connection.
        return not self.place.here and isinstance(error, (kernels.DeviceLost, ProcessExpired, FutureTimeout))

    def _failed(self, kernel: _Kernel, stage: Stage, error: BaseException) -> Measured:
        """Return the result of a failed config; EnvironmentFailure if the disk is full."""
        Path(kernel.path).unlink(missing_ok=True)
        number, message = stage.blame(error)
        if number == ErrorNo.COMPILE_HOST:
            self._check_room()
        result = Result([FAILED_COST], int(number), time.monotonic() - kernel.started, time.time())
        return Measured(kernel.config, result, message)

    def _check_room(self) -> None:
        """Raise EnvironmentFailure if the disk is full."""
        try:
            with tempfile.TemporaryFile(dir=self._folder.name) as file:
                file.write(bytes(_ROOM))
        except OSError as error:
            raise EnvironmentFailure(
                f"can't write kernels: {error.strerror}",
                file=self._folder.name,
                remedy="free disk space or set TMPDIR to another folder, then continue with --resume",
            ) from error

    def close(self) -> None:
        """Stop the processes and remove the kernels."""
        with ExitStack() as closing:  # which runs all callbacks, even if one raises
            closing.callback(self._folder.cleanup)
            for worker in self._device_workers:
                closing.callback(worker.close)
            closing.callback(self._builders.close)

    def __enter__(self) -> Measurer:  # noqa: PYI034  # Self is not in Python 3.10
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _wait_for(futures: Sequence[Future[Any]], **how: Any) -> None:
    """Wait for futures; Ctrl-C raises KeyboardInterrupt.

    Inside of `wait` it can strike between a condition's release of its lock and the lock's return. What arrives then is
    the condition's RuntimeError, "release unlocked lock".
    """
    try:
        wait(futures, **how)
    except RuntimeError as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
