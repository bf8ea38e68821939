"""Merging against AutoTVM: rows a second and peak memory of `tophub merge` and of `autotvm.record.pick_best`.

Both reduce the same log, in the same run, one after the other. The log is made from real rows: each a row of
upstream's logs (`$TOPHUB_UPSTREAM_DATA`), or of this repository's where those are missing, with another cost,
another time and other factors, as a tuner would have written them. The peer runs in the old client's
environment, and its time begins after its imports; ours is the whole command's.

    python benchmarks/merge.py [--rows 1000000] [--profile]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]

PEER = """
import json, logging, resource, sys, time
import mxnet  # before tvm, whose libraries are in its way otherwise
from tvm import autotvm

logging.disable(logging.CRITICAL)
start = time.perf_counter()
autotvm.record.pick_best(sys.argv[1], sys.argv[2])
seconds = time.perf_counter() - start
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


class Run(NamedTuple):
    """What a reduction took.

    Attributes
    ----------
    seconds
        Wall clock.
    peak
        The process's highest resident memory, in MiB.
    rows
        Rows written.
    """

    seconds: float
    peak: float
    rows: int


def real_rows() -> list[dict[str, Any]]:
    """Return the rows of log version 0.2 to vary."""
    folder = Path(os.environ.get("TOPHUB_UPSTREAM_DATA", ROOT.parent / "shared" / "data" / "tophub_upstream"))
    folder = folder if folder.is_dir() else ROOT / "registry_data"
    lines = [line for path in sorted(folder.glob("*.log")) for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines if line.startswith('{"input"')]


def vary(row: dict[str, Any], chance: random.Random) -> str:
    """Return a row as another trial of the same tuning would have been written."""
    config, (costs, error_no, all_cost, timestamp) = row["config"], row["result"]
    entity = [
        [name, kind, chance.sample(value, len(value)) if kind == "sp" else value]
        for name, kind, value in config["entity"]
    ]
    costs = [cost * chance.uniform(1, 4) for cost in costs]
    if chance.random() < 0.1:  # noqa: PLR2004  # one trial in ten fails
        costs, error_no = [1e9], 4
    result = [costs, error_no, all_cost, timestamp + chance.uniform(0, 1e5)]
    return json.dumps(row | {"config": config | {"index": chance.randrange(10**7), "entity": entity}, "result": result})


def write_log(path: Path, rows: int) -> None:
    """Write a log of so many rows, the same ones in every run."""
    chance = random.Random(0)  # noqa: S311
    real = real_rows()
    with path.open("w") as stream:
        for _ in range(rows):
            stream.write(vary(chance.choice(real), chance) + "\n")


def merge(log: Path, output: Path) -> Run:
    """Run `tophub merge`, the whole command."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "tophub_registry.cli", "merge", str(log), "-o", str(output), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    report = json.load(process.stdout)  # type: ignore[arg-type]
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Run(time.perf_counter() - start, usage.ru_maxrss / 1024, report["written"])


def pick_best(log: Path, output: Path) -> Run:
    """Run AutoTVM's own."""
    found = subprocess.run(
        [sys.executable, "-m", "tests.old_client.environment"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    command = [found.stdout.strip(), "-c", PEER, str(log), str(output)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    with output.open() as rows:
        return Run(seconds, peak, sum(1 for _ in rows))


def profile(log: Path, output: Path) -> None:
    """Print where our time goes."""
    import cProfile
    import pstats

    from tophub_registry.records.merge import merge_logs

    with cProfile.Profile() as profiler:
        merge_logs(log, [], output)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(12)


def main() -> None:
    """Make the log, reduce it twice, print the ratios."""
    parser = argparse.ArgumentParser(description="Merging against AutoTVM's pick_best.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--profile", action="store_true", help="say where our time goes, without the peer")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "tuning.log"
        write_log(log, options.rows)
        print(f"{options.rows:,} rows, {log.stat().st_size / 2**20:,.0f} MiB", flush=True)
        if options.profile:
            profile(log, Path(folder) / "merged.log")
            return
        runs = {}
        for name, reduce in (("tophub merge", merge), ("AutoTVM pick_best", pick_best)):
            run = runs[name] = reduce(log, Path(folder) / f"{reduce.__name__}.log")
            print(
                f"{name:<18}{options.rows / run.seconds:>10,.0f} rows/s {run.seconds:>8.1f} s"
                f"{run.peak:>9,.0f} MiB {run.rows:>8,} rows written",
                flush=True,
            )
        ours, peer = runs.values()
        print(f"{peer.seconds / ours.seconds:.1f} times the rows per second, {ours.peak / peer.peak:.3f} of the memory")


if __name__ == "__main__":
    main()
