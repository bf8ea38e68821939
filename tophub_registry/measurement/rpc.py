"""Devices behind TVM's RPC tracker: TVM's own tracker and servers do the work, this asks them for devices.

A server is started beside each device (`python -m tvm.exec.rpc_server --tracker HOST:PORT --key KEY`) and serves one
session at a time. A session lasts for many kernels, so that a workload's numbers stay on the device, but not for
long: the server ends it after its time, which frees the device from a kernel that hangs.
"""

from __future__ import annotations

import functools
import multiprocessing
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pebble import ProcessPool

from tophub_registry.devices import device, gpu
from tophub_registry.errors import EnvironmentFailure, UsageError
from tophub_registry.measurement import kernels
from tophub_registry.measurement.outcome import last_line
from tophub_registry.measurement.places import NoDevice, Session
from tophub_registry.records.record import Provenance
from tophub_registry.records.target import Target

_ANSWER = 5.0
"""How long, in seconds, the tracker may take to answer."""

_FREE = 1.0
"""How long, in seconds, to wait for a device that others are using before asking again."""

_ASKING = 60.0
"""How long, in seconds, asking a device what it is may take."""


@dataclass(frozen=True)
class Tracked:
    """The devices that have a key at a tracker.

    Attributes
    ----------
    host, port
        Where the tracker listens.
    key
        What the devices are called there: all that have it are taken to be alike.
    patience
        How long to wait, in seconds, for a device to come back when none is left.
    longest
        How long, in seconds, a kernel may take.
    session
        For how long, in seconds, kernels are started in one session; after that and `longest` the server ends it.
    """

    host: str
    port: int
    key: str
    patience: float = 30.0
    longest: float = 10.0
    session: float = 15.0

    @staticmethod
    def parse(address: str, key: str, longest: float = longest) -> Tracked:
        """Read HOST:PORT; UsageError where it is something else."""
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not key:
            raise UsageError(f"not HOST:PORT and a key: {address!r}, {key!r}", remedy="for example 10.0.0.7:9190")
        return Tracked(host, int(port), key, longest=longest)

    def __str__(self) -> str:
        return f"the tracker {self.host}:{self.port} with the key {self.key!r}"

    @property
    def here(self) -> bool:
        """They are not."""
        return False

    @property
    def grace(self) -> float:
        """Until the server ends the session: TVM's does not survive a client that leaves before a kernel ends."""
        return self.session + _ANSWER

    @property
    def remedy(self) -> str:
        """How a device is started."""
        return (
            f"start it beside the device: python -m tvm.exec.rpc_server --tracker {self.host}:{self.port}"
            f" --key {self.key} (with a GPU add --no-fork)"
        )

    def count(self) -> int:
        """Return how many devices are connected to the tracker, those that others are using included.

        Raises
        ------
        EnvironmentFailure
            There is no tracker.
        """
        try:
            with self._tracker() as tracker:
                servers = tracker.summary()["server_info"]
        except (OSError, RuntimeError) as error:
            raise EnvironmentFailure(
                f"no tracker answers at {self.host}:{self.port}: {error}",
                remedy=f"start it there: python -m tvm.exec.rpc_tracker --host 0.0.0.0 --port {self.port}",
            ) from error
        return sum(server["key"] == f"server:{self.key}" for server in servers)

    @contextmanager
    def _tracker(self) -> Iterator[Any]:
        """Connect to the tracker; OSError or RuntimeError where there is none."""
        # TVM's client tries for a minute where nobody listens, and waits for ever where something else does.
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
        """Take a device, waiting for a while where all are in use.

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
                # Of two that ask for the last free device one waits: the tracker's answer has its time limit.
                session = tracker.request(self.key, session_timeout=self.session + self.longest, max_retry=1)
        except (OSError, RuntimeError) as error:
            busy = "timed out" in str(error)
            raise NoDevice(f"no device of {self} can be reached: {error}", busy) from error
        return _Remote(session, self.key, time.monotonic() + self.session)

    def resolve(self, text: str) -> Target:
        """Parse a target given by the user and spell out what it leaves to the devices: processor or GPU.

        Raises
        ------
        UsageError
            It is no target that can be tuned for.
        EnvironmentFailure
            There is no such device, or it can't run code for the target.
        """
        target = Target.parse(text)
        if target.kind not in device.KINDS:
            raise UsageError(f"can't tune for the target {text!r}", remedy=f"known kinds: {', '.join(device.KINDS)}")
        said = ask(self, target.kind)
        option, value = ("model", gpu.model_of(said.name)) if target.kind == "cuda" else ("mcpu", said.name)
        resolved = target if option in target.attributes else target.with_option(option, value)
        if target.kind == "llvm":
            resolved = device.resolve(str(resolved))
            device.check_instructions(resolved, said.name, f"the device ({said.name})")
        return resolved

    def compiled_for(self, target: Target) -> dict[str, object]:
        """Return the target, with the GPUs' architecture where it names none."""
        description = target.as_dict()
        if target.kind == "cuda" and "arch" not in description:
            description["arch"] = ask(self, target.kind).arch
        return description


class _Said(NamedTuple):
    """What a device says of itself.

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
def ask(place: Tracked, kind: str) -> _Said:
    """Ask one of the devices what it is; EnvironmentFailure where none answers."""
    if not place.count():
        raise EnvironmentFailure(f"there is no device at {place}", remedy=place.remedy)
    context = multiprocessing.get_context("spawn")
    with ProcessPool(1, initializer=kernels.start_worker, context=context) as pool:
        try:
            said: _Said = pool.schedule(_ask, args=(place, kind), timeout=_ASKING).result()
        except NoDevice as error:
            raise EnvironmentFailure(f"no device answers at {place}: {error}", remedy=place.remedy) from error
        except Exception as error:
            remedy = "see what its server printed; with a GPU it must be started with --no-fork"
            raise EnvironmentFailure(f"a device of {place} failed: {last_line(error)}", remedy=remedy) from error
    return said


def _ask(place: Tracked, kind: str) -> _Said:
    session = place.open()
    try:
        on = session.device(kind)
        if not on.exist:
            raise RuntimeError(f"it has no {kind} device")
        if kind == "cuda":
            return _Said(str(on.device_name), gpu.architecture_of(on))
        provenance = session.describe(kind)
        return _Said(str(provenance.device).partition(" ")[0], None)
    finally:
        session.close()


class _Remote:
    """A session on a server, in a worker process."""

    def __init__(self, session: Any, key: str, until: float) -> None:
        self._session, self._key, self._until = session, key, until
        self._gpu: Any = None

    def device(self, kind: str) -> Any:
        if kind != "cuda":
            return self._session.cpu(0)
        if self._gpu is None:
            import tvm

            self._gpu = self._session.cuda(0)
            if self._gpu.exist:
                # The server's process has not used its GPU yet, and until it does CUDA tells neither name nor anything.
                tvm.runtime.empty((1,), "float32", self._gpu)
        return self._gpu

    def load(self, path: str) -> Any:
        self._session.upload(path)
        return self._session.load_module(Path(path).name)

    def describe(self, kind: str) -> Provenance:
        if kind == "cuda":
            return Provenance(device=str(self.device(kind).device_name))
        processor = self._session.get_function("target.llvm_get_system_cpu")()
        return Provenance(
            device=f"{processor} ({self._key})", threads=int(self._session.get_function("runtime.NumThreads")())
        )

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
        except Exception:  # noqa: BLE001  # it is closed then
            return
