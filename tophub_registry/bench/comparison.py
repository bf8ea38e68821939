"""One model under several frameworks, timed in turns, and whether they compute the same."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tophub_registry.bench.job import Job
from tophub_registry.bench.peer import Peer
from tophub_registry.bench.prepared import Array, Prepared, read_arrays
from tophub_registry.bench.runners import METASCHEDULE, RUNNERS
from tophub_registry.devices.threads import thread_count
from tophub_registry.errors import EnvironmentFailure, UsageError
from tophub_registry.records.target import Target

OURS = "tophub"
PEERS = tuple(name for name in RUNNERS if name != OURS)

_OWN_PEERS = {"MXNet": "gluoncv", "ONNX Runtime": "onnxruntime", "PyTorch": "pytorch", "TVM, untuned": "tvm"}
"""The peer that is a model's own framework, by `Prepared.framework`."""

_TOLERANCE = 1e-3
_FLOOR = 1e-2
_LOADING = 1800.0  # seconds; an untuned detector takes minutes
_PAUSE = 0.3  # seconds in which the threads of OpenMP, which wait by spinning, come to rest
_TURN = 0.2  # seconds of runs in one turn, unless one run takes longer
_MOST_REPEATS = 20
_SLOW = 1.0  # seconds a run, from which on the first rounds must do
_ROUNDS_IF_SLOW = 3


@dataclass(frozen=True)
class FrameworkResult:
    """What a framework made of the model.

    Attributes
    ----------
    note
        What a reader of its times should know.
    times
        For each round the median over its runs, in seconds; slow frameworks have the first rounds only.
    difference
        The largest difference of an output from that of the model's own framework, relative to it; relative to a
        hundredth of the largest output where that is more. None where there are no outputs.
    failure
        Why there are no times.
    """

    framework: str
    version: str = ""
    note: str = ""
    times: tuple[float, ...] = ()
    difference: float | None = None
    failure: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether the outputs are those of the model's own framework, within 1e-3."""
        return self.difference is not None and self.difference <= _TOLERANCE

    @property
    def median(self) -> float:
        """Seconds a run, over the rounds."""
        return statistics.median(self.times)

    @property
    def spread(self) -> float:
        """The distance of the quartiles over the median."""
        first, last = np.percentile(self.times, [25, 75])
        return float(last - first) / self.median


@dataclass(frozen=True)
class Comparison:
    """A model under several frameworks.

    Attributes
    ----------
    target
        TVM's target string, spelled out.
    device
        The processor or the GPU.
    threads, bind_threads
        How many threads each framework was given, and whether TVM binds its own to cores.
    """

    model: str
    target: str
    device: str
    threads: int
    bind_threads: bool
    rows: tuple[FrameworkResult, ...] = field(default=())

    def ratio(self, row: FrameworkResult) -> float | None:
        """Return how many times as long as ours a framework takes: the median over their rounds; None without both."""
        ours = next((other.times for other in self.rows if other.framework == OURS), ())
        if not ours or not row.times:
            return None
        return statistics.median(theirs / mine for theirs, mine in zip(row.times, ours, strict=False))

    def as_json(self) -> dict[str, object]:
        """Return everything as JSON has it; times in seconds."""
        return {
            "model": self.model,
            "target": self.target,
            "device": self.device,
            "threads": self.threads,
            "bind_threads": self.bind_threads,
            "frameworks": [
                {
                    "framework": row.framework,
                    "version": row.version,
                    "note": row.note,
                    "median": row.median if row.times else None,
                    "spread": row.spread if row.times else None,
                    "ratio": self.ratio(row),
                    "agrees": row.agrees,
                    "difference": row.difference,
                    "failure": row.failure,
                    "times": list(row.times),
                }
                for row in self.rows
            ],
        }


