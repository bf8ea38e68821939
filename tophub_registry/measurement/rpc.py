"""Remote devices, registered with TVM's RPC tracker.

Each device has a server (`python -m tvm.exec.rpc_server --tracker HOST:PORT --key KEY`), which serves one session at
a time. A session lasts for many kernels, so that a workload's arrays stay on the device. The server ends it after a
time limit, which frees the device from a kernel that hangs.
"""

from __future__ import annotations

import functools
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pebble import ProcessPool

from tophub_registry.devices import device, gpu
from tophub_registry.errors import EnvironmentFailure, UsageError
from tophub_registry.measurement import kernels
from tophub_registry.measurement.outcome import last_line
from tophub_registry.measurement.places import NoDevice, Session
from tophub_registry.measurement.spawning import WorkerContext
from tophub_registry.measurement.timing import COLD, evaluator
from tophub_registry.records.families import PROCESSORS
from tophub_registry.records.record import Provenance
from tophub_registry.records.target import Target

if TYPE_CHECKING:
    from tophub_registry.measurement.timing import Clock

_ANSWER = 5.0
"""The time limit for the tracker's response, in seconds."""

_FREE = 1.0
"""How long to wait for a device in use by others before trying again, in seconds."""

_ASKING = 60.0
"""The time limit for a device to describe itself, in seconds."""


@dataclass(frozen=True)
class Tracked:
    """The devices that are registered with a tracker under one key.

    Attributes
    ----------
    host, port
        The tracker's address.
    key
        The devices' key; devices with the same key are assumed to be identical.
    patience
        How long to wait for a device to come back when none is left, in seconds.
    longest
        The time limit of a kernel, in seconds.
    session
        How long new kernels are started in a session, in seconds; `longest` seconds later the server ends it.
    """

    host: str
    port: int
    key: str
    patience: float = 30.0
    longest: float = 10.0
    session: float = 15.0

    @staticmethod
    def parse(address: str, key: str, longest: float = longest) -> Tracked:
        """Parse HOST:PORT; UsageError if it is malformed."""
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not key:
            raise UsageError(f"not HOST:PORT and a key: {address!r}, {key!r}", remedy="example: 10.0.0.7:9190")
        return Tracked(host, int(port), key, longest=longest)

    def __str__(self) -> str:
        return f"the tracker {self.host}:{self.port} with the key {self.key!r}"

    @property
    def here(self) -> bool:
        """False: devices are remote."""
        return False

    @property
    def grace(self) -> float:
        """Until the server ends the session: TVM's server dies if a client disconnects while a kernel runs."""
        return self.session + _ANSWER

    @property
    def remedy(self) -> str:
        """How to start a server."""
        return (
            f"start a server on the device's machine: python -m tvm.exec.rpc_server --tracker {self.host}:{self.port}"
            f" --key {self.key} (with a GPU add --no-fork)"
        )

    def count(self) -> int:
        """Return the number of devices connected to the tracker, including those in use by others.

        Raises
        ------
        EnvironmentFailure
            The tracker does not respond.
        """
        try:
            with self._tracker() as tracker:
                servers = tracker.summary()["server_info"]
        except (OSError, RuntimeError) as error:
            raise EnvironmentFailure(
                f"no tracker responds at {self.host}:{self.port}: {error}",
                remedy=f"start it there: python -m tvm.exec.rpc_tracker --host 0.0.0.0 --port {self.port}",
            ) from error
        return sum(server["key"] == f"server:{self.key}" for server in servers)

    @contextmanager
    def _tracker(self) -> Iterator[Any]:
        """Connect to the tracker; OSError or RuntimeError if it does not respond."""
        # TVM's client keeps trying for a minute if nothing listens there, and waits forever if it is no tracker.
        socket.create_connection((self.host, self.port), _ANSWER).close()
        from tvm import rpc

        unlimited = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_ANSWER)
        try:
            tracker = rpc.connect_tracker(self.host, self.port)
        finally:
            socket.setdefaulttimeout(unlimited)
        try:
            yield tracker
        finally:
            tracker.close()

    def open(self) -> Session:
        """Acquire a device, and wait for a moment if all are in use.

        Raises
        ------
        NoDevice
            There is none, or none is free.
        """
        until = time.monotonic() + _FREE
        try:
            with self._tracker() as tracker:
                while not tracker.summary()["queue_info"].get(self.key, {}).get("free"):
                    if time.monotonic() > until:
                        raise NoDevice(f"no device is free at {self}", True)
                    time.sleep(0.02)
                # If two clients ask for the last free device, one has to wait; its request has a time limit.
                session = tracker.request(self.key, session_timeout=self.session + self.longest, max_retry=1)
        except (OSError, RuntimeError) as error:
            busy = "timed out" in str(error)
            raise NoDevice(f"can't connect to a device of {self}: {error}", busy) from error
        return _Remote(session, self.key, time.monotonic() + self.session)

    def resolve(self, text: str) -> Target:
        """Parse a target given by the user and complete it with the devices' processor or GPU.

        Raises
        ------
        UsageError
            The target is not supported.
        EnvironmentFailure
            There is no such device, or it can't run code for the target.
        """
        target = Target.parse(text)
        if target.kind not in device.KINDS:
            raise UsageError(f"unsupported target: {text!r}", remedy=f"supported kinds: {', '.join(device.KINDS)}")
        said = ask(self, target.kind)
        option, value = ("model", gpu.model_of(said.name)) if target.kind == "cuda" else ("mcpu", said.name)
        resolved = target if option in target.attributes else target.with_option(option, value)
        if target.kind == "llvm":
            resolved = device.resolve(str(resolved))
            device.check_instructions(resolved, said.name, f"the device ({said.name})")
        return resolved

    def compiled_for(self, target: Target) -> dict[str, object]:
        """Return the target, with the GPUs' architecture if it names none."""
        description = target.as_dict()
        if target.kind == "cuda":
            description["arch"] = gpu.in_full(str(description.get("arch") or ask(self, target.kind).arch))
        return description


