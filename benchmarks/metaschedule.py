"""Tune a whole model by apache-tvm's MetaSchedule for a given time, as a peer of `tophub tune`.

`python benchmarks/metaschedule.py FOLDER --seconds 600 --threads 2 -o DATABASE`: FOLDER is what
`tophub bench MODEL --prepare FOLDER` wrote; the database is what `tophub bench FOLDER --against metaschedule` wants
by `--database`.

MetaSchedule takes trials, not a time, and tunes every task at least once in a round. So rounds of a few trials a task
follow one another, each going on with the database, until the time is over; what was measured by then counts. The
first round is let finish, for before its end nothing is in the database. The tuning sees what a user's does: operators
fused, weights free to be packed (`cpu_weight_prepack`).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

RECORDS = "database_tuning_record.json"

_POLL = 10.0  # seconds


def tune(folder: Path, database: Path, target: str, cores: int, trials: int) -> None:
    """Tune round after round, until the process is ended."""
    import tvm
    from tvm import relax
    from tvm.s_tir import meta_schedule

    from tophub_registry.bench.prepared import Prepared
    from tophub_registry.devices.device import compiled_for, resolve

    made_for = tvm.target.Target({**compiled_for(resolve(target)), "num-cores": cores})
    database.mkdir(parents=True, exist_ok=True)
    with made_for:
        module = tvm.transform.Sequential(
            [
                relax.transform.DecomposeOpsForInference(),
                relax.transform.CanonicalizeBindings(),
                relax.get_pipeline("zero"),
                relax.transform.AttachAttrLayoutFreeBuffers(),
            ]
        )(Prepared.read(folder).read_model().module)
        while True:
            meta_schedule.relax_integration.tune_relax(
                module,
                {},
                made_for,
                str(database),
                max_trials_global=1_000_000,
                max_trials_per_task=trials,
                num_trials_per_iter=trials,
                builder=meta_schedule.builder.LocalBuilder(max_workers=cores),
            )


def rows_in(database: Path) -> list[bytes]:
    """Return the rows that are there so far."""
    path = database / RECORDS
    return path.read_bytes().splitlines(keepends=True) if path.exists() else []


def drop_torn_row(database: Path) -> int:
    """Cut off a row that was being written when the time was over; return how many there are."""
    whole = [row for row in rows_in(database) if row.endswith(b"]\n")]
    (database / RECORDS).write_bytes(b"".join(whole))
    return len(whole)


def main() -> None:
    """Tune in a process of its own, end it when the time is over, and say how many trials that were."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--target", default="llvm")
    parser.add_argument("--trials", type=int, default=16, help="of a task in each round")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the database")
    chosen = parser.parse_args()
    os.environ["TVM_NUM_THREADS"] = str(chosen.threads)
    began = time.monotonic()
    arguments: tuple[Any, ...] = (chosen.folder, chosen.output, chosen.target, chosen.threads, chosen.trials)
    process = multiprocessing.get_context("spawn").Process(target=_alone, args=arguments)
    process.start()
    process.join(chosen.seconds)
    while process.exitcode is None and not rows_in(chosen.output):
        process.join(_POLL)
    if process.exitcode is not None or process.pid is None:
        sys.exit(f"tuning ended by itself, with exit code {process.exitcode}")
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    print(f"{drop_torn_row(chosen.output)} trials in {time.monotonic() - began:.0f} s")


def _alone(*arguments: Any) -> None:
    os.setpgrp()
    tune(*arguments)


if __name__ == "__main__":
    main()
