"""What a package is worth for models that nobody tuned: each model in turn is taken out of it.

Its workloads' records leave the package's log, and their trials what the cost model learns from. The model is compiled
with what is left, and timed in turns with itself tuned (the whole package): `zero-trial` with the log and the cost
model, `neighbour` with the log alone, `default` with neither. Ratios are to the tuned model's time; above 1 is slower.

    python benchmarks/transfer.py --target "cuda -model=h100" --log cuda_v0.13.log --trials tools/trials/*.log.gz

The models' weights are random. `--processes` compiles several at once. With `--against pytorch` another framework takes
its turns too, in a process of its own: `zero-trial / pytorch` is below 1 where ours is faster.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import geometric_mean, median
from typing import NamedTuple

from turns import in_turns, prepare_job, ratio

from tophub_registry.devices.device import at_hand
from tophub_registry.devices.threads import settle_threads
from tophub_registry.errors import TophubError
from tophub_registry.records.target import Target

MODELS = (
    "resnet18_v1",
    "resnet50_v1",
    "mobilenet1.0",
    "mobilenetv2_1.0",
    "mobilenetv3_large",
    "shufflenet_v1",
    "squeezenet1.0",
    "densenet121",
    "inceptionv3",
    "ssd_512_resnet50_v1_voc",
    "yolo3_mobilenet1.0_voc",
    "fcn_resnet50_voc",
    "simple_pose_resnet18_v1b",
)
"""Classifiers, two of them for mobile devices, two detectors, a segmentation network and a pose network."""

SIDES = ("tuned", "zero-trial", "neighbour", "default")


class Given(NamedTuple):
    """What each process needs to know.

    Attributes
    ----------
    target, log, trials
        As on the command line.
    folder
        Where libraries go.
    sides
        Which of `SIDES` to compile.
    against
        Frameworks to compare with.
    """

    target: str
    log: Path
    trials: tuple[Path, ...]
    folder: Path
    sides: tuple[str, ...]
    against: tuple[str, ...]


class Built(NamedTuple):
    """A model's libraries by side, its inputs, and how many layers lack a record once its own are gone."""

    name: str
    libraries: dict[str, Path]
    inputs: list[tuple[tuple[int, ...], str]]
    without: int
    layers: int
    job: Path


def build(name: str, given: Given) -> Built:
    """Compile one model for each side."""
    from tophub_registry.compiler.compiler import compile_model
    from tophub_registry.cost_model.learning import learn
    from tophub_registry.frontends import read_model
    from tophub_registry.records.log import read_records, write_log

    model = read_model(name)
    kind = Target.parse(given.target).kind
    own = {task.workload for task in model.tasks(kind, own=True).tasks}
    stem = Path(name).stem
    folder = given.folder / stem
    folder.mkdir()
    rest = folder / "rest.log"
    write_log(rest, [record for record in read_records(given.log) if record.workload not in own])
    alone = folder / "alone" / "rest.log"
    alone.parent.mkdir()
    alone.write_bytes(rest.read_bytes())
    if given.trials and "zero-trial" in given.sides:
        trials = [each for path in given.trials for each in read_records(path) if each.workload not in own]
        learn(trials, kind).write(folder / "rest.model.json")
    logs = {"tuned": [given.log], "zero-trial": [rest], "neighbour": [alone], "default": []}
    libraries, layers, without = {}, 0, 0
    for side in given.sides:
        compiled = compile_model(model, given.target, records=logs[side])
        libraries[side] = given.folder / f"{stem}.{side}.so"
        compiled.export(libraries[side])
        if side != "tuned":  # which is the same for all
            layers = sum(layer.kernel is not None for layer in compiled.layers)
            without = sum(not layer.match.recorded for layer in compiled.layers if layer.kernel is not None)
    inputs = [(tuple(shape), dtype) for shape, dtype in model.inputs.values()]
    if given.against:
        prepare_job(name, folder, given.target)
    return Built(name, libraries, inputs, without, layers, folder)


def main() -> None:
    """Print a row for each model, then the geometric means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="llvm")
    parser.add_argument("--log", type=Path, required=True, help="the package's log")
    parser.add_argument("--trials", type=Path, nargs="*", default=[], help="what the cost model learns from")
    parser.add_argument("--models", nargs="+", default=[*MODELS])
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=[*SIDES])
    parser.add_argument("--against", nargs="*", default=[], help="frameworks to compare with, such as pytorch")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, help="the times, as JSON")
    options = parser.parse_args()
    settle_threads(None)
    others = [side for side in SIDES if side in options.sides and side != "tuned"]
    sys.stdout.write(f"{at_hand(Target.parse(options.target).kind).where}, {options.target}\n\n")
    compared = [*others, *(f"{others[0]} / {name}" for name in options.against)]
    sys.stdout.write(
        f"| model | without a record | tuned, ms | {' | '.join(compared)} |\n| --- {'| --- ' * (2 + len(compared))}|\n"
    )
    ratios: dict[str, list[float]] = {side: [] for side in compared}
    everything = {}
    with (
        tempfile.TemporaryDirectory(prefix="tophub-transfer-") as scratch,
        ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool,
    ):
        given = Given(
            options.target,
            options.log,
            tuple(options.trials),
            Path(scratch),
            ("tuned", *others),
            tuple(options.against),
        )
        building = {name: pool.submit(build, name, given) for name in options.models}
        pool.shutdown(wait=True)  # nothing is compiled while models are timed
        for name, future in building.items():
            try:
                built = future.result()
                times = everything[name] = in_turns(
                    built.libraries,
                    built.inputs,
                    options.target,
                    dict.fromkeys(options.against),
                    built.job,
                    options.rounds,
                )
            except TophubError as error:
                sys.stdout.write(f"| {Path(name).stem} | {error} |\n")
                continue
            pairs = {side: (side, "tuned") for side in others}
            pairs |= {f"{others[0]} / {peer}": (others[0], peer) for peer in options.against}
            mine = {label: ratio(times, *pair) for label, pair in pairs.items()}
            for side, its in mine.items():
                ratios[side].append(its)
            cells = [f"{built.without} of {built.layers}", f"{median(times['tuned']) * 1e3:.3f}"]
            cells += [f"{mine[label]:.2f}" for label in compared]
            sys.stdout.write(f"| {Path(name).stem} | {' | '.join(cells)} |\n")
            sys.stdout.flush()
            if options.output is not None:
                options.output.write_text(json.dumps(everything))
    means = " | ".join(f"**{geometric_mean(its):.2f}** ({max(its):.2f})" for its in ratios.values() if its)
    sys.stdout.write(f"| geometric mean (worst) | | | {means} |\n")


if __name__ == "__main__":
    main()
