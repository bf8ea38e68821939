"""Our tuner against real AutoTVM's XGBTuner: the same workloads, the same number of trials, one thread each.

AutoTVM runs in the old client's environment (hhb-tvm), which is built on the first call. For each workload
and seed both tune in turns. Printed are trials per second, and the best cost twice: as each tuner measured it,
and with both best configs compiled by today's TVM and timed in turns, which leaves out the two compilers'
difference. Ratios are ours over theirs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))  # the old client's environment stands beside the tests

from tests.old_client.environment import OldClient, find_or_build
from tophub_registry.records.log import read_records
from tophub_registry.records.record import Config
from tophub_registry.records.task import Task, TaskFile, tensor
from tophub_registry.templates.registry import instantiate
from tophub_registry.tuner.device import resolve
from tophub_registry.tuner.measure import Measurer
from tophub_registry.tuner.tune import Plan, tune


def _convolution(in_channels: int, out_channels: int, size: int, kernel: int, stride: int) -> Task:
    args = [tensor([1, in_channels, size, size]), tensor([out_channels, in_channels, kernel, kernel])]
    args += [[stride] * 2, [kernel // 2] * 4, [1, 1], "NCHW", "NCHW", "float32"]
    return Task(task="conv2d_NCHWc.x86", args=args)


TASKS = [_convolution(64, 64, 56, 3, 1), _convolution(128, 256, 28, 3, 2), _convolution(256, 512, 14, 1, 2)]
"""Three workloads of resnet18_v1: the most frequent, one with a stride, and a pointwise one."""


class Run(NamedTuple):
    """One tuner on one workload."""

    rate: float
    cost: float
    config: Config


def ours(task: Task, trials: int, seed: int, folder: Path) -> Run:
    """Tune with this project's tuner; the start of Python does not count, here as there."""
    log = folder / "ours.log"
    log.unlink(missing_ok=True)
    with Measurer(resolve("llvm")) as measurer:
        tiny = instantiate("dense_nopack.x86", [tensor([1, 16]), tensor([16, 16]), None, "float32"])
        list(measurer.measure(tiny, [tiny.space.config(index) for index in range(8)]))
        start = time.perf_counter()
        (outcome,) = tune([task], measurer.target, log, measurer, Plan(trials=trials, seed=seed))
    seconds = time.perf_counter() - start
    best = min((record for record in read_records(log) if record.valid), key=lambda record: record.mean_cost)
    return Run(outcome.trials / seconds, best.mean_cost, best.config)


def autotvm(task: Task, trials: int, seed: int, folder: Path, client: OldClient) -> Run:
    """Tune with AutoTVM's XGBTuner in the old client's environment; Python's start does not count."""
    path = folder / "tasks.json"
    TaskFile(model="benchmark", kind="llvm", shapes={}, tasks=[task]).write(path, overwrite=True)
    arguments: list[Any] = [path, "--trials", trials, "--seed", seed]
    report = client.run("tune", *arguments, timeout=3600, env={"TVM_NUM_THREADS": "1"})["tasks"][0]
    config = Config.model_validate_json(json.dumps(report["config"]))
    return Run(report["trials"] / report["seconds"], report["best_cost"], config)


def rebuilt(task: Task, runs: tuple[Run, Run], rounds: int = 15) -> float:
    """Return the ratio of the two best configs' times, both compiled by today's TVM and timed in turns."""
    template = instantiate(task.task, task.args)
    with Measurer(resolve("llvm"), workers=1) as measurer:
        mine, theirs = measurer.compare(template, [run.config for run in runs], rounds)
    return statistics.median(a / b for a, b in zip(mine, theirs, strict=True))


def main() -> None:
    """Run the comparison and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=96)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    os.environ["TVM_NUM_THREADS"] = "1"
    client = find_or_build()
    rates, costs, configs = [], [], []
    print(f"{options.trials} trials a workload, one thread, {resolve('llvm')}")
    print(f"{'workload':52} {'trials/s':>15} {'ratio':>6} {'best cost, ms':>17} {'ratio':>6} {'rebuilt':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            for task in TASKS:
                mine = ours(task, options.trials, seed, Path(folder))
                theirs = autotvm(task, options.trials, seed, Path(folder), client)
                rates.append(mine.rate / theirs.rate)
                costs.append(mine.cost / theirs.cost)
                configs.append(rebuilt(task, (mine, theirs)))
                print(
                    f"{task!s:52} {mine.rate:7.1f} {theirs.rate:7.1f} {rates[-1]:6.2f} "
                    f"{mine.cost * 1e3:8.4f} {theirs.cost * 1e3:8.4f} {costs[-1]:6.3f} {configs[-1]:8.3f}",
                    flush=True,
                )
    means = [statistics.geometric_mean(values) for values in (rates, costs, configs)]
    print(f"{'geometric mean':52} {means[0]:22.2f} {means[1]:24.3f} {means[2]:8.3f}")
    print("aim: at least 2 times the trials per second, best cost at most 1.05 times")


if __name__ == "__main__":
    main()
