"""AutoTVM's config spaces: `spaces.py TASKS TARGET SAMPLES SEED`.

TASKS is a file with `tasks`, each with `task` and `args`. For each of them: the length of its space, the product
of its knobs' lengths, the knobs with their lengths, and the entities at sampled indices, each as `[index, entity]`,
the first and the last among them. A task that AutoTVM refuses has an `error` instead.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import tvm
from tvm import autotvm, topi  # noqa: F401  # topi registers the templates


def tuples(value: Any) -> Any:
    """AutoTVM hashes arguments, so that lists won't do."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def describe(task: dict[str, Any], target: tvm.target.Target, samples: int, seed: int) -> dict[str, Any]:
    try:
        space = autotvm.task.create(task["task"], tuples(task["args"]), target=target).config_space
    except Exception as error:  # noqa: BLE001  # templates raise whatever they come upon
        return {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"}
    length = space.range_length
    chosen = {0, length - 1, *random.Random(seed).sample(range(length), min(samples, length))}
    valid = [index for index in sorted(chosen) if space.is_index_valid(index)]
    return {
        "length": len(space),
        "range_length": length,
        "knobs": {name: len(knob) for name, knob in space.space_map.items()},
        "entities": [[index, space.get(index).to_json_dict()["entity"]] for index in valid],
    }


def main() -> None:
    tasks = json.loads(Path(sys.argv[1]).read_text())["tasks"]
    target = tvm.target.Target(sys.argv[2])
    described = [describe(task, target, int(sys.argv[3]), int(sys.argv[4])) for task in tasks]
    sys.stdout.write(json.dumps(described) + "\n")


main()
