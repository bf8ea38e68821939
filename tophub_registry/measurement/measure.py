"""Measuring configs: built in a pool of processes, run in a process for each device, each with a time limit.

What a kernel computes is compared with NumPy before it is timed. A crash, a hang or a wrong answer costs one
config and becomes a result with AutoTVM's error number; the run goes on. A device that is lost costs nothing: what
it was doing goes to another. Where no device or no room on the disk is left, the run ends with an error.
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
from tophub_registry.measurement.kernels import Timing
from tophub_registry.measurement.outcome import BUILD, FAILED_COST, PREPARE, RUN, ErrorNo, Measured, Stage, last_line
from tophub_registry.measurement.places import NoDevice, Place, ThisMachine
from tophub_registry.measurement.workers import DeviceWorker, Workers
from tophub_registry.records.record import Config, Provenance, Result
from tophub_registry.records.target import Target
from tophub_registry.templates.template import Template

_LOOK_AROUND = 1.0
"""Seconds between two looks at how many devices there are."""

_LOSSES = 2
"""As many devices may be lost with a config before it is held to be the cause."""

_REBUILDS = 3
"""How often a kernel is built again because the processes that build were killed."""

_ROOM = 1 << 20
"""The room on the disk, in bytes, without which a kernel that can't be built is not to blame."""


class Limits(NamedTuple):
    """Time limits in seconds, for building a kernel and for timing it."""

    build: float = 10.0
    run: float = 10.0


@dataclass
class _Kernel:
    """A config on its way: being built, then waiting for a device, perhaps for a second one."""

    config: Config
    path: str
    build: Future[None]
    started: float
    losses: int = 0
    rebuilt: int = 0