class _Description(NamedTuple):
    """A device's description of itself.

    Attributes
    ----------
    name
        The GPU's name, or LLVM's name of the processor.
    arch
        The GPU's architecture, `sm_90`.
    """

    name: str
    arch: str | None


@functools.lru_cache
def ask(place: Tracked, kind: str) -> _Description:
    """Return the description of one of the devices; EnvironmentFailure if none responds."""
    if not place.count():
        raise EnvironmentFailure(f"no device at {place}", remedy=place.remedy)
    with ProcessPool(1, initializer=kernels.start_worker, context=WorkerContext()) as pool:
        try:
            said: _Description = pool.schedule(_ask, args=(place, kind), timeout=_ASKING).result()
        except NoDevice as error:
            raise EnvironmentFailure(f"no device responds at {place}: {error}", remedy=place.remedy) from error
        except Exception as error:
            remedy = "see the output of its server, which needs --no-fork for a GPU"
            raise EnvironmentFailure(f"a device of {place} failed: {last_line(error)}", remedy=remedy) from error
    return said


def _ask(place: Tracked, kind: str) -> _Description:
    session = place.open()
    try:
        on = session.device(kind)
        if not on.exist:
            raise RuntimeError(f"it has no {kind} device")
        if kind == "cuda":
            return _Description(str(on.device_name), gpu.architecture_of(on))
        provenance = session.describe(kind)
        return _Description(str(provenance.device).partition(" ")[0], None)
    finally:
        session.close()


class _Remote:
    """A session on a server, in a worker process."""

    def __init__(self, session: Any, key: str, until: float) -> None:
        self._session, self._key, self._until = session, key, until

    def device(self, kind: str) -> Any:
        return self._gpu if kind == "cuda" else self._session.cpu(0)

    @functools.cached_property
    def _gpu(self) -> Any:
        import tvm

        gpu = self._session.cuda(0)
        if gpu.exist:
            # CUDA returns no name until the server's process has used its GPU.
            tvm.runtime.empty((1,), "float32", gpu)
        return gpu

    def load(self, path: str) -> Any:
        self._session.upload(path)
        return self._session.load_module(Path(path).name)

    @functools.cached_property
    def _processor(self) -> str:
        """LLVM's name of the processor."""
        return str(self._session.get_function("target.llvm_get_system_cpu")())

    def _flushes(self, kind: str) -> bool:
        """Whether TVM can take arrays out of the processor's cache."""
        return kind == "llvm" and self._processor in PROCESSORS

    def clock(self, module: Any, arguments: Sequence[Any], weights: int, kind: str) -> Clock:
        return evaluator(module, self.device(kind), arguments, flush=weights > 0 and self._flushes(kind))

    def describe(self, kind: str) -> Provenance:
        if kind == "cuda":
            return Provenance(device=str(self.device(kind).device_name))
        threads = int(self._session.get_function("runtime.NumThreads")())
        said = Provenance(device=f"{self._processor} ({self._key})", threads=threads)
        return said.model_copy(update={"weights": COLD}) if self._flushes(kind) else said

    def alive(self) -> bool:
        try:
            self._session.get_function("tvm.rpc.server.upload")
        except Exception:  # noqa: BLE001  # whatever the broken connection raises
            return False
        return True

    def fresh(self) -> bool:
        return time.monotonic() < self._until and self.alive()

    def close(self) -> None:
        try:
            self._session.get_function("CloseRPCConnection")()
        except Exception:  # noqa: BLE001  # it is closed already
            return
