"""What upstream's records compute on a real device, against NumPy.

`PYTHONPATH=. python -m tests.gpu.check_upstream cuda_v0.08.log`: 200 random records of the log, of those whose
template exists and whose config its space has, built and run; all of them if there are fewer. `tensorcore.log` has 50
of AutoTVM's templates for tensor cores, at batch 8. Prints a summary as JSON and ends with 1 where a kernel does not
build, does not run, or computes something else.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from tests.gpu.check import Job, main
from tophub_registry.records.log import read_records
from tophub_registry.records.record import Record
from tophub_registry.templates.registry import TEMPLATES
from tophub_registry.templates.validation import check_space

RECORDS = 200
SEED = 17


def sound(record: Record) -> bool:
    """Whether there is a template, and the config is a point of its space."""
    return record.input.task in TEMPLATES and all(finding.severity != "error" for finding in check_space(record))


def choose(log: Path, count: int = RECORDS) -> list[Job]:
    """Return random records of a log, the same ones each time."""
    records = [record for record in read_records(log) if sound(record)]
    chosen = random.Random(SEED).sample(records, min(count, len(records)))
    return [Job(record.input.task, record.input.args, record.config) for record in chosen]


if __name__ == "__main__":
    path = Path(sys.argv[1])
    sys.exit(main(lambda: choose(path), log=path.name))
