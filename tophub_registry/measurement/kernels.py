"""What happens to one config inside a worker process: building its kernel, and running it.

These functions are called by name in other processes; what goes in and out can be pickled.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tophub_registry.devices.threads import settle_threads
from tophub_registry.measurement.answers import Answer, Bench
from tophub_registry.measurement.places import NoDevice, Place, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tophub_registry.records.record import Config, Provenance
    from tophub_registry.templates.template import Template

_PR_SET_PDEATHSIG = 1


class InstantiationError(Exception):
    """The template refused the config."""


class DeviceLost(Exception):  # noqa: N818  # it says what happened
    """The device went away while a kernel ran on it, or serves the process no more."""


class TookTooLong(Exception):  # noqa: N818  # it says what happened
    """A kernel ran for longer than its device's server allows."""


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
    """Prepare a worker: it leaves Ctrl-C to its parent, dies with it, and has TVM loaded, its threads settled."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # NumPy computes what is right between two timings: threads of its own would go on spinning into the second.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    settle_threads()
    import tvm  # noqa: F401


def build(template: Template, config: Config, target: dict[str, object], path: str) -> None:
    """Compile a config's kernel into the shared library `path`.

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


def _link(library: Any, path: str) -> None:
    """Make a shared library of one object; `export_library` would call the C++ compiler for it."""
    object_file = Path(path).with_suffix(".o")
    library.mod.write_to_file(str(object_file), "o")
    subprocess.run(["ld", "-shared", "-o", path, str(object_file)], check=True, capture_output=True, text=True)
    object_file.unlink()


@dataclass
class _Kept:
    """What a worker process keeps from one kernel to the next: its device, and a workload's numbers."""

    session: Session | None = None
    answer: Answer | None = None
    bench: Bench | None = None


_kept = _Kept()


def prepare(place: Place, template: Template | None, kind: str) -> None:
    """Hold a device and, given a template, its workload's numbers, so that a kernel can run at once.

    Raises
    ------
    NoDevice
        There is none at the moment.
    """
    if template is not None and (_kept.answer is None or not _kept.answer.of(template)):
        _kept.answer, _kept.bench = Answer(template), None
    if _kept.session is not None and not _kept.session.fresh():
        let_go()
    if _kept.session is None:
        _kept.session = place.open()
    if _kept.bench is None and _kept.answer is not None:
        _kept.bench = Bench(_kept.answer, _kept.session.device(kind))


def let_go() -> None:
    """Give the device back, if there is one."""
    session, _kept.session, _kept.bench = _kept.session, None, None
    if session is not None:
        session.close()


def describe(kind: str) -> Provenance:
    """Return what a record says of the device that was prepared."""
    return _session().describe(kind)


def _session() -> Session:
    if _kept.session is None:
        raise NoDevice("no device is prepared")
    return _kept.session


def run(kernels: list[tuple[str, Config]], kind: str, timing: Timing) -> list[list[float]]:
    """Check and time kernels of the prepared workload in turns, so that a disturbance meets all of them.

    Parameters
    ----------
    kernels
        The shared library and the config of each.
    kind
        The kind of target, which says on what they run.

    Returns
    -------
    list
        For each kernel its costs, the mean times of a run in each repeat, in seconds.

    Raises
    ------
    WrongAnswer
        One computes something else than NumPy; that takes no part in its time.
    TookTooLong
        The device's server has stopped it.
    DeviceLost
        The device went away meanwhile, or serves this process no more.
    """
    session = _session()
    try:
        return _run(session, kernels, kind, timing)
    except Exception as error:
        if type(error).__name__ == "RPCSessionTimeoutError":
            raise TookTooLong(str(error)) from error
        if not session.alive():
            raise DeviceLost(str(error)) from error
        let_go()  # what a kernel did to the numbers on the device, the next one need not suffer
        raise


def _run(session: Session, kernels: list[tuple[str, Config]], kind: str, timing: Timing) -> list[list[float]]:
    bench, on = _kept.bench, session.device(kind)
    if bench is None:
        raise NoDevice("no workload is prepared")
    measures: list[Callable[[], float]] = []
    repeats: list[int] = []
    for path, config in kernels:
        module = session.load(path)
        arrays = bench.arguments(config)

        def measure(number: int, module: Any = module, arrays: Sequence[Any] = arrays) -> float:
            return float(module.time_evaluator("main", on, number=number)(*arrays).mean)

        first = measure(1)
        bench.answer.check(config, arrays[-1].numpy())
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
