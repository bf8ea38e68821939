"""Libraries and other frameworks, timed in turns."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tophub_registry.bench.job import Job
from tophub_registry.bench.peer import Peer
from tophub_registry.bench.prepared import prepare
from tophub_registry.devices.device import resolve
from tophub_registry.devices.threads import settle_threads
from tophub_registry.records.target import Target

_PAUSE = 0.3  # seconds until the threads of whoever ran last, which spin while they wait, go to sleep
_WARM_UP = 3
_RUNS = 5
_LOADING = 600.0  # seconds


def prepare_job(model: str, folder: Path, target: str) -> Path:
    """Write a model for other frameworks into a folder, and return that."""
    prepared = prepare(model, folder / "prepared", references=False)
    Job(str(prepared.folder), str(resolve(target)), None, settle_threads(None)).write(folder)
    return folder


def in_turns(
    libraries: Mapping[str, Path],
    inputs: Sequence[tuple[tuple[int, ...], str]],
    target: str,
    against: Mapping[str, str | None],
    job: Path,
    rounds: int,
) -> dict[str, list[float]]:
    """Return the times of runs of each library and framework, in seconds: a median of five for each turn.

    Parameters
    ----------
    inputs
        The inputs' shapes and types.
    against
        Frameworks, and the Python that each has if it is not this one.
    job
        The folder of `prepare_job`, if there are frameworks.
    """
    import tvm
    from tvm import relax

    device = tvm.cuda() if Target.parse(target).kind == "cuda" else tvm.cpu()
    rng = np.random.default_rng(0)
    arrays = [tvm.runtime.tensor(rng.random(shape, "float32").astype(dtype), device) for shape, dtype in inputs]
    mains: dict[str, Any] = {
        side: relax.VirtualMachine(tvm.runtime.load_module(str(path)), device)["main"]
        for side, path in libraries.items()
    }
    peers = {name: Peer(name, job, settle_threads(None), python) for name, python in against.items()}
    times: dict[str, list[float]] = {side: [] for side in (*mains, *peers)}
    try:
        for peer in peers.values():
            peer.load(_LOADING)
        for turn in range(-1, rounds):
            for side, main in mains.items():
                runs = []
                for _ in range(_WARM_UP):
                    main(*arrays)
                device.sync()
                for _ in range(_RUNS):
                    began = time.perf_counter()
                    main(*arrays)
                    device.sync()
                    runs.append(time.perf_counter() - began)
                if turn >= 0:
                    times[side].append(median(runs))
            for name, peer in peers.items():
                time.sleep(_PAUSE)
                runs = peer.seconds(_RUNS)
                time.sleep(_PAUSE)
                if turn >= 0:
                    times[name].append(median(runs))
    finally:
        for peer in peers.values():
            peer.close()
    return times


def ratio(times: Mapping[str, Sequence[float]], one: str, other: str) -> float:
    """Return the median of the ratios of two sides' times, turn by turn."""
    return median(a / b for a, b in zip(times[one], times[other], strict=True))
