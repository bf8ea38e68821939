"""Rows as AutoTVM writes them, of random configs: `draw.py TASKS TARGET COUNT SEED`.

TASKS is a file with `tasks`, each with `task` and `args`. Says COUNT rows for each, of log version 0.2, as of kernels
that took a second.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import tvm
from tvm import autotvm, topi  # noqa: F401  # topi registers the templates

TIME = 1_700_000_000


def tuples(value: Any) -> Any:
    """AutoTVM hashes arguments, so that lists won't do."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def main() -> None:
    target, count, rng = tvm.target.Target(sys.argv[2]), int(sys.argv[3]), random.Random(int(sys.argv[4]))
    rows = []
    for each in json.loads(Path(sys.argv[1]).read_text())["tasks"]:
        task = autotvm.task.create(each["task"], tuples(each["args"]), target=target)
        for index in rng.sample(range(len(task.config_space)), count):
            measured = autotvm.MeasureInput(target, task, task.config_space.get(index))
            rows.append(autotvm.record.encode(measured, autotvm.MeasureResult([1.0], 0, 1.0, TIME)))
    sys.stdout.write(json.dumps(rows) + "\n")


main()
