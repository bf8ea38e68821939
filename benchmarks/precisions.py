"""Whole models on a GPU in each precision: ours, PyTorch's CUDA graph, and torch.compile's.

Every side has a process of its own. Those of `--at-once` models are loaded side by side, as torch.compile and our
compiler need processors rather than the GPU; then they are timed in turns, alone. Errors are the largest difference
of an output from float64's, computed by PyTorch, relative to the largest output.

    python benchmarks/precisions.py --models resnet18.json resnet50.json --target "cuda -model=h100" --log cuda.log
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any, NamedTuple

import numpy as np

from tophub_registry.bench.job import Job
from tophub_registry.bench.peer import Peer
from tophub_registry.bench.prepared import Prepared, prepare, read_arrays
from tophub_registry.devices.device import at_hand, resolve
from tophub_registry.devices.threads import settle_threads
from tophub_registry.errors import TophubError
from tophub_registry.records.target import Target
from tophub_registry.tasks.rules import PRECISIONS

OURS, GRAPH, COMPILED = "tophub", "pytorch", "pytorch-compile"
_RUNS = 20
_LOADING = 400.0  # seconds


class Side(NamedTuple):
    """A framework in a precision, and where its process reads and writes."""

    framework: str
    precision: str
    folder: Path


def exact(prepared: Prepared) -> list[Any]:
    """Return the outputs that PyTorch computes in float64, on the GPU."""
    import torch

    from tophub_registry.bench.torch_module import torch_module

    module = torch_module(prepared.network()).double().cuda()
    inputs = [torch.from_numpy(array).double().cuda() for array in prepared.inputs()]
    with torch.inference_mode():
        return [output.cpu().numpy() for output in module(*inputs)]


def error(found: Sequence[Any], expected: Sequence[Any]) -> float:
    """Return the largest difference of an output, relative to the largest number of that output."""
    return max(
        float(np.abs(one - other).max() / np.abs(other).max()) for one, other in zip(found, expected, strict=True)
    )


def opened(model: str, folder: Path) -> Prepared:
    """Return a prepared model, or prepare it in a folder of its own."""
    return Prepared.read(Path(model)) if Path(model).is_dir() else prepare(model, folder / "model", references=False)


def sides(prepared: Prepared, scratch: Path, options: argparse.Namespace) -> list[Side]:
    """Return what to compare for a model, with a job in each one's folder."""
    found = []
    for precision in options.precisions:
        for framework in options.frameworks:
            if framework != OURS and precision == "3xtf32":
                continue  # nobody else's
            folder = scratch / f"{framework}.{precision}"
            folder.mkdir()
            records = [str(path.absolute()) for path in options.log] if options.log else None
            target = str(resolve(options.target))
            Job(str(prepared.folder.absolute()), target, records, settle_threads(None), precision=precision).write(
                folder
            )
            found.append(Side(framework, precision, folder))
    return found


def started(side: Side) -> Peer | None:
    """Return a side's process once it has run the model; None, with a word about it, if it can't."""
    peer = Peer(side.framework, side.folder, None)
    try:
        _, note = peer.load(_LOADING)
    except TophubError as failure:
        sys.stderr.write(f"{side.folder.parent.name}, {side.precision}, {side.framework}: {failure}\n")
        peer.close()
        return None
    sys.stderr.write(f"{side.folder.parent.name}, {side.precision}, {side.framework}: {note}\n")
    return peer


def timed(side: Side, peer: Peer, times: list[float]) -> bool:
    """Add a turn's time to those of a side; return false, with a word about it, if its process has ended."""
    try:
        times.append(median(peer.seconds(_RUNS)))
    except TophubError as failure:
        sys.stderr.write(f"{side.folder.parent.name}, {side.precision}, {side.framework}: {failure}\n")
        return False
    return True


