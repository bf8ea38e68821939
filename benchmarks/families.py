"""How records fare on other processors, of their family and of another: what the rule of `transfer.py` was fitted to.

`python benchmarks/families.py LOG... --out kernels.csv` times, for each workload of the logs, AutoTVM's default config
and the records', in turns, for code with AVX2 and, where the machine has it, with AVX-512. What was measured before is
not measured again. `python benchmarks/families.py --fit kernels.csv` fits the rule's bounds to half of the workloads
and says how it does on the other half. `families.csv` is what it was fitted to.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean, median

os.environ.setdefault("TVM_NUM_THREADS", str(len(os.sched_getaffinity(0))))

from tophub_registry.devices.processor import processor
from tophub_registry.errors import EnvironmentFailure
from tophub_registry.measurement.measure import Measurer
from tophub_registry.records.families import FAMILIES, PROCESSORS, family_of
from tophub_registry.records.log import read_records
from tophub_registry.records.record import Config, Knob
from tophub_registry.records.target import Target
from tophub_registry.templates.registry import TEMPLATES, instantiate
from tophub_registry.templates.template import Template
from tophub_registry.templates.transfer import fills, transfers

COLUMNS = ("family", "task", "args", "origin", "entity", "seconds")


def measure(logs: list[Path], out: Path, rounds: int) -> None:
    """Time the configs and append a row for each."""
    done = set()
    if out.exists():
        with out.open(newline="") as stream:
            done = {(row["family"], row["task"], row["args"]) for row in csv.DictReader(stream)}
    else:
        out.write_text(",".join(COLUMNS) + "\n")
    records = _records(logs)
    here = FAMILIES.index(family_of(Target.parse(f"llvm -mcpu={processor()}")) or FAMILIES[0])
    for family in FAMILIES[2 : here + 1]:
        with Measurer(Target.parse(f"llvm -mcpu={family}")) as measurer:
            for number, (task, args) in enumerate(sorted(records)):
                if (family, task, args) not in done:
                    _measure(measurer, family, (task, args), records[task, args], rounds, out)
                sys.stderr.write(f"\r{family}: {number + 1} of {len(records)} workloads")


def _records(logs: list[Path]) -> dict[tuple[str, str], list[tuple[str, Config]]]:
    """Return the configs of each workload, with the processors on which they were found."""
    records: dict[tuple[str, str], list[tuple[str, Config]]] = {}
    for record in (record for log in logs for record in read_records(log)):
        if record.valid and record.input.task in TEMPLATES and record.input.task.endswith(".x86"):
            key = record.input.task, json.dumps(record.input.args)
            records.setdefault(key, []).append((record.target.attributes.get("mcpu", ""), record.config))
    return records


def _measure(
    measurer: Measurer,
    family: str,
    workload: tuple[str, str],
    configs: list[tuple[str, Config]],
    rounds: int,
    out: Path,
) -> None:
    task, args = workload
    template = instantiate(task, json.loads(args))
    each = [("default", template.default(measurer.target)), *configs]
    try:
        costs = measurer.compare(template, [config for _, config in each], rounds)
    except EnvironmentFailure as error:
        sys.stderr.write(f"{task} {args}: {error}\n")
        return
    with out.open("a", newline="") as stream:
        for (origin, config), seconds in zip(each, costs, strict=True):
            entity = json.dumps([list(knob) for knob in config.entity])
            csv.writer(stream).writerow([family, task, args, origin, entity, f"{median(seconds):.4g}"])


NOISE = 0.03
"""Two medians of one kernel differ by about so much."""


def fit(path: Path) -> None:
    """Fit the rule's bounds to half of the workloads, and print how it does on the other half."""
    timed: list[Timed] = []
    with path.open(newline="") as stream:
        for row in csv.DictReader(stream):
            if row["origin"] == "default":  # those that were timed in turns with it follow
                default = float(row["seconds"])
                continue
            template = instantiate(row["task"], json.loads(row["args"]))
            index = template.space.find([Knob(*knob) for knob in json.loads(row["entity"])])
            gain = default / float(row["seconds"])
            timed.append(Timed(template, template.space.config(index), row["family"], row["origin"], gain))
    known, unseen = [], []
    for each in timed:
        (known if hashlib.sha256(repr(each.template.args).encode()).digest()[0] % 2 else unseen).append(each)
    tuned = [each for each in known if each.is_of_another_processor]
    bounds = [(share, apart) for share in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6) for apart in (0, 1, 2, 3)]
    best = max(bounds, key=lambda bound: _benefit([each.gain for each in tuned if each.taken(*bound)]))
    sys.stdout.write(f"fitted: at least {best[0]} of the registers hold sums, {best[1]} of them something else\n\n")
    sys.stdout.write("| template | tuned for | timed on | records | rule | taken | gain | worst | losing |\n")
    sys.stdout.write("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
    kinds = sorted({(each.template.task, each.origin, each.family) for each in unseen})
    for task, origin, family in kinds:
        each_of = [each for each in unseen if (each.template.task, each.origin, each.family) == (task, origin, family)]
        for name, taken in (
            ("all", each_of),
            ("fitted", [each for each in each_of if each.taken(*best)]),
            ("in use", [each for each in each_of if each.transfers]),
        ):
            gains = [each.gain for each in taken]
            told = f"{geometric_mean(gains):.2f} | {min(gains):.2f} | {_losing(gains):.0%}" if gains else " | | "
            start = f"| {task} | {origin} | {family} | {len(each_of)} "
            sys.stdout.write(f"{start}| {name} | {len(gains)} | {told} |\n")


@dataclass(frozen=True)
class Timed:
    """A config's speed in terms of the default config's."""

    template: Template
    config: Config
    family: str
    origin: str
    gain: float

    @property
    def is_of_another_processor(self) -> bool:
        """Whether it was found elsewhere than it was timed."""
        return self.origin != self.family

    @property
    def transfers(self) -> bool:
        """Whether the rule in use takes it."""
        target, found_on = (f"llvm -mcpu={each}" for each in (self.family, self.origin))
        return transfers(self.template, self.config, Target.parse(target), Target.parse(found_on))

    def taken(self, share: float, apart: int) -> bool:
        """Return whether a rule with these bounds takes the config."""
        tile, vectors = self.template.register_tile(self.config), PROCESSORS[self.family]
        return tile is not None and fills(tile, vectors, share, apart)


def _benefit(gains: list[float]) -> float:
    """Return what a set of gains is worth: a loss counts ten times."""
    logs = [math.log(gain) for gain in gains]
    return sum(each if each > -NOISE else 10 * each for each in logs)


def _losing(gains: list[float]) -> float:
    return sum(gain < 1 - NOISE for gain in gains) / len(gains)


def main() -> None:
    """Measure, or fit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, default=Path("kernels.csv"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fit", type=Path, help="measure nothing, and fit the rule to what was measured")
    options = parser.parse_args()
    if options.fit:
        fit(options.fit)
        return
    measure(options.logs, options.out, options.rounds)


if __name__ == "__main__":
    main()
