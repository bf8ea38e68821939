"""The job of a framework's process, as a file in a folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tophub_registry.bench.prepared import Prepared
from tophub_registry.tasks.rules import FLOAT32

_JOB = "job.json"


@dataclass(frozen=True)
class Job:
    """What to run.

    Attributes
    ----------
    folder
        The folder of the prepared model.
    target
        TVM's target string.
    records
        Logs to take records from; None: the packages in the root.
    threads
        Number of CPU threads of a framework.
    database
        The folder of MetaSchedule's database, for the framework `metaschedule`.
    precision
        How convolutions are computed by tophub, and by PyTorch: one of `tasks.rules.PRECISIONS`.
    """

    folder: str
    target: str
    records: list[str] | None
    threads: int
    database: str | None = None
    precision: str = FLOAT32

    @property
    def on_gpu(self) -> bool:
        """Whether the target is a GPU."""
        return self.target.split()[0] == "cuda"

    @property
    def prepared(self) -> Prepared:
        """The prepared model."""
        return Prepared.read(Path(self.folder))

    def write(self, folder: Path) -> None:
        """Write the job into a folder."""
        (folder / _JOB).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Job:
        """Read what `write` wrote."""
        return cls(**json.loads((folder / _JOB).read_text(encoding="utf-8")))
