"""A framework's process: loads the model, then times as many runs as each input line asks for.

It answers each line by one line of JSON. The first comes by itself when the model is loaded and was run.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tophub_registry.bench.job import Job
from tophub_registry.bench.prepared import write_arrays
from tophub_registry.bench.runner import Runner
from tophub_registry.bench.runners import RUNNERS
from tophub_registry.errors import TophubError


def main(framework: str, folder: Path) -> None:
    """Serve until the input ends."""
    # Frameworks print to standard output: that goes to standard error, and the answers to the original output.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)

        def answer(content: dict[str, object]) -> None:
            answers.write(json.dumps(content) + "\n")
            answers.flush()

        try:
            runner = _load(framework, folder)
        except TophubError as error:
            answer({"failure": str(error)})
            return
        except Exception as error:  # frameworks raise anything, and the others go on
            answer({"failure": f"{type(error).__name__}: {_first_line(error)}"})
            raise
        answer({"version": runner.version, "note": runner.note})
        for line in sys.stdin:
            answer({"seconds": runner.seconds(int(line))})


def _load(framework: str, folder: Path) -> Runner:
    job = Job.read(folder)
    runner = RUNNERS[framework](job, job.prepared.inputs())
    write_arrays(folder / f"{framework}.npz", runner.outputs())
    return runner


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else ""


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
