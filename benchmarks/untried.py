"""Winograd's default config against the direct convolutions' records: what a log of AutoTVM's templates alone misses.

`python benchmarks/untried.py registry_data/llvm_v0.09.log --mcpu x86-64-v3` times, for each 3x3 layer of which the log
has a direct record for that processor, the record's kernel and Winograd's with its default config, and prints the ratio
of their fastest runs: below 1 Winograd wins. `TOPHUB_PROCESSOR` lets a lesser processor stand in for this machine's.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median

from tophub_registry.devices.device import at_hand, resolve
from tophub_registry.measurement.measure import Measurer
from tophub_registry.records.log import read_records
from tophub_registry.records.record import Record
from tophub_registry.records.task import describe
from tophub_registry.templates.registry import instantiate
from tophub_registry.templates.untried import DIRECT, WINOGRAD, expected_share

_ROUNDS = 9


def direct_records(log: Path, processor: str) -> list[Record]:
    """Return the best direct record of each layer that Winograd's template computes too, the slowest first."""
    best: dict[str, Record] = {}
    for record in read_records(log):
        args = record.input.args
        if record.input.task != DIRECT or record.target.attributes.get("mcpu") != processor or not record.valid:
            continue
        square = args[1][1][2:] == [3, 3] and args[2] == args[4] == [1, 1]
        known = best.get(record.workload)
        if square and (known is None or record.mean_cost < known.mean_cost):
            best[record.workload] = record
    return sorted(best.values(), key=lambda record: -record.mean_cost)


def main() -> None:
    """Print a row for each layer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("--mcpu", default="znver4", help="the processor of the records")
    given = parser.parse_args()
    here = resolve("llvm")
    print(f"{at_hand('llvm').where}, {here}\n\n| layer | direct, µs | Winograd, µs | ratio | large |")
    print("| --- | --- | --- | --- | --- |")
    ratios = []
    with Measurer(here) as measurer:
        for record in direct_records(given.log, given.mcpu):
            direct, winograd = (instantiate(task, record.input.args) for task in (DIRECT, WINOGRAD))
            (tuned,) = measurer.compare(direct, [record.config], _ROUNDS)
            (default,) = measurer.compare(winograd, [winograd.default(here)], _ROUNDS)
            ratio, large = min(default) / min(tuned), expected_share(winograd, direct) is not None
            ratios += [ratio] if large else []
            row = describe(DIRECT, record.input.args), f"{min(tuned) * 1e6:.0f}", f"{min(default) * 1e6:.0f}"
            print("|", " | ".join([*row, f"{ratio:.2f}", "yes" if large else ""]), "|", flush=True)
    print(f"\n{len(ratios)} large layers: median {median(ratios):.2f}, at most {max(ratios):.2f}")


if __name__ == "__main__":
    main()
