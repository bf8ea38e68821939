"""Real AutoTVM's tuner: `tune.py TASKS --trials N --seed N …`.

TASKS is a file with `tasks`, each with `task` and `args`. Tunes each of them with XGBTuner (or, with `--tuner`,
RandomTuner) on this machine, on one thread: hhb-tvm's runtime knows no more. For each task it says the trials made
and failed, the seconds that they took, the best mean cost in seconds with its entity, the curve: after each
trial, `[seconds since the start, best mean cost so far]`, and the steps down: `[trial, mean cost, config]`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tvm
from tvm import autotvm, topi  # noqa: F401  # topi registers the templates
from tvm.autotvm.measure import LocalBuilder, LocalRunner
from tvm.autotvm.measure.measure_methods import request_remote
from tvm.autotvm.tuner import RandomTuner, XGBTuner
from tvm.target.codegen import llvm_get_system_cpu

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def load_module(remote_kwargs: dict[str, Any], build_result: Any) -> Iterator[tuple[Any, Any]]:
    """Load a kernel by the server's own function: the session's is one that hhb-tvm lacks."""
    remote = request_remote(**remote_kwargs)
    remote.upload(build_result.filename)
    name = Path(build_result.filename).name
    try:
        yield remote, remote.get_function("tvm.rpc.server.load_module")(name)
    finally:
        remote.remove(build_result.filename)
        remote.remove(str(Path(build_result.filename).with_suffix(".so")))
        remote.remove("")


def tuples(value: Any) -> Any:
    """AutoTVM hashes arguments, so that lists won't do."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value


def tune(description: dict[str, Any], target: tvm.target.Target, options: argparse.Namespace) -> dict[str, Any]:
    random.seed(options.seed)
    np.random.seed(options.seed)  # noqa: NPY002  # AutoTVM draws from the global generator
    task = autotvm.task.create(description["task"], tuples(description["args"]), target=target)
    measure = autotvm.measure_option(
        builder=LocalBuilder(timeout=options.timeout, n_parallel=options.builders, do_fork=True),
        runner=LocalRunner(
            timeout=options.timeout,
            number=options.number,
            repeat=options.repeat,
            min_repeat_ms=options.min_repeat_ms,
            cooldown_interval=options.cooldown,
            module_loader=load_module,
        ),
    )
    tuner = (
        RandomTuner(task)
        if options.tuner == "random"
        else XGBTuner(task, loss_type="rank", feature_type=options.features, plan_size=options.plan_size, num_threads=1)
    )
    curve: list[list[float | None]] = []
    steps: list[tuple[int, float, Any]] = []
    errors: dict[int, int] = {}
    best: tuple[float, Any] = (float("inf"), None)
    start = time.perf_counter()

    def note(_: Any, inputs: list[Any], results: list[Any]) -> None:
        nonlocal best
        for measured, result in zip(inputs, results, strict=True):
            if result.error_no:
                errors[result.error_no] = errors.get(result.error_no, 0) + 1
            else:
                mean = float(np.mean(result.costs))
                if mean < best[0]:
                    best = mean, measured.config
                    steps.append((len(curve) + 1, mean, measured.config.to_json_dict()))
            curve.append([time.perf_counter() - start, best[0] if best[1] else None])

    tuner.tune(min(options.trials, len(task.config_space)), measure, callbacks=[note])
    return {
        "task": description["task"],
        "args": description["args"],
        "trials": len(curve),
        "errors": errors,
        "seconds": time.perf_counter() - start,
        "best_cost": best[0] if best[1] else None,
        "gflops": task.flop / best[0] / 1e9 if best[1] else None,
        "config": best[1].to_json_dict() if best[1] else None,
        "curve": curve,
        "steps": steps,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks", type=Path)
    parser.add_argument("--target", help="default: this machine's processor")
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tuner", choices=("xgb", "random"), default="xgb")
    parser.add_argument("--features", choices=("itervar", "knob", "curve"), default="itervar")
    parser.add_argument("--plan-size", type=int, default=64)
    parser.add_argument("--builders", type=int, default=os.cpu_count())
    parser.add_argument("--timeout", type=int, default=10)
    parser.add_argument("--number", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--min-repeat-ms", type=int, default=0)
    parser.add_argument("--cooldown", type=float, default=0.1)
    options = parser.parse_args()
    name = options.target or f"llvm -mtriple=x86_64-linux-gnu -mcpu={llvm_get_system_cpu()}"
    target = tvm.target.Target(name)
    tasks = json.loads(options.tasks.read_text())["tasks"]
    report = {"target": name, "tasks": [tune(task, target, options) for task in tasks]}
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
