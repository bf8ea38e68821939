"""How soon tuning finds a good config: with nothing, with a package's records, with these and a cost model.

From each model the heaviest layer is tuned three times, in turns: without warm start; with the package's records of
other models' layers; and with a cost model too, learned from the trials of other models' layers. Reported is what the
best config so far takes, relative to the best that any of the runs found, after so many trials; and *needed*, the
first trial after which that is at most 1.05.

    python benchmarks/first_trials.py --target "cuda -model=h100" --log cuda_v0.13.log --trials tools/trials/*.log.gz
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from statistics import geometric_mean, median

from tophub_registry.cost_model.learning import learn
from tophub_registry.devices.device import at_hand, resolve
from tophub_registry.devices.threads import settle_threads
from tophub_registry.frontends import read_model
from tophub_registry.measurement.measure import Measurer
from tophub_registry.records.log import read_records
from tophub_registry.records.record import Record
from tophub_registry.records.task import Task
from tophub_registry.templates.registry import instantiate
from tophub_registry.tuner.tune import Plan, supported, tune
from tophub_registry.tuner.warm_start import Experience

MODELS = (
    "resnet18_v1",
    "mobilenet1.0",
    "mobilenetv3_large",
    "squeezenet1.0",
    "inceptionv3",
    "densenet121",
    "simple_pose_resnet18_v1b",
    "ssd_512_resnet50_v1_voc",
)

SIDES = ("nothing", "records", "records and model")

AFTER = (1, 2, 4, 8, 16, 32, 64)

NEAR = 1.05


def experience(side: str, log: Path, trials: Sequence[Path], own: set[str], kind: str) -> Experience:
    """Return what a side knows, without what was measured for the model's own workloads."""

    def others(paths: Iterable[Path]) -> list[Record]:
        return [record for path in paths for record in read_records(path) if record.workload not in own]

    known = Experience(learn(others(trials), kind) if side == "records and model" else None)
    for record in others([log]) if side != "nothing" else ():
        known.add(record)
    return known


def heaviest(tasks: Sequence[Task], known: set[str], chosen: set[str]) -> Task:
    """Return the task that computes most, of those that the package has records of and that are not chosen yet."""
    possible = [task for task in tasks if task.workload in known and task.workload not in chosen]
    return max(possible, key=lambda task: task.count * instantiate(task.task, task.args).flop)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="llvm")
    parser.add_argument("--log", type=Path, required=True, help="the package's log")
    parser.add_argument("--trials", type=Path, nargs="+", required=True, help="what the cost model learns from")
    parser.add_argument("--models", nargs="+", default=[*MODELS])
    parser.add_argument("--each", type=int, default=AFTER[-1], help="trials of each run")
    parser.add_argument("--batch", type=int, help="configs per batch")
    parser.add_argument("--output", type=Path, help="the costs of all trials, as JSON")
    options = parser.parse_args()
    settle_threads(None)
    target = resolve(options.target)
    known = {record.workload for record in read_records(options.log)}
    sys.stdout.write(f"{at_hand(target.kind).where}, {target}\n\n| workload | best, µs | {' | '.join(SIDES)} |\n")
    sys.stdout.write(f"| --- {'| --- ' * (1 + len(SIDES))}|\n")
    curves: dict[str, dict[str, list[float]]] = {}
    chosen: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="tophub-first-trials-") as scratch, Measurer(target) as measurer:
        for model in options.models:
            tasks, _ = supported(read_model(model).tasks(target.kind, own=True).tasks)
            task = heaviest(tasks, known, chosen)
            chosen.add(task.workload)
            own = {each.workload for each in tasks}
            found = {}
            for side in SIDES:
                log = Path(scratch) / f"{len(chosen)}-{side}.log"
                knows = experience(side, options.log, options.trials, own, target.kind)
                tune([task], target, log, measurer, Plan(options.each, batch=options.batch), experience=knows)
                costs = [record.mean_cost if record.valid else math.inf for record in read_records(log)]
                found[side] = [*accumulate(costs, min)]
            curves[str(task)] = found
            best = min(each[-1] for each in found.values())
            needed = [str(first(found[side], best)) for side in SIDES]
            sys.stdout.write(f"| {task} | {best * 1e6:.1f} | {' | '.join(needed)} |\n")
            sys.stdout.flush()
            if options.output is not None:
                options.output.write_text(json.dumps(curves))
    summary(curves, options.each)


def first(curve: Sequence[float], best: float) -> int | str:
    """Return the number of the first trial whose best is near the best of all."""
    return next((number for number, cost in enumerate(curve, 1) if cost <= NEAR * best), f"over {len(curve)}")


def summary(curves: dict[str, dict[str, list[float]]], each: int) -> None:
    """Print the median of the trials needed, and the geometric means after so many trials."""
    needed: dict[str, list[float]] = {side: [] for side in SIDES}
    for found in curves.values():
        best = min(curve[-1] for curve in found.values())
        for side, curve in found.items():
            number = first(curve, best)
            needed[side].append(number if isinstance(number, int) else math.inf)
    medians = " | ".join(f"**{median(needed[side]):g}**" for side in SIDES)
    sys.stdout.write(f"| median | | {medians} |\n\n| after | {' | '.join(SIDES)} |\n| --- {'| --- ' * len(SIDES)}|\n")
    for number in (count for count in AFTER if count <= each):
        means = []
        for side in SIDES:
            ratios = [
                found[side][min(number, len(found[side])) - 1] / min(curve[-1] for curve in found.values())
                for found in curves.values()
            ]
            means.append(f"{geometric_mean(ratios):.2f}" if all(map(math.isfinite, ratios)) else "failed")
        sys.stdout.write(f"| {number} | {' | '.join(means)} |\n")


if __name__ == "__main__":
    main()
