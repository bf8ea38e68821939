"""Where kernels run: what measuring asks of a place with devices, and of a device that a worker process holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tophub_registry.devices import device

if TYPE_CHECKING:
    from tophub_registry.records.record import Provenance
    from tophub_registry.records.target import Target


class NoDevice(Exception):  # noqa: N818  # it says what happened
    """There is no device to run on at the moment.

    Parameters
    ----------
    busy
        Whether there is one that others are using.
    """

    def __init__(self, message: str, busy: bool = False) -> None:
        super().__init__(message, busy)
        self.message, self.busy = message, busy

    def __str__(self) -> str:
        return self.message


class Session(Protocol):
    """A device that a worker process holds, here or elsewhere."""

    def device(self, kind: str) -> Any:
        """Return the `tvm.runtime.Device` of a kind of target."""

    def load(self, path: str) -> Any:
        """Return the module of a shared library that lies here."""

    def describe(self, kind: str) -> Provenance:
        """Return what a record says of the device."""

    def alive(self) -> bool:
        """Whether the device still answers."""

    def fresh(self) -> bool:
        """Whether there is time for one more kernel."""

    def close(self) -> None:
        """Give the device back."""


class Place(Protocol):
    """Where kernels run; it travels to the worker processes."""

    def count(self) -> int:
        """Return how many devices there are now; EnvironmentFailure where that can't be known."""

    def resolve(self, text: str) -> Target:
        """Parse a target given by the user and spell out what it leaves to the devices; errors where they lack it."""

    def compiled_for(self, target: Target) -> dict[str, object]:
        """Return the dict from which `tvm.target.Target` is made when a kernel is compiled for these devices."""

    def open(self) -> Session:
        """Take a device, in the worker process that will use it; NoDevice where none is to be had."""

    @property
    def here(self) -> bool:
        """Whether that is this machine, on whose cores the kernels are built too."""

    @property
    def grace(self) -> float:
        """How long, in seconds, a kernel that takes too long is left to the device's server, if it has one."""

    @property
    def patience(self) -> float:
        """How long to wait, in seconds, for a device to come back when none is left."""

    @property
    def remedy(self) -> str:
        """What the user can do when there is no device."""

    def __str__(self) -> str:
        """Name the place: 'this machine'."""


@dataclass(frozen=True)
class ThisMachine:
    """The processor or the GPU at hand."""

    def count(self) -> int:
        """Return one: the device at hand."""
        return 1

    def resolve(self, text: str) -> Target:
        """Parse a target and spell out what it leaves to this machine; EnvironmentFailure where it can't run here."""
        target = device.resolve(text)
        device.check_runs_here(target)
        return target

    def compiled_for(self, target: Target) -> dict[str, object]:
        """Return the target, with this machine's GPU's architecture where it names none."""
        return device.compiled_for(target)

    def open(self) -> Session:
        """Return the device at hand."""
        return _Here()

    @property
    def here(self) -> bool:
        """It is."""
        return True

    @property
    def grace(self) -> float:
        """None: the process that runs the kernel is killed."""
        return 0.0

    @property
    def patience(self) -> float:
        """The time for a worker that is stuck to come back."""
        return 60.0

    @property
    def remedy(self) -> str:
        """What to do."""
        return "is the machine out of memory?"

    def __str__(self) -> str:
        return "this machine"


class _Here:
    """The device at hand, in a worker process."""

    _device: Any = None

    def device(self, kind: str) -> Any:
        import tvm

        self._device = tvm.cuda(0) if kind == "cuda" else tvm.cpu()
        return self._device

    def load(self, path: str) -> Any:
        import tvm

        return tvm.runtime.load_module(path)

    def describe(self, kind: str) -> Provenance:
        return device.describe(kind)

    def alive(self) -> bool:
        try:  # after a kernel that read where nothing is, a GPU serves this process no more
            self._device.sync()
        except Exception:  # noqa: BLE001  # whatever CUDA says
            return False
        return True

    def fresh(self) -> bool:
        return True

    def close(self) -> None:
        pass