def compare(models: Sequence[str], scratch: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return for each model the times of each side, in seconds, and its error."""
    stems = [Path(name).name.removesuffix(".json") for name in models]
    folders = [scratch / stem for stem in stems]
    for folder in folders:
        folder.mkdir()
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as readers:
        prepared = dict(zip(stems, readers.map(opened, models, folders), strict=True))
    every = [side for name, its in prepared.items() for side in sides(its, scratch / name, options)]
    with ThreadPoolExecutor(options.processes) as pool:
        begun = [(side, peer) for side, peer in zip(every, pool.map(started, every), strict=True) if peer]
    peers = begun
    times: dict[Path, list[float]] = {side.folder: [] for side, _ in peers}
    try:
        for _ in range(options.rounds):
            peers = [(side, peer) for side, peer in peers if timed(side, peer, times[side.folder])]
    finally:
        for _, peer in begun:
            peer.close()
    found: dict[str, dict[str, Any]] = {}
    for name, its in prepared.items():
        reference = exact(its) if any(side.folder.parent.name == name for side, _ in peers) else []
        found[name] = {
            f"{side.precision} {side.framework}": {
                "seconds": times[side.folder],
                "error": error(read_arrays(side.folder / f"{side.framework}.npz"), reference),
            }
            for side, _ in peers
            if side.folder.parent.name == name
        }
    return found


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of the options for models in several precisions."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="cuda")
    parser.add_argument("--log", type=Path, nargs="*", help="logs; by default the packages in the root")
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=[*PRECISIONS])
    return parser


def main() -> None:
    """Print a row for each model and precision, then the geometric means."""
    parser = parser_of(__doc__)
    parser.add_argument("--frameworks", nargs="+", default=[OURS, GRAPH, COMPILED])
    parser.add_argument(
        "--at-once", type=int, default=4, help="how many models' processes the GPU's memory has room for"
    )
    parser.add_argument("--processes", type=int, default=16, help="how many of them load at once")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, help="times and errors, as JSON")
    options = parser.parse_args()
    sys.stdout.write(f"{at_hand(Target.parse(options.target).kind).where}, {options.target}\n\n")
    peers = [name for name in options.frameworks if name != OURS]
    columns = ["ours, ms", *(f"{name}, ms" for name in peers), *(f"ours / {name}" for name in peers), "error"]
    columns += [f"error of {name}" for name in peers]
    sys.stdout.write(f"| model | precision | {' | '.join(columns)} |\n| --- | --- {'| --- ' * len(columns)}|\n")
    ratios: dict[tuple[str, str], list[float]] = {}
    everything = {}
    for first in range(0, len(options.models), options.at_once):
        with tempfile.TemporaryDirectory(prefix="tophub-precisions-") as scratch:
            found = compare(options.models[first : first + options.at_once], Path(scratch), options)
        everything |= found
        for model, its in found.items():
            for precision in options.precisions:
                row = {name: its.get(f"{precision} {name}") for name in [OURS, *peers]}
                sys.stdout.write(f"| {model} | {precision} | {' | '.join(cells(row, peers))} |\n")
                for name in peers:
                    if row[OURS] and row[name]:
                        ratios.setdefault((precision, name), []).append(ratio(row, name))
        sys.stdout.flush()
        if options.output:
            options.output.write_text(json.dumps(everything))
    for (precision, name), its_ratios in ratios.items():
        mean, worst = geometric_mean(its_ratios), max(its_ratios)
        sys.stdout.write(f"\n{precision}, ours / {name}: geometric mean {mean:.2f}, worst {worst:.2f}\n")


def ratio(row: dict[str, Any], name: str) -> float:
    """Return the median over the turns of our time relative to a framework's."""
    return median(a / b for a, b in zip(row[OURS]["seconds"], row[name]["seconds"], strict=True))


def cells(row: dict[str, Any], peers: Sequence[str]) -> list[str]:
    """Return the cells of a row: times, ratios and errors; empty where there are none."""
    names = [OURS, *peers]
    return [
        *(f"{median(row[name]['seconds']) * 1e3:.3f}" if row[name] else "" for name in names),
        *(f"{ratio(row, name):.2f}" if row[OURS] and row[name] else "" for name in peers),
        *(f"{row[name]['error']:.1e}" if row[name] else "" for name in names),
    ]


if __name__ == "__main__":
    main()
