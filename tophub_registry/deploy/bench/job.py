"""What a framework's process is told, in a folder: the model in every form, its inputs, and how to run it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_JOB = "job.json"


@dataclass(frozen=True)
class Job:
    """What is to be run.

    Attributes
    ----------
    model, params, shapes
        The model as the user named it.
    target
        TVM's target string.
    records
        Logs; None for the packages in the root.
    threads
        How many threads a framework may use on the CPU.
    """

    model: str
    params: str | None
    shapes: dict[str, list[int]]
    target: str
    records: list[str] | None
    threads: int

    @property
    def on_gpu(self) -> bool:
        """Whether the target is a GPU."""
        return self.target.split()[0] == "cuda"

    def write(self, folder: Path) -> None:
        """Write the job into its folder."""
        (folder / _JOB).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Job:
        """Read what `write` wrote."""
        return cls(**json.loads((folder / _JOB).read_text(encoding="utf-8")))


def write_arrays(path: Path, arrays: Sequence[Array]) -> None:
    """Write arrays into a file, in their order."""
    np.savez(path, *arrays)


def read_arrays(path: Path) -> list[Array]:
    """Read what `write_arrays` wrote."""
    with np.load(path) as archive:
        return [archive[f"arr_{index}"] for index in range(len(archive.files))]
