"""Where kernels run: the interfaces of a place with devices and of a device in use, and this machine as a place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tophub_registry.devices import device
from tophub_registry.measurement.timing import COLD, ColdWeights, evaluator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tophub_registry.measurement.timing import Clock
    from tophub_registry.records.record import Provenance
    from tophub_registry.records.target import Target


class NoDevice(Exception):  # noqa: N818  # it says what happened
    """No device is available at the moment.

    Parameters
    ----------
    busy
        Whether there is one, in use by others.
    """

    def __init__(self, message: str, busy: bool = False) -> None:
        super().__init__(message, busy)
        self.message, self.busy = message, busy

    def __str__(self) -> str:
        return self.message


class Session(Protocol):
    """A device in use by a worker process, local or remote."""

    def device(self, kind: str) -> Any:
        """Return the `tvm.runtime.Device` of a kind of target."""

    def load(self, path: str) -> Any:
        """Load a shared library of this machine on the device and return the module."""

    def clock(self, module: Any, arguments: Sequence[Any], weights: int, kind: str) -> Clock:
        """Return what times a loaded kernel, on these arguments or others like them.

        Parameters
        ----------
        arguments
            Data, weights and the output.
        weights
            The number of weights, which are cold in each run where `describe` says so.
        """

    def describe(self, kind: str) -> Provenance:
        """Return the description of the device, and of how kernels are timed, in records."""

    def alive(self) -> bool:
        """Whether the device still responds."""

    def fresh(self) -> bool:
        """Whether the session has time left for another kernel."""

    def close(self) -> None:
        """Release the device."""


class Place(Protocol):
    """Where kernels run; it is sent to the worker processes."""

    def count(self) -> int:
        """Return the current number of devices; EnvironmentFailure if it can't be determined."""

    def resolve(self, text: str) -> Target:
        """Parse a target given by the user and complete it with the devices' own; errors if they don't support it."""

    def compiled_for(self, target: Target) -> dict[str, object]:
        """Return the dict for `tvm.target.Target` with which kernels are compiled for these devices."""

    def open(self) -> Session:
        """Acquire a device, in the worker process that will use it; NoDevice if none is available."""

    @property
    def here(self) -> bool:
        """True: kernels run on this machine, which also builds them. False: devices are remote."""

    @property
    def grace(self) -> float:
        """Extra seconds after the time limit, for the device's server to stop the kernel itself."""

    @property
    def patience(self) -> float:
        """How long to wait, in seconds, for a device to come back when none is left."""

    @property
    def remedy(self) -> str:
        """What the user can do if there is no device."""

    def __str__(self) -> str:
        """Return the name of the place: 'this machine'."""


@dataclass(frozen=True)
class ThisMachine:
    """The processor or GPU of this machine."""

    def count(self) -> int:
        """Return 1."""
        return 1

    def resolve(self, text: str) -> Target:
        """Parse a target and complete it with this machine's device; EnvironmentFailure if it can't run here."""
        target = device.resolve(text)
        device.check_runs_here(target)
        return target

    def compiled_for(self, target: Target) -> dict[str, object]:
        """Return the target, with the architecture of this machine's GPU if it names none."""
        return device.compiled_for(target)

    def open(self) -> Session:
        """Return this machine's device."""
        return _Here()

    @property
    def here(self) -> bool:
        """True: kernels run locally."""
        return True

    @property
    def grace(self) -> float:
        """Zero: the process that runs the kernel is killed at once."""
        return 0.0

    @property
    def patience(self) -> float:
        """The time for a stuck worker to be restarted."""
        return 60.0

    @property
    def remedy(self) -> str:
        """What the user can do."""
        return "the machine may be out of memory"

    def __str__(self) -> str:
        return "this machine"


class _Here:
    """The device of this machine, in a worker process."""

    def __init__(self) -> None:
        self._device: Any = None
        self._weights = ColdWeights()

    def device(self, kind: str) -> Any:
        import tvm

        self._device = tvm.cuda(0) if kind == "cuda" else tvm.cpu()
        return self._device

    def load(self, path: str) -> Any:
        import tvm

        return tvm.runtime.load_module(path)

    def clock(self, module: Any, arguments: Sequence[Any], weights: int, kind: str) -> Clock:
        if kind == "llvm":
            return self._weights.clock(module["main"], arguments, weights)
        return evaluator(module, self._device, arguments)

    def describe(self, kind: str) -> Provenance:
        said = device.describe(kind)
        return said.model_copy(update={"weights": COLD}) if kind == "llvm" else said

    def alive(self) -> bool:
        try:  # after an invalid memory access a GPU no longer works in this process
            self._device.sync()
        except Exception:  # noqa: BLE001  # whatever CUDA says
            return False
        return True

    def fresh(self) -> bool:
        return True

    def close(self) -> None:
        pass
