"""What the CUDA templates' kernels compute on a real device, against NumPy.

`PYTHONPATH=. python -m tests.gpu.check_numerics`: for each template 50 random configs that the device takes, spread
over its workloads, and the default; only templates whose name contains one of the arguments, if there are any. Prints
a summary as JSON and ends with 1 where a kernel does not build, does not run, or computes something else.
"""

from __future__ import annotations

import math
import random
import sys
from collections import defaultdict
from typing import Any

from tests.gpu.check import Job, main
from tests.gpu.workloads import MORE_WORKLOADS, WORKLOADS
from tophub_registry.records.target import Target
from tophub_registry.templates.registry import instantiate

CONFIGS = 50
CUDA = Target.parse("cuda")


def sample(template: Any, count: int, rng: random.Random) -> list[Any]:
    """Return the default where the device takes it, and distinct random configs that it takes."""
    default = template.default(CUDA)
    configs = [default] if template.feasible(default, CUDA) else []
    known = set()
    for _ in range(100_000):
        if len(known) == min(count, len(template.space)):
            break
        index = rng.randrange(len(template.space))
        config = template.space.config(index)
        wide = math.prod(template.limits(config).threads) >= 8 or rng.random() < 0.1  # or most would be slow
        if index not in known and template.feasible(config, CUDA) and wide:
            known.add(index)
            configs.append(config)
    return configs


def choose() -> list[Job]:
    """Return random configs of all the workloads, or of those of the templates that are asked for."""
    rng = random.Random(11)
    by_task: dict[str, list[list[Any]]] = defaultdict(list)
    wanted = sys.argv[1:] or [""]
    for task, args in (*WORKLOADS, *MORE_WORKLOADS):
        if any(part in task for part in wanted):
            by_task[task].append(args)
    return [
        Job(task, args, config)
        for task, workloads in by_task.items()
        for args in workloads
        for config in sample(instantiate(task, args), math.ceil(CONFIGS / len(workloads)), rng)
    ]


if __name__ == "__main__":
    sys.exit(main(choose))
