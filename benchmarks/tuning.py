"""Our tuner against real AutoTVM's XGBTuner: the same workloads, as many trials, one thread each.

AutoTVM runs in the old client's environment (hhb-tvm), which is built on the first call. For each workload and
seed it and ours tune in turns; then ours tunes once more with a warm start, from records of other workloads of
the same models. Each run is kept in a folder, so that the comparison goes on where it was interrupted.

Two compilers' costs can't be compared, nor can minutes on a machine at work. So every config that was the best
of a run for a while, and is within a third of that run's best, is compiled by today's TVM and timed in turns with
the other runs'; its fastest turn counts. *Trials needed* is the first trial after which a run's best config, in
that last measurement, is within 5 % of the best of all runs of the workload.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))  # the old client's environment stands beside the tests

from tests.old_client.environment import OldClient, find_or_build
from tophub_registry.devices.device import resolve
from tophub_registry.measurement.measure import Measurer
from tophub_registry.records.log import read_records
from tophub_registry.records.record import Config
from tophub_registry.records.task import Task, TaskFile, tensor
from tophub_registry.templates.registry import instantiate
from tophub_registry.tuner.tune import Plan, tune
from tophub_registry.tuner.warm_start import Experience

TUNERS = ("autotvm", "ours", "warm")

NEAR = 1.05
"""Within 5 % of the best known."""

RELEVANT = 4 / 3
"""Configs that are slower than a run's best by more than this are not timed again: they can't be near the best."""

FOLDER = Path(__file__).parents[1] / ".cache" / "tuning-benchmark"


def _convolution(in_channels: int, out_channels: int, size: int, kernel: int, stride: int = 1) -> Task:
    args = [tensor([1, in_channels, size, size]), tensor([out_channels, in_channels, kernel, kernel])]
    args += [[stride] * 2, [kernel // 2] * 4, [1, 1], "NCHW", "NCHW", "float32"]
    return Task(task="conv2d_NCHWc.x86", args=args)


def _depthwise(channels: int, size: int, stride: int = 1) -> Task:
    args = [tensor([1, channels, size, size]), tensor([channels, 1, 3, 3])]
    args += [[stride] * 2, [1] * 4, [1, 1], "NCHW", "NCHW", "float32"]
    return Task(task="depthwise_conv2d_NCHWc.x86", args=args)


TASKS = [
    _convolution(128, 128, 28, 3),
    _convolution(64, 128, 56, 3, stride=2),
    _depthwise(128, 56),
    _convolution(512, 512, 14, 1),
    _convolution(32, 128, 54, 3),
    _convolution(384, 64, 27, 1),
]
"""Two workloads each of resnet18_v1, mobilenet1.0 and squeezenet1.0. None served to choose the tuner's parameters."""

DONORS = [
    _convolution(64, 64, 56, 3),
    _convolution(128, 256, 28, 3, stride=2),
    _convolution(256, 512, 14, 1),
    _depthwise(512, 14),
    _depthwise(256, 28),
    _convolution(16, 64, 54, 3),
    _convolution(48, 192, 27, 1),
]
"""Others of the same models, from whose records the warm start begins."""

DONOR_TRIALS = 64


class Step(NamedTuple):
    """A new best config of a run: after how many trials, its cost there in seconds, and itself."""

    trial: int
    cost: float
    config: Config


class Run(NamedTuple):
    """One tuner on one workload."""

    trials: int
    seconds: float
    steps: list[Step]

    @property
    def rate(self) -> float:
        """Trials a second."""
        return self.trials / self.seconds

    @property
    def relevant(self) -> list[Step]:
        """The steps near the best, which is the last."""
        return [step for step in self.steps if step.cost <= RELEVANT * self.steps[-1].cost]


class Scores(NamedTuple):
    """A run's last config and its pace, by costs that were all measured in turns."""

    cost: float
    needed: float


