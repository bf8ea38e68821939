"""What three minutes of `tophub compile --tune` reach, against twenty, and against another framework.

Each model is compiled as it is, tuned from the same packages for either time, each with an own log of its own, and
the three libraries are timed in turns with the frameworks of `--against`. Ratios below 1 are in favour of `short`.

    python benchmarks/budget.py --models a.onnx b.onnx --folder logs --against onnxruntime=/other/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import geometric_mean, median

from turns import in_turns, prepare_job, ratio

from tophub_registry.compiler.compiler import compile_model
from tophub_registry.devices.device import at_hand
from tophub_registry.devices.threads import settle_threads
from tophub_registry.frontends import read_model
from tophub_registry.proof.tuned import compile_tuned
from tophub_registry.records.target import Target
from tophub_registry.tuner.limit import Limit


def main() -> None:
    """Print a row for each model, then the geometric means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="llvm")
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--short", default="3m")
    parser.add_argument("--long", default="20m")
    parser.add_argument("--against", nargs="*", default=[], metavar="FRAMEWORK=PYTHON")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--folder", type=Path, required=True, help="for the users' own logs, which a second call reuses"
    )
    parser.add_argument("--output", type=Path, help="the times, as JSON")
    options = parser.parse_args()
    settle_threads(None)
    against = {name: python or None for name, _, python in (its.partition("=") for its in options.against)}
    labels = ["short / untuned", "short / long", *(f"short / {name}" for name in against)]
    sys.stdout.write(f"{at_hand(Target.parse(options.target).kind).where}, {options.target}\n\n")
    sys.stdout.write(
        f"| model | trials | untuned, ms | {options.short}, ms | {options.long}, ms | {' | '.join(labels)} |\n"
    )
    sys.stdout.write(f"| --- {'| --- ' * (4 + len(labels))}|\n")
    ratios: dict[str, list[float]] = {label: [] for label in labels}
    everything = {}
    for name in options.models:
        with tempfile.TemporaryDirectory(prefix="tophub-budget-") as scratch:
            model, libraries = read_model(name), {}
            trials = []
            for side, limit in (("untuned", None), ("short", options.short), ("long", options.long)):
                os.environ["HOME"] = str(options.folder.absolute() / f"{Path(name).stem}-{side}")  # where the root is
                if limit is None:
                    compiled = compile_model(model, options.target)
                else:
                    tuned = compile_tuned(model, options.target, Limit.parse(limit))
                    compiled = tuned.compiled
                    trials.append(str(tuned.trials))
                libraries[side] = Path(scratch) / f"{side}.so"
                compiled.export(libraries[side])
            inputs = [(tuple(shape), dtype) for shape, dtype in model.inputs.values()]
            job = prepare_job(name, Path(scratch), options.target) if against else Path(scratch)
            times = everything[name] = in_turns(libraries, inputs, options.target, against, job, options.rounds)
        pairs = [("short", "untuned"), ("short", "long"), *(("short", peer) for peer in against)]
        mine = [ratio(times, *pair) for pair in pairs]
        for label, its in zip(labels, mine, strict=True):
            ratios[label].append(its)
        cells = [" and ".join(trials), *(f"{median(times[side]) * 1e3:.2f}" for side in libraries)]
        cells += [f"{its:.2f}" for its in mine]
        sys.stdout.write(f"| {Path(name).stem} | {' | '.join(cells)} |\n")
        sys.stdout.flush()
        if options.output is not None:
            options.output.write_text(json.dumps(everything))
    means = " | ".join(f"**{geometric_mean(its):.2f}** ({max(its):.2f})" for its in ratios.values())
    sys.stdout.write(f"| geometric mean (worst) | | | | | {means} |\n")


if __name__ == "__main__":
    main()
