"""Times one model in several frameworks, in turns, and compares their outputs."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tophub_registry.bench import instructions
from tophub_registry.bench.agreement import ROUNDED, TOLERANCE, difference, with_ties_in_order
from tophub_registry.bench.job import Job
from tophub_registry.bench.peer import Peer
from tophub_registry.bench.prepared import Prepared, read_arrays
from tophub_registry.bench.runners import CPU_ONLY, METASCHEDULE, NO_RECORDS, RUNNERS
from tophub_registry.devices.processor import own_processor
from tophub_registry.devices.threads import bound, settle_threads
from tophub_registry.errors import EnvironmentFailure, UsageError
from tophub_registry.records.target import Target
from tophub_registry.tasks.rules import FLOAT32, check_precision

OURS = "tophub"
PEERS = tuple(name for name in RUNNERS if name != OURS)

_OWN_PEERS = {"MXNet": "gluoncv", "ONNX Runtime": "onnxruntime", "PyTorch": "pytorch", "TVM, untuned": "tvm"}
"""The peer that is a model's own framework, by `Prepared.framework`."""

_OTHERS = {
    "onnxruntime": ("onnxruntime",),
    "openvino": ("openvino",),
    "ncnn": ("ncnn", "pnnx"),
    "pytorch": ("torch",),
}
"""The peers that can read other frameworks' models, and the modules that each needs."""

_ROUNDING = ("tf32", "float16")

_LOADING = 1800.0  # seconds; an untuned detector takes minutes
_PAUSE = 0.3  # seconds until OpenMP's threads, which spin while they wait, go to sleep
_TURN = 0.2  # seconds of a turn, unless a single run takes longer
_MOST_REPEATS = 20
_SLOW = 1.0  # seconds of a run from which only the first rounds are measured
_ROUNDS_IF_SLOW = 3


@dataclass(frozen=True)
class FrameworkResult:
    """The result of one framework.

    Attributes
    ----------
    note
        What to know about its times.
    times
        The median over the runs of each round, in seconds. Slow frameworks are timed in the first rounds only.
    difference
        Of the outputs from those of the model's own framework: see `agreement`. None where there are no outputs.
    failure
        Why there are no times; None if there are.
    tolerance
        The largest difference that counts as agreement.
    """

    framework: str
    version: str = ""
    note: str = ""
    times: tuple[float, ...] = ()
    difference: float | None = None
    failure: str | None = None
    tolerance: float = TOLERANCE

    @property
    def agrees(self) -> bool:
        """Whether the outputs are those of the model's own framework, within the tolerance."""
        return self.difference is not None and self.difference <= self.tolerance

    @property
    def median(self) -> float:
        """The median time of a run, in seconds, over the rounds."""
        return statistics.median(self.times)

    @property
    def spread(self) -> float:
        """The interquartile range, relative to the median."""
        first, last = np.percentile(self.times, [25, 75])
        return float(last - first) / self.median