def ours(task: Task, plan: Plan, log: Path, experience: Experience | None = None) -> Run:
    """Tune with this project's tuner; the start of Python does not count, here as there."""
    log.unlink(missing_ok=True)
    with Measurer(resolve("llvm")) as measurer:
        tiny = instantiate("dense_nopack.x86", [tensor([1, 16]), tensor([16, 16]), None, "float32"])
        list(measurer.measure(tiny, [tiny.space.config(index) for index in range(8)]))
        start = time.perf_counter()
        (outcome,) = tune([task], measurer.target, log, measurer, plan, experience=experience)
    seconds = time.perf_counter() - start
    steps: list[Step] = []
    for trial, record in enumerate(read_records(log), start=1):
        if record.valid and (not steps or record.mean_cost < steps[-1].cost):
            steps.append(Step(trial, record.mean_cost, record.config))
    return Run(outcome.trials, seconds, steps)


def autotvm(task: Task, plan: Plan, folder: Path, client: OldClient) -> Run:
    """Tune with AutoTVM's XGBTuner in the old client's environment; Python's start does not count."""
    path = folder / "task.json"
    TaskFile(model="benchmark", kind="llvm", shapes={}, tasks=[task]).write(path, overwrite=True)
    arguments: list[Any] = [path, "--trials", plan.trials, "--seed", plan.seed]
    report = client.run("tune", *arguments, timeout=3600, env={"TVM_NUM_THREADS": "1"})["tasks"][0]
    return Run(report["trials"], report["seconds"], list(_steps(report["steps"])))


def _steps(rows: Iterable[list[Any]]) -> Iterator[Step]:
    for trial, cost, config in rows:
        yield Step(trial, cost, Config.model_validate_json(json.dumps(config)))


def kept(path: Path, run: Any) -> Run:
    """Return the run that a file keeps; where there is none, run and keep it."""
    if not path.exists():
        done: Run = run()
        steps = [[step.trial, step.cost, step.config.model_dump()] for step in done.steps]
        path.write_text(json.dumps({"trials": done.trials, "seconds": done.seconds, "steps": steps}))
    content = json.loads(path.read_text())
    return Run(content["trials"], content["seconds"], list(_steps(content["steps"])))


def donors(folder: Path) -> list[Path]:
    """Return the logs of the other workloads, tuned on the first call."""
    logs = []
    for number, task in enumerate(DONORS):
        log = folder / f"donor-{number}.log"
        plan = Plan(trials=DONOR_TRIALS, seed=100 + number)
        kept(log.with_suffix(".json"), lambda task=task, plan=plan, log=log: ours(task, plan, log))
        logs.append(log)
    return logs


def rebuilt(task: Task, runs: Iterable[Run], rounds: int) -> dict[int, float]:
    """Return today's costs of the relevant configs of several runs, by index, in seconds.

    They are timed in turns, and the fastest turn counts: it is what others at work on the machine disturbed least.
    """
    template = instantiate(task.task, task.args)
    configs = {step.config.index: step.config for run in runs for step in run.relevant}
    with Measurer(resolve("llvm")) as measurer:
        costs = measurer.compare(template, list(configs.values()), rounds)
    return {index: min(cost) for index, cost in zip(configs, costs, strict=True)}


def score(run: Run, costs: dict[int, float], best: float) -> Scores:
    """Return a run's last cost, and after how many trials its best config was near the best; infinite if never."""
    near = (step.trial for step in run.relevant if costs[step.config.index] <= NEAR * best)
    return Scores(costs[run.steps[-1].config.index], next(near, math.inf))


def _needed(runs: Iterable[Scores], trials: int) -> float:
    """Return the geometric mean of the trials needed; a run that never came near counts as twice its trials."""
    return statistics.geometric_mean(min(run.needed, 2 * trials) for run in runs)


def compare(trials: int, seeds: int, rounds: int, folder: Path, *, only_kept: bool) -> None:
    """Run what has not been run, unless only what is kept counts, and print the table."""
    client = find_or_build()
    logs = donors(folder)
    everything: dict[str, list[dict[str, Run]]] = {}
    for seed in range(seeds):
        for number, task in enumerate(TASKS):
            plan, name = Plan(trials=trials, seed=seed), f"{number}-{seed}-{trials}"

            def run(tuner: str, task: Task = task, plan: Plan = plan, name: str = name) -> Run:
                if tuner == "autotvm":
                    return autotvm(task, plan, folder, client)
                experience = Experience.read(logs, [task], "llvm", print) if tuner == "warm" else None
                return ours(task, plan, folder / f"{name}-{tuner}.log", experience)

            if only_kept and not all((folder / f"{name}-{tuner}.json").exists() for tuner in TUNERS):
                continue
            runs = {tuner: kept(folder / f"{name}-{tuner}.json", functools.partial(run, tuner)) for tuner in TUNERS}
            everything.setdefault(str(task), []).append(runs)
            print(name, task, {tuner: f"{done.rate:.1f} trials/s" for tuner, done in runs.items()}, flush=True)
    _report(everything, trials, rounds, folder)


