"""Building and running kernels, inside a worker process.

These functions are called in other processes, so their arguments and results can be pickled.
"""

from __future__ import annotations

import ctypes
import functools
import math
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tophub_registry.devices.threads import settle_threads
from tophub_registry.measurement.places import NoDevice, Place, Session
from tophub_registry.measurement.reference import DeviceArrays, ReferenceOutput

if TYPE_CHECKING:
    from collections.abc import Callable

    from tophub_registry.measurement.timing import Timing
    from tophub_registry.records.record import Config, Provenance
    from tophub_registry.templates.template import Template

_PR_SET_PDEATHSIG = 1


class InstantiationError(Exception):
    """The template rejected the config."""


class DeviceLost(Exception):  # noqa: N818  # it says what happened
    """The device disconnected while a kernel ran on it, or no longer works in this process."""


class TookTooLong(Exception):  # noqa: N818  # it says what happened
    """A kernel ran longer than its device's server allows."""


def start_worker() -> None:
    """Prepare a worker process: it ignores Ctrl-C, dies with its parent, and has TVM loaded, its threads settled."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    settle_threads()
    import numpy  # noqa: F401, ICN001  # threadpoolctl limits the libraries that are loaded
    import tvm  # noqa: F401
    from threadpoolctl import threadpool_limits

    # NumPy computes the reference between two timings: BLAS threads keep spinning and disturb the second.
    threadpool_limits(1, user_api="blas")


def build(template: Template, config: Config, target: dict[str, object], path: str) -> None:
    """Compile a config's kernel into the shared library `path`.

    Raises
    ------
    InstantiationError
        The template rejected the config.
    Exception
        Any error of the compiler.
    """
    import tvm

    try:
        kernel = template.kernel(config)
    except Exception as error:
        raise InstantiationError(str(error)) from error
    with tvm.transform.PassContext(opt_level=3, config=dict(template.pass_config)):
        library = tvm.compile(kernel, target=tvm.target.Target(target))
    if target["kind"] == "llvm":
        _link(library, path)
    else:
        library.export_library(path)


def _link(library: Any, path: str) -> None:
    """Link a single object into a shared library; `export_library` would call the C++ compiler."""
    object_file = Path(path).with_suffix(".o")
    library.mod.write_to_file(str(object_file), "o")
    subprocess.run(["ld", "-shared", "-o", path, str(object_file)], check=True, capture_output=True, text=True)
    object_file.unlink()


class Ran(NamedTuple):
    """A kernel that was run.

    Attributes
    ----------
    costs
        For each repeat the mean time of a run, in seconds.
    error
        The largest error of its output, as a fraction of the largest number.
    """

    costs: list[float]
    error: float


@dataclass
class _Kept:
    """The state that a worker process keeps between kernels: its device, and a workload's arrays."""

    session: Session | None = None
    reference: ReferenceOutput | None = None
    arrays: DeviceArrays | None = None


_kept = _Kept()


def prepare(place: Place, template: Template | None, kind: str) -> None:
    """Acquire a device and, given a template, its workload's arrays, so that a kernel can run at once.

    Raises
    ------
    NoDevice
        No device is available at the moment.
    """
    if template is not None and (_kept.reference is None or not _kept.reference.of(template)):
        _kept.reference, _kept.arrays = ReferenceOutput(template), None
    if _kept.session is not None and not _kept.session.fresh():
        release()
    if _kept.session is None:
        _kept.session = place.open()
    if _kept.arrays is None and _kept.reference is not None:
        _kept.arrays = DeviceArrays(_kept.reference, _kept.session.device(kind))


def release() -> None:
    """Release the device, if there is one."""
    session, _kept.session, _kept.arrays = _kept.session, None, None
    if session is not None:
        session.close()


def describe(kind: str) -> Provenance:
    """Return the description of the prepared device in records."""
    return _session().describe(kind)


def _session() -> Session:
    if _kept.session is None:
        raise NoDevice("no device is prepared")
    return _kept.session


def run(kernels: list[tuple[str, Config]], kind: str, timing: Timing) -> list[Ran]:
    """Check and time kernels of the prepared workload in turns, so that a disturbance affects all of them.

    Parameters
    ----------
    kernels
        The shared library and the config of each.
    kind
        The kind of target, which decides where they run.

    Returns
    -------
    list
        For each kernel its costs, and the error of its output.

    Raises
    ------
    WrongAnswer
        A kernel's output differs from NumPy's. The check is not part of the timing.
    TookTooLong
        The device's server stopped a kernel.
    DeviceLost
        The device disconnected, or no longer works in this process.
    """
    session = _session()
    try:
        return _run(session, kernels, kind, timing)
    except Exception as error:
        if type(error).__name__ == "RPCSessionTimeoutError":
            raise TookTooLong(str(error)) from error
        if not session.alive():
            raise DeviceLost(str(error)) from error
        release()  # the next kernel gets fresh arrays: this one may have overwritten them
        raise


def _run(session: Session, kernels: list[tuple[str, Config]], kind: str, timing: Timing) -> list[Ran]:
    prepared = _kept.arrays
    if prepared is None:
        raise NoDevice("no workload is prepared")
    measures: list[Callable[[], float]] = []
    repeats: list[int] = []
    errors: list[float] = []
    for path, config in kernels:
        module = session.load(path)
        arguments = prepared.arguments(config)
        module["main"](*arguments)
        errors.append(prepared.reference.check(config, arguments[-1].numpy()))
        clock = session.clock(module, arguments, prepared.reference.template.weights, kind)
        first = clock(1)
        slow = first > timing.give_up
        number = 1 if slow else max(1, math.ceil(timing.seconds / max(first, 1e-9)))
        measures.append(functools.partial(clock, number))
        repeats.append(1 if slow else timing.repeats)
    costs: list[list[float]] = [[] for _ in kernels]
    for repeat in range(timing.repeats):
        for kernel, measure_again in enumerate(measures):
            if repeat < repeats[kernel]:
                costs[kernel].append(measure_again())
    return list(map(Ran, costs, errors))