@dataclass(frozen=True)
class Comparison:
    """The results of a model in several frameworks.

    Attributes
    ----------
    target
        TVM's target string, spelled out.
    device
        The processor or the GPU.
    reference
        The model's own framework, whose outputs the others' are compared with.
    threads, bind_threads
        Number of threads of each framework, and whether TVM binds its threads to cores.
    """

    model: str
    target: str
    device: str
    threads: int
    bind_threads: bool
    rows: tuple[FrameworkResult, ...] = field(default=())
    reference: str = ""

    def ratio(self, row: FrameworkResult) -> float | None:
        """Return a framework's time relative to tophub's: the median over their rounds; None if either has no times."""
        ours = next((other.times for other in self.rows if other.framework == OURS), ())
        if not ours or not row.times:
            return None
        return statistics.median(theirs / mine for theirs, mine in zip(row.times, ours, strict=False))

    def as_json(self) -> dict[str, object]:
        """Return the comparison as JSON values; times are in seconds."""
        return {
            "model": self.model,
            "target": self.target,
            "device": self.device,
            "threads": self.threads,
            "bind_threads": self.bind_threads,
            "reference": self.reference,
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
    precision: str = FLOAT32,
    progress: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Time a model compiled with records against other frameworks, in turns, each in its own process.

    Parameters
    ----------
    prepared
        The model.
    against
        Frameworks from `PEERS`.
    threads
        Number of CPU threads of each framework; by default one for each core: see `settle_threads`.
    records
        Logs to take records from; by default the packages in the root.
    rounds
        Number of rounds; in each, every framework takes a turn.
    pythons
        Python interpreters of frameworks in other environments, which need tophub-registry too.
    database
        MetaSchedule's database, for `metaschedule`.
    precision
        How tophub and PyTorch compute convolutions; the others do in float32.
    progress
        Called with a description of the next step.

    Raises
    ------
    UsageError, EnvironmentFailure
        As `check` does.
    """
    resolved = check(target, [*against, *(pythons or {})], database)
    check_precision(precision, resolved.kind)
    threads = settle_threads(threads)
    job = Job(
        str(prepared.folder.absolute()),
        str(resolved),
        None if records is None else [str(path.absolute()) for path in records],
        threads,
        None if database is None else str(database.absolute()),
        precision,
    )
    outcome = Comparison(prepared.model, str(resolved), _device(job), threads, bound(), reference=prepared.framework)
    frameworks = dict.fromkeys((OURS, *against))
    with tempfile.TemporaryDirectory(prefix="tophub-bench-") as name:
        job.write(Path(name))
        family = instructions.restriction(resolved, own_processor())
        rows = _measure(Path(name), frameworks, threads, family, prepared, rounds, pythons or {}, progress)
    tolerance = ROUNDED if precision in _ROUNDING else TOLERANCE
    return replace(outcome, rows=tuple(replace(row, tolerance=tolerance) for row in rows))


def check(target: str, frameworks: Collection[str], database: Path | None = None) -> Target:
    """Check target and frameworks, and return the target spelled out.

    Raises
    ------
    UsageError
        There is no such framework or target, or MetaSchedule's database is missing.
    EnvironmentFailure
        This machine can't run code for the target.
    """
    from tophub_registry.devices.device import check_runs_here, resolve

    if unknown := sorted({*frameworks} - set(RUNNERS)):
        raise UsageError(f"no such framework: {', '.join(unknown)}", remedy=f"known: {', '.join(PEERS)}")
    if METASCHEDULE in frameworks and database is None:
        raise UsageError(f"{METASCHEDULE} needs a database", remedy="give its folder with --database")
    resolved = resolve(target)
    check_runs_here(resolved)
    return resolved


def default_peers(prepared: Prepared, pythons: Collection[str] = (), *, target: str = "llvm") -> list[str]:
    """Return what to compare with: no records, the model's own framework, and installed ones that can read it.

    Parameters
    ----------
    pythons
        The frameworks for which interpreters of other environments are given.
    target
        TVM's target string, for which some have no code.
    """
    found = [NO_RECORDS, _OWN_PEERS[prepared.framework]]
    on_gpu = target.startswith("cuda")
    for name, modules in _OTHERS.items():
        original = prepared.torch if name == "pytorch" else prepared.onnx
        readable = original.exists() or not prepared.untranslated
        here = name in pythons or all(find_spec(module) is not None for module in modules)
        if readable and here and not (on_gpu and name in CPU_ONLY):
            found.append(name)
    return [*dict.fromkeys(found)]


def _measure(
    folder: Path,
    frameworks: Mapping[str, Any],
    threads: int,
    family: str | None,
    prepared: Prepared,
    rounds: int,
    pythons: Mapping[str, str],
    progress: Callable[[str], None],
) -> tuple[FrameworkResult, ...]:
    rows = {name: FrameworkResult(name) for name in frameworks}
    peers: dict[str, Peer] = {}
    references = prepared.references()
    try:
        for name in frameworks:
            progress(f"load {name}")
            try:
                peers[name] = peer = Peer(name, folder, threads, pythons.get(name), instructions.settings(family))
                version, note = peer.load(_LOADING)
                outputs, moved = read_arrays(folder / f"{name}.npz"), 0
                if prepared.detector:
                    outputs, moved = with_ties_in_order(outputs, references)
                reordered = f"{moved} tied detections in another order" if moved else ""
                note = "; ".join(filter(None, (note, instructions.note(name, family), reordered)))
                rows[name] = FrameworkResult(name, version, note, difference=difference(outputs, references))
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
    """Let each framework run in each round. One that fails loses all its times: they can't be paired any more."""
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
