"""What TVM_NUM_THREADS and TVM_BIND_THREADS do to a compiled model on this machine, alone and beside a busy process.

`python benchmarks/threads.py [MODEL] [--rounds 15]` prints the table of docs/threads.md: the settings take turns, each
in a process of its own, and every time is the median over the rounds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tophub_registry.bench.job import Job
from tophub_registry.bench.peer import Peer
from tophub_registry.bench.prepared import Prepared, prepare
from tophub_registry.devices.device import resolve

LOADING = 600.0
REPEATS = 10


class Setting(NamedTuple):
    """How many threads, None where nothing is set, and whether they are bound to cores."""

    threads: int | None
    bound: bool


def spin() -> None:
    """Keep one core busy."""
    while True:
        pass


@contextmanager
def neighbour(*, busy: bool) -> Iterator[None]:
    """Have a process beside what is measured that wants a core for itself."""
    process = multiprocessing.get_context("spawn").Process(target=spin, daemon=True)
    if busy:
        process.start()
        time.sleep(1)
    yield
    if busy:
        process.kill()
        process.join()


@contextmanager
def loaded(job: Job, settings: list[Setting]) -> Iterator[dict[Setting, Peer]]:
    """Start a process for each setting."""
    with ExitStack() as stack:
        peers = {}
        for setting in settings:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tophub-threads-")))
            job.write(folder)
            os.environ["TVM_BIND_THREADS"] = str(int(setting.bound))
            peers[setting] = Peer("tophub", folder, setting.threads)
            stack.callback(peers[setting].close)
            peers[setting].load(LOADING)
        yield peers


def measure(peers: dict[Setting, Peer], rounds: int) -> dict[Setting, float]:
    """Return the milliseconds of a run in each setting."""
    times: dict[Setting, list[float]] = {setting: [] for setting in peers}
    for _ in range(rounds):
        for setting, peer in peers.items():
            times[setting].append(statistics.median(peer.seconds(REPEATS)))
    return {setting: statistics.median(each) * 1e3 for setting, each in times.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="resnet18_v1")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--log", type=Path, action="append", default=[])
    chosen = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    for name in ("TVM_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.pop(name, None)
    settings = [Setting(threads, bound) for threads in (None, 1, cores, 2 * cores) for bound in (True, False)]
    with tempfile.TemporaryDirectory(prefix="tophub-model-") as name:
        folder = Path(chosen.model)
        prepared = Prepared.read(folder) if folder.is_dir() else prepare(chosen.model, Path(name))
        records = [str(path.absolute()) for path in chosen.log] or None
        job = Job(str(prepared.folder.absolute()), str(resolve("llvm")), records, 1)
        found = {}
        with loaded(job, settings) as peers:
            for busy in (False, True):
                with neighbour(busy=busy):
                    found[busy] = measure(peers, chosen.rounds)
    print(f"{prepared.model}, {cores} cores, ms\n")
    print("| TVM_NUM_THREADS | TVM_BIND_THREADS | alone | beside a busy process |")
    print("| --- | --- | --- | --- |")
    for setting in settings:
        threads = "not set" if setting.threads is None else setting.threads
        print(f"| {threads} | {int(setting.bound)} | {found[False][setting]:.1f} | {found[True][setting]:.1f} |")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