def compare(  # noqa: PLR0913  # as many as the command has options
    prepared: Prepared,
    target: str,
    against: Sequence[str],
    *,
    threads: int | None = None,
    records: Sequence[Path] | None = None,
    rounds: int = 15,
    pythons: Mapping[str, str] | None = None,
    database: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Time a model compiled with records and under other frameworks, in turns, each in a process of its own.

    Parameters
    ----------
    prepared
        The model.
    against
        Frameworks, of `PEERS`.
    threads
        How many threads each may use on the CPU; by default `thread_count()`.
    records
        Logs; the packages in the root otherwise.
    rounds
        How often each framework has its turn.
    pythons
        Interpreters of frameworks that are in other environments; tophub-registry must be there too.
    database
        MetaSchedule's, for `metaschedule`.
    progress
        Called with what is done next.

    Raises
    ------
    UsageError, EnvironmentFailure
        As `check` does.
    """
    resolved = check(target, [*against, *(pythons or {})], database)
    threads = threads or thread_count()
    job = Job(
        str(prepared.folder.absolute()),
        str(resolved),
        None if records is None else [str(path.absolute()) for path in records],
        threads,
        None if database is None else str(database.absolute()),
    )
    bound = os.environ.get("TVM_BIND_THREADS", "1") != "0"
    outcome = Comparison(prepared.model, str(resolved), _device(job), threads, bound)
    frameworks = dict.fromkeys((OURS, *against))
    with tempfile.TemporaryDirectory(prefix="tophub-bench-") as name:
        job.write(Path(name))
        references = prepared.references()
        rows = _measure(Path(name), frameworks, threads, references, rounds, pythons or {}, progress)
    return replace(outcome, rows=rows)


def check(target: str, frameworks: Collection[str], database: Path | None = None) -> Target:
    """Return the target spelled out, if this machine can run its code and there are such frameworks.

    Raises
    ------
    UsageError
        There is no such framework or target, or MetaSchedule's database was not named.
    EnvironmentFailure
        This machine can't run code for the target.
    """
    from tophub_registry.devices.device import check_runs_here, resolve

    if unknown := sorted({*frameworks} - set(RUNNERS)):
        raise UsageError(f"no such framework: {', '.join(unknown)}", remedy=f"known: {', '.join(PEERS)}")
    if METASCHEDULE in frameworks and database is None:
        raise UsageError(f"{METASCHEDULE} needs a database", remedy="name its folder by --database")
    resolved = resolve(target)
    check_runs_here(resolved)
    return resolved


def default_peers(prepared: Prepared, pythons: Collection[str] = ()) -> list[str]:
    """Return the frameworks to compare with: the model's own, and others that are installed and can read it.

    Parameters
    ----------
    pythons
        The frameworks for which interpreters of other environments are given.
    """
    own = _OWN_PEERS[prepared.framework]
    others = {"onnxruntime": "onnxruntime", "pytorch": "torch"}
    here = [name for name, module in others.items() if name in pythons or find_spec(module) is not None]
    return [*dict.fromkeys([own, *(here if not prepared.untranslated else ())])]


def difference(ours: Sequence[Array], theirs: Sequence[Array]) -> float:
    """Return the largest difference of some outputs from a reference's, as `FrameworkResult.difference` has it."""
    if [array.shape for array in ours] != [array.shape for array in theirs]:
        return float("inf")
    largest = 0.0
    for array, reference in zip(ours, theirs, strict=True):
        sizes = np.abs(reference)
        floor = max(float(sizes.max(initial=0.0)) * _FLOOR, float(np.finfo(np.float32).tiny))
        found = np.abs(array.astype("float64") - reference) / np.maximum(sizes, floor)
        largest = max(largest, float(found.max(initial=0.0)) if np.isfinite(found).all() else float("inf"))
    return largest


def _measure(
    folder: Path,
    frameworks: Mapping[str, Any],
    threads: int,
    references: Sequence[Array],
    rounds: int,
    pythons: Mapping[str, str],
    progress: Callable[[str], None],
) -> tuple[FrameworkResult, ...]:
    rows = {name: FrameworkResult(name) for name in frameworks}
    peers: dict[str, Peer] = {}
    try:
        for name in frameworks:
            progress(f"load {name}")
            try:
                peers[name] = peer = Peer(name, folder, threads, pythons.get(name))
                version, note = peer.load(_LOADING)
                distance = difference(read_arrays(folder / f"{name}.npz"), references)
                rows[name] = FrameworkResult(name, version, note, difference=distance)
            except EnvironmentFailure as error:
                rows[name] = replace(rows[name], failure=str(error))
        _take_turns(rows, peers, rounds, progress)
    finally:
        for peer in peers.values():
            peer.close()
    return tuple(rows.values())


def _take_turns(
    rows: dict[str, FrameworkResult], peers: Mapping[str, Peer], rounds: int, progress: Callable[[str], None]
) -> None:
    """Let each framework run in each round; one that fails loses all its times, as they are no pairs any more."""
    repeats: dict[str, int] = {}
    last: dict[str, int] = {}
    for turn in range(-1, rounds):
        if turn >= 0:
            progress(f"round {turn + 1} of {rounds}")
        for name in [name for name, row in rows.items() if row.failure is None and turn < last.get(name, rounds)]:
            try:
                time.sleep(_PAUSE)
                times = peers[name].seconds(repeats.get(name, 1))
            except EnvironmentFailure as error:
                rows[name] = replace(rows[name], failure=str(error), times=())
                continue
            median = statistics.median(times)
            if turn < 0:
                repeats[name] = min(max(int(_TURN / median), 1), _MOST_REPEATS)
                last[name] = rounds if median < _SLOW else _ROUNDS_IF_SLOW
            else:
                rows[name] = replace(rows[name], times=(*rows[name].times, median))


def _device(job: Job) -> str:
    if job.on_gpu:
        import tvm

        return str(tvm.cuda(0).device_name)
    from tophub_registry.devices.processor import described

    return described()
