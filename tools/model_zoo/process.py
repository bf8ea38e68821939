"""One model in a process of its own, which ends at a limit of time or memory, and downloads nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from .worker import LIMIT, OURS

TOOLS = Path(__file__).resolve().parents[1]

_LOOK = 0.2
"""Seconds between two looks at a process."""

Row = dict[str, Any]


class Limits(NamedTuple):
    """What one model may take: seconds, and GiB of memory."""

    seconds: float
    memory: float


def try_one(worker: str, arguments: Sequence[object], limits: Limits, stopped: threading.Event) -> Row | None:
    """Run a module that prints JSON lines, and return all their fields; None if it was stopped.

    A process that ends without the field `done`, or is ended at a limit, has a reason in the fields `whose` and `why`.
    """
    with tempfile.TemporaryDirectory(prefix="tophub-zoo-") as home:
        lines, errors = Path(home) / "lines", Path(home) / "errors"
        began = time.monotonic()
        with lines.open("wb") as out, errors.open("wb") as err:
            environment = _offline({**os.environ, "HOME": home, "PYTHONPATH": f"{TOOLS.parent}{os.pathsep}{TOOLS}"})
            process = subprocess.Popen(
                [sys.executable, "-m", worker, *map(str, arguments)],
                stdout=out,
                stderr=err,
                env=environment,
                start_new_session=True,
            )
            try:
                reached, most = _watch(process, limits, stopped)
            finally:
                _end(process)
        if stopped.is_set() and reached is None and process.returncode == -signal.SIGKILL:
            return None
        row: Row = {}
        for line in lines.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):  # it was killed while it wrote the last one
                row |= json.loads(line)
        stage = row.pop("stage", "start")
        if not row.pop("done", False):
            said = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            row |= {"whose": LIMIT if reached else OURS, "why": f"{reached or _ended(process, said)} ({stage})"}
        return {**row, "seconds": round(time.monotonic() - began, 1), "memory": round(most, 2)}


def _watch(process: subprocess.Popen[bytes], limits: Limits, stopped: threading.Event) -> tuple[str | None, float]:
    """Wait for a process, and return the limit that it reached, if any, and the most memory it took, in GiB."""
    began, most = time.monotonic(), 0.0
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK)
            return None, most
        most = max(most, memory_of(process.pid))
        if most > limits.memory:
            return f"more than {limits.memory:g} GiB of memory", most
        if time.monotonic() - began > limits.seconds:
            return f"more than {limits.seconds:g} s", most
        if stopped.is_set():
            return None, most


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ended(process: subprocess.Popen[bytes], said: Sequence[str]) -> str:
    if process.returncode < 0:
        return f"ended by {signal.Signals(-process.returncode).name}"
    return f"ended with exit code {process.returncode}: {said[-1] if said else 'no reason given'}"


def memory_of(pid: int) -> float:
    """Return the memory of a process and its descendants in GiB; 0 where there is no /proc."""
    total = 0.0
    with suppress(OSError):
        process = Path("/proc", str(pid))
        pages = int((process / "statm").read_text(encoding="ascii").split()[1])
        total = pages * os.sysconf("SC_PAGE_SIZE") / 2**30
        for children in process.glob("task/*/children"):
            total += sum(memory_of(int(child)) for child in children.read_text(encoding="ascii").split())
    return total


def _offline(environment: dict[str, str]) -> dict[str, str]:
    """Return an environment in which every download fails at once."""
    nowhere = "http://127.0.0.1:9"
    return {**environment, **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), nowhere)}
