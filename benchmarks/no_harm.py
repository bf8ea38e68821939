"""Whole models with the shipped package against the same models without any record: no package may make one slower.

`python benchmarks/no_harm.py` times both in turns in one process, and prints the ratio of each pair's medians: above 1
the package helps. `--target "llvm -mcpu=x86-64-v3"` asks for another family's code, if the machine can run it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("TVM_NUM_THREADS", str(len(os.sched_getaffinity(0))))

from tophub_registry.compiler.compiler import CompiledModel, compile_model
from tophub_registry.devices.processor import described
from tophub_registry.frontends import read_model

MODELS = [
    "cifar_resnet20_v1",
    "resnet18_v1",
    "resnet50_v1",
    "mobilenet1.0",
    "mobilenetv2_1.0",
    "squeezenet1.0",
    "se_resnext50_32x4d",
    "densenet121",
    "inceptionv3",
    "vgg16",
    "ssd_512_resnet50_v1_voc",
    "simple_pose_resnet18_v1b",
    "mobilenetv3_large",
]
"""Those of the README's tables, and two more for whose layers the package has hardly any record."""


def in_turns(models: list[CompiledModel], rounds: int, seconds: float) -> list[list[float]]:
    """Return the times of whole runs: a few of one model, a few of the next, over and over."""
    once = max(min(model.benchmark(repeats=2)) for model in models)
    repeats = max(3, round(seconds / once))
    times: list[list[float]] = [[] for _ in models]
    for turn in range(rounds):
        for place in range(len(models)) if turn % 2 else reversed(range(len(models))):
            times[place].append(median(models[place].benchmark(repeats=repeats)))
    return times


def main() -> None:
    """Print a row for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--target", default="llvm")
    parser.add_argument("--log", type=Path, action="append", help="a log instead of the package")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each model's turn")
    parser.add_argument("--json", type=Path, help="append each outcome to this file")
    options = parser.parse_args()
    sys.stdout.write(f"{described()}, {os.environ['TVM_NUM_THREADS']} threads, {options.target}\n\n")
    sys.stdout.write(
        "| model | layers by records | shipped, ms | no records, ms | gain |\n| --- | --- | --- | --- | --- |\n"
    )
    for name in options.models:
        began = time.monotonic()
        model = read_model(name)
        shipped = compile_model(model, options.target, records=options.log)
        bare = compile_model(model, options.target, records=[])
        with_records, without = in_turns([shipped, bare], options.rounds, options.seconds)
        gain = median(b / a for a, b in zip(with_records, without, strict=True))
        used = f"{sum(layer.match.recorded for layer in shipped.layers)} of {len(shipped.layers)}"
        shipped_ms, bare_ms = median(with_records) * 1e3, median(without) * 1e3
        sys.stdout.write(f"| {name} | {used} | {shipped_ms:.2f} | {bare_ms:.2f} | {gain:.3f} |\n")
        sys.stdout.flush()
        if options.json:
            outcome = {"model": name, "target": str(shipped.target), "gain": gain}
            outcome |= {"with": with_records, "without": without}
            with options.json.open("a") as stream:
                stream.write(json.dumps(outcome) + "\n")
        sys.stderr.write(f"{name}: {time.monotonic() - began:.0f} s\n")


if __name__ == "__main__":
    main()
