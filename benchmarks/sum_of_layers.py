"""What the records of a model's layers add up to, against what the whole model takes.

A ratio near 1 says that kernels are measured as the model runs them. It is above 1 by what is no kernel of a layer
(pooling, softmax, changes of layout), and by what a kernel has more to do in the model: bias, activation, shortcut.
`python benchmarks/sum_of_layers.py --log mine.log` takes the records of a log instead of the package's; a model may
also be a file, such as a Relax module in JSON. With `--again` the records' kernels are timed in this run, too: a shared
machine may be faster or slower than on the day of the records.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from math import exp, log
from pathlib import Path
from statistics import fmean, median

from tophub_registry.compiler.compiler import compile_model
from tophub_registry.devices.device import at_hand
from tophub_registry.measurement.measure import Measurer
from tophub_registry.records.record import Record
from tophub_registry.records.target import Target
from tophub_registry.templates.registry import instantiate

_ROUNDS = 5

MODELS = [
    "resnet18_v1",
    "resnet34_v1",
    "resnet50_v1",
    "mobilenet1.0",
    "mobilenetv2_1.0",
    "squeezenet1.0",
    "densenet121",
    "inceptionv3",
    "vgg16",
    "simple_pose_resnet18_v1b",
]


def timed_again(records: Sequence[Record], target: Target) -> list[float]:
    """Return the median time of each record's kernel now, in seconds."""
    times: dict[str, float] = {}
    with Measurer(target) as measurer:
        for record in records:
            if record.workload not in times:
                template = instantiate(record.input.task, record.input.args)
                (costs,) = measurer.compare(template, [record.config], _ROUNDS)
                times[record.workload] = median(costs)
    return [times[record.workload] for record in records]


def main() -> None:
    """Print a row for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--target", default="llvm")
    parser.add_argument("--log", type=Path, action="append", help="a log instead of the package")
    parser.add_argument("--runs", type=int, default=51)
    parser.add_argument("--again", action="store_true", help="time the records' kernels in this run")
    options = parser.parse_args()
    ratios = []
    sys.stdout.write(f"{at_hand(options.target.split()[0]).where}, {options.target}\n\n")
    sys.stdout.write(
        "| model | layers with a record | records, ms | model, ms | ratio |\n| --- | --- | --- | --- | --- |\n"
    )
    for name in options.models:
        compiled = compile_model(name, options.target, records=options.log)
        records = compiled.records
        costs = timed_again(records, compiled.target) if options.again else [record.mean_cost for record in records]
        total, run = sum(costs), median(compiled.benchmark(repeats=options.runs))
        ratios.append(run / total)
        with_record = f"{len(records)} of {len(compiled.layers)}"
        row = f"| {Path(name).stem} | {with_record} | {total * 1e3:.3f} | {run * 1e3:.3f} | {run / total:.3f} |\n"
        sys.stdout.write(row)
        sys.stdout.flush()
    sys.stdout.write(f"\ngeometric mean {exp(fmean(map(log, ratios))):.3f}, {min(ratios):.3f} to {max(ratios):.3f}\n")


main()