def _report(everything: dict[str, list[dict[str, Run]]], trials: int, rounds: int, folder: Path) -> None:
    """Print the table and write the curves."""
    rates, measured, costs_cold, costs_warm, needed_cold, needed_warm = [], [], [], [], [], []
    print(
        f"\n{trials} trials a workload, one thread, {resolve('llvm')}; needed: trials to within 5 % of the best known"
    )
    print(f"{'workload':48} {'trials/s':>17} {'after all trials':>22} {'needed':>26}")
    print(f"{'':48} {'ours':>6} {'theirs':>6} {'':>3} {'measured':>8} {'rebuilt':>7} {'warm':>6}", end="")
    print(f" {'theirs':>8} {'ours':>8} {'warm':>8}")
    rows: list[list[object]] = []
    for task in TASKS:
        runs = everything[str(task)]
        today = rebuilt(task, [run for by_name in runs for run in by_name.values()], rounds)
        best = min(today.values())
        scores = {name: [score(by_name[name], today, best) for by_name in runs] for name in runs[0]}
        for seed, by_name in enumerate(runs):
            for name, run in by_name.items():
                steps = ((step.trial, step.cost, today.get(step.config.index, "")) for step in run.steps)
                rows += [[str(task), seed, name, *step] for step in steps]

        def ratio(name: str, scores: dict[str, list[Scores]] = scores) -> float:
            pairs = zip(scores[name], scores["autotvm"], strict=True)
            return statistics.geometric_mean(mine.cost / theirs.cost for mine, theirs in pairs)

        mine = statistics.geometric_mean(by_name["ours"].rate for by_name in runs)
        theirs = statistics.geometric_mean(by_name["autotvm"].rate for by_name in runs)
        rates.append(mine / theirs)
        measured.append(
            statistics.geometric_mean(
                by_name["ours"].steps[-1].cost / by_name["autotvm"].steps[-1].cost for by_name in runs
            )
        )
        costs_cold.append(ratio("ours"))
        costs_warm.append(ratio("warm"))
        needed = {name: _needed(its, trials) for name, its in scores.items()}
        needed_cold.append(needed["ours"] / needed["autotvm"])
        needed_warm.append(needed["warm"] / needed["autotvm"])
        print(
            f"{task!s:48} {mine:6.1f} {theirs:6.1f} {'':>3} {measured[-1]:8.3f} {costs_cold[-1]:7.3f} "
            f"{costs_warm[-1]:6.3f} {needed['autotvm']:8.1f} {needed['ours']:8.1f} {needed['warm']:8.1f}",
            flush=True,
        )
    columns = (rates, measured, costs_cold, costs_warm, needed_cold, needed_warm)
    rate, *means = [statistics.geometric_mean(column) for column in columns]
    print(
        f"{'ratio to AutoTVM, geometric mean':48} {rate:6.2f} {'':>10} {means[0]:8.3f} {means[1]:7.3f} {means[2]:6.3f}",
        end="",
    )
    print(f" {'':>8} {means[3]:8.2f} {means[4]:8.2f}")
    print("aim: 3 times the trials per second; cost at most 1.00; trials needed at most 0.50, warm at most 0.25")
    with (folder / "curves.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["workload", "seed", "tuner", "trial", "cost as measured, s", "cost rebuilt, s"])
        writer.writerows(rows)
    print(f"curves: {folder / 'curves.csv'}")


def main() -> None:
    """Run the comparison and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=25, help="how often each config is timed in turns at the end")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where runs are kept; delete it to begin anew")
    parser.add_argument("--only-kept", action="store_true", help="tune nothing, compare what was run before")
    options = parser.parse_args()
    os.environ["TVM_NUM_THREADS"] = "1"
    options.folder.mkdir(parents=True, exist_ok=True)
    compare(options.trials, options.seeds, options.rounds, options.folder, only_kept=options.only_kept)


if __name__ == "__main__":
    main()