class _Run(NamedTuple):
    """A kernel on a device: the workload made ready there, then the costs."""

    kernel: _Kernel
    ready: Future[None]
    costs: Future[list[list[float]]]
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
        How many processes build; all cores by default.
    limits
        Time limits.
    timing
        How long and how often a kernel is timed.
    tell
        Called with a sentence when devices come and go.

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
            raise EnvironmentFailure(f"there is no device at {place}", remedy=place.remedy)
        self._looked = time.monotonic()
        self._none_since: float | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="tophub-")
        self._builders = Workers(workers or len(os.sched_getaffinity(0)))
        self._device_workers = [DeviceWorker(place) for _ in range(self._devices)]
        self._count = 0
        self._said: Provenance | None = None

    @property
    def overlaps(self) -> bool:
        """Whether kernels run while others are built; not where they would share the cores with the compilers."""
        return not (self.place.here and self.target.kind == "llvm")

    def measure(self, template: Template, configs: Sequence[Config], best: float | None = None) -> Iterator[Measured]:
        """Begin to build all configs; run each on one of the devices, and yield each as it is done.

        They are built whether or not the outcome is asked for yet. On one device they are done in their order, but
        for those that can't be built.

        Parameters
        ----------
        best
            The best cost so far, in seconds: kernels several times slower are timed once only.

        Raises
        ------
        EnvironmentFailure
            The disk is full, or there is no device any more.
        """
        timing = self.timing if best is None else self.timing._replace(give_up=4 * best)
        return self._measured(template, [self._submit(template, config) for config in configs], timing)

    def _measured(self, template: Template, waiting: list[_Kernel], timing: Timing) -> Iterator[Measured]:
        if not self.overlaps:
            wait([kernel.build for kernel in waiting])
        running: dict[DeviceWorker, _Run] = {}
        while waiting or running:
            self._look_around()
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
        """Return what a record says of the device that runs the kernels; EnvironmentFailure where none does."""
        if self._said is not None:
            return self._said
        try:
            said = self._said = self._device_workers[0].describe(self.target.kind)
        except (NoDevice, FutureTimeout, ProcessExpired, BrokenProcessPool) as error:
            raise EnvironmentFailure(
                f"no device at {self.place} answers: {last_line(error)}", remedy=self.place.remedy
            ) from error
        return said

    def compare(self, template: Template, configs: Sequence[Config], rounds: int) -> list[list[float]]:
        """Time the kernels of several configs in turns and return the costs of each, in seconds.

        Raises
        ------
        EnvironmentFailure
            One of them can't be built or run here, or computes something else.
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
        """Build a kernel whose builders went away; EnvironmentFailure where they do so over and over."""
        kernel.rebuilt += 1
        if kernel.rebuilt > _REBUILDS:
            raise EnvironmentFailure(
                f"the processes that build kernels were killed {kernel.rebuilt} times",
                remedy="is the machine out of memory?",
            )
        kernel.build = self._build(template, kernel.config, kernel.path)

    def _free_worker(self, running: dict[DeviceWorker, _Run]) -> DeviceWorker | None:
        """Return a process that can run a kernel, if there are more devices than kernels running."""
        if len(running) >= self._devices:
            return None
        return next((worker for worker in self._device_workers if worker not in running), None)

    def _start(self, worker: DeviceWorker, template: Template, kernel: _Kernel, timing: Timing) -> _Run:
        built = [(kernel.path, kernel.config)]
        return _Run(kernel, *worker.run(template, built, self.target.kind, timing, self.limits.run), time.monotonic())

    def _wait(self, waiting: list[_Kernel], running: dict[DeviceWorker, _Run]) -> None:
        """Wait until something is done, but not so long that devices come and go unseen."""
        awaited: list[Future[Any]] = [run.costs for run in running.values()]
        if self._free_worker(running):
            awaited += [kernel.build for kernel in waiting if not kernel.build.done()]
        if awaited:
            wait(awaited, timeout=_LOOK_AROUND, return_when=FIRST_COMPLETED)
        elif waiting:
            time.sleep(_LOOK_AROUND)

    def _look_around(self) -> None:
        """See how many devices there are, take on new ones, and give up when none has come back for long."""
        now = time.monotonic()
        if now - self._looked < _LOOK_AROUND:
            return
        devices, self._looked = self.place.count(), now
        if devices != self._devices:
            self._tell(f"{devices or 'no'} device{'' if devices == 1 else 's'} at {self.place} now")
            if not devices:
                self._tell(f"waiting {self.place.patience:.0f} s for one to come back: {self.place.remedy}")
        if devices > self._devices:
            self._none_since = None
        self._devices = devices
        self._device_workers += [DeviceWorker(self.place) for _ in range(devices - len(self._device_workers))]
        if devices and self._none_since is None:
            return
        self._none_since = self._none_since or now
        if now - self._none_since > self.place.patience:
            raise EnvironmentFailure(f"there is no device any more at {self.place}", remedy=self.place.remedy)

    def _finish(self, run: _Run) -> Measured | None:
        """Put what came of a run into a result; None where that was not the config's doing and it runs again."""
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
                kernel.config, Result(run.costs.result()[0], int(ErrorNo.NO_ERROR), seconds, time.time()), None
            )
        if self._lost(error):
            kernel.losses += 1
            if kernel.losses < _LOSSES:
                self._tell("a device was lost; its config goes to another")
                return None
            error = kernels.DeviceLost(f"{_LOSSES} devices were lost running it")
        return self._failed(kernel, stage, error)

    def _missed(self, error: BaseException) -> None:
        """Remember since when no device could be taken; one that others are using is there all the same."""
        if isinstance(error, NoDevice) and error.busy:
            self._none_since = None
        else:
            self._none_since = self._none_since or time.monotonic()
            self._tell(f"trying again: {last_line(error)}")

    def _lost(self, error: BaseException) -> bool:
        """Whether an error means that a device is gone, be it the config's doing or not."""
        if isinstance(error, (BrokenProcessPool, NoDevice)):  # our process went, before the kernel ran
            return True
        # Elsewhere a kernel runs in a process of the server's, which has its own limit: what fails is the connection.
        return not self.place.here and isinstance(error, (kernels.DeviceLost, ProcessExpired, FutureTimeout))

    def _failed(self, kernel: _Kernel, stage: Stage, error: BaseException) -> Measured:
        """Put a failure into a result, unless it is no config's doing."""
        Path(kernel.path).unlink(missing_ok=True)
        number, message = stage.blame(error)
        if number == ErrorNo.COMPILE_HOST:
            self._check_room()
        result = Result([FAILED_COST], int(number), time.monotonic() - kernel.started, time.time())
        return Measured(kernel.config, result, message)

    def _check_room(self) -> None:
        """Raise EnvironmentFailure where no more kernels can be written."""
        try:
            with tempfile.TemporaryFile(dir=self._folder.name) as file:
                file.write(bytes(_ROOM))
        except OSError as error:
            raise EnvironmentFailure(
                f"no kernel can be written: {error.strerror}",
                file=self._folder.name,
                remedy="make room there or set TMPDIR to another folder, then go on with --resume",
            ) from error

    def close(self) -> None:
        """Stop the processes and remove what they built."""
        with ExitStack() as closing:  # which goes on to the next, whatever one of them raises
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
