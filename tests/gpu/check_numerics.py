"""What the CUDA templates' kernels compute on a real device, against NumPy.

`PYTHONPATH=. python -m tests.gpu.check_numerics` needs a CUDA device, TVM, NumPy and nvcc, and nothing of this
project's tests but this folder. For each template 50 random configs that the device takes, spread over its
workloads, and the default; kernels are built in processes on all the processors. Prints a summary as JSON and
ends with 1 where a kernel does not build, does not run, or computes something else.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from tests.gpu.workloads import WORKLOADS, reference
from tophub_registry.records.target import Target
from tophub_registry.templates.registry import instantiate

CONFIGS = 50
SUMS = 256
SECONDS = 60
TOLERANCE = 2e-3  # Winograd's transforms for kernels of 5 round the most


def sample(template: Any, count: int, rng: random.Random) -> list[Any]:
    """Return the default where the device takes it, and distinct random configs that it takes."""
    default = template.default(Target.parse("cuda"))
    configs = [default] if template.limits(default).possible else []
    known = set()
    for _ in range(100_000):
        if len(known) == min(count, len(template.space)):
            break
        index = rng.randrange(len(template.space))
        limits = template.limits(template.space.config(index))
        wide = math.prod(limits.threads) >= 8 or rng.random() < 0.1  # or most would be a few slow threads
        if index not in known and limits.possible and limits.sums <= SUMS and wide:
            known.add(index)
            configs.append(template.space.config(index))
    return configs


def build(number: int, index: int, config: Any, arch: str, folder: str) -> tuple[int, Any, str, str]:
    """Compile a config's kernel into a shared library, and return where it is and what went wrong, if anything."""
    import signal

    import tvm

    path = str(Path(folder) / f"{number}_{index}.so")

    def stop(*_: Any) -> None:
        raise TimeoutError(f"took the compiler more than {SECONDS} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        template = instantiate(*WORKLOADS[number])
        target = tvm.target.Target({"kind": "cuda", "arch": arch}, host="llvm")
        tvm.compile(template.schedule(config).mod, target=target).export_library(path)
    except Exception as error:  # noqa: BLE001  # whatever the compiler raises is a finding
        return number, config, path, f"{type(error).__name__}: {str(error)[-300:]}"
    finally:
        signal.alarm(0)
    return number, config, path, ""


def run(template: Any, config: Any, path: str, inputs: list[Any], right: Any) -> tuple[float, str]:
    """Return how far a kernel's output is from the right one, relative to its largest number, and what went wrong."""
    import tvm

    device = tvm.cuda(0)
    try:
        *_, out = template.tensors(config)
        packed = [np.ascontiguousarray(array) for array in template.pack(config, inputs)]
        arrays = [tvm.runtime.tensor(array, device) for array in packed]
        output = tvm.runtime.tensor(np.full(out.shape, np.nan, out.dtype), device)
        tvm.runtime.load_module(path)["main"](*arrays, output)
        device.sync()
        computed = template.unpack(config, output.numpy())
    except Exception as raised:  # noqa: BLE001  # whatever the device raises is a finding
        return 0.0, f"{type(raised).__name__}: {str(raised)[-300:]}"
    error = float(np.abs(computed - right).max() / max(1.0, np.abs(right).max()))
    return (error, "") if error <= TOLERANCE else (0.0, f"differs by {error}")


def main() -> int:
    import tvm

    began = time.time()
    device = tvm.cuda(0)
    arch = "sm_" + device.compute_version.replace(".", "")
    rng = random.Random(11)
    by_task: dict[str, list[int]] = defaultdict(list)
    for number, (task, _) in enumerate(WORKLOADS):
        by_task[task].append(number)
    jobs = []
    for numbers in by_task.values():
        for number in numbers:
            count = math.ceil(CONFIGS / len(numbers))
            jobs += [(number, config) for config in sample(instantiate(*WORKLOADS[number]), count, rng)]
    counts: dict[str, dict[str, Any]] = {
        task: {"checked": 0, "unbuilt": 0, "failed": 0, "worst": 0.0} for task in by_task
    }
    failures: list[dict[str, Any]] = []
    expected: dict[int, Any] = {}
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool,
    ):
        futures = [pool.submit(build, number, i, config, arch, folder) for i, (number, config) in enumerate(jobs)]
        for future in as_completed(futures):
            number, config, path, problem = future.result()
            task, args = WORKLOADS[number]
            entry, template = counts[task], instantiate(task, args)
            if number not in expected:
                numbers = np.random.default_rng(number)
                inputs = [numbers.uniform(-1, 1, argument[1]).astype("float32") for argument in args[:2]]
                expected[number] = inputs, reference(task, args, inputs)
            inputs, right = expected[number]
            if problem:
                entry["unbuilt"] += 1
            else:
                error, problem = run(template, config, path, inputs, right)
                entry["worst"] = max(entry["worst"], error)
                entry["checked"] += 1
                entry["failed"] += bool(problem)
                Path(path).unlink(missing_ok=True)
            if problem:
                entity = {knob.name: knob.value for knob in config.entity}
                failures.append({"task": task, "args": args, "config": entity, "problem": problem})
    summary = {"arch": arch, "seconds": round(time.time() - began, 1), "templates": counts, "failures": failures[:50]}
    json.dump(summary, sys.stdout, indent=1)
    sys.stdout.write("\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
