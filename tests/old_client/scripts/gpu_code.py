"""Whether AutoTVM makes GPU kernels of a log's records: `gpu_code.py LOG TARGET PROCESSES`.

Each row is read by AutoTVM's own decoder, its template instantiated with its config and lowered under TARGET, and the
kernels checked by `verify_gpu_code` against what every CUDA device since compute capability 2.0 takes. Says how many
records passed, and for each of the others `[line, task, what is wrong]`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

import tvm
from tvm import autotvm, topi  # noqa: F401  # topi registers the templates

LIMITS = {
    "max_shared_memory_per_block": 48 * 1024,
    "max_threads_per_block": 1024,
    "max_thread_x": 1024,
    "max_thread_y": 1024,
    "max_thread_z": 64,
    "max_vector_bytes": 16,
}


def check(row: str) -> str:
    """Return what is wrong with a row, if anything."""
    target = tvm.target.Target(sys.argv[2])
    try:
        decoded = autotvm.record.decode(row)
        if decoded is None:
            return "not a record that this TVM reads"
        measured, config = decoded[0].task, decoded[0].config
        task = autotvm.task.create(measured.name, measured.args, target=target)
        with target:
            schedule, arguments = task.instantiate(config)
            if not config.valid():
                return f"refused: {config.errors}"
            functions = tvm.lower(schedule, arguments).functions.values()
    except Exception as error:  # noqa: BLE001  # templates raise whatever they come upon
        return f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"
    fits = all(tvm.tir.analysis.verify_gpu_code(function, LIMITS) for function in functions)
    return "" if fits else "asks for more than a GPU has"


def main() -> None:
    lines = enumerate(Path(sys.argv[1]).read_text().splitlines(), 1)
    rows = [(number, line) for number, line in lines if line.strip() and not line.startswith("#")]
    silence = os.open(os.devnull, os.O_WRONLY)
    with multiprocessing.get_context("fork").Pool(int(sys.argv[3]), os.dup2, (silence, 2)) as pool:
        problems = pool.map(check, [row for _, row in rows], chunksize=4)
    failures: list[Any] = [
        [number, json.loads(row)["input"][1], problem]
        for (number, row), problem in zip(rows, problems, strict=True)
        if problem
    ]
    sys.stdout.write(json.dumps({"passed": len(rows) - len(failures), "failures": failures}) + "\n")


main()
