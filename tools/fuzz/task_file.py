"""The task file: what is accepted is written and read again as the same, and each task can be named."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tophub_registry.records.rows import parse_record
from tophub_registry.records.task import Task, TaskFile

from .harness import Harness, Raw, expect, tried
from .mutation import mutate_json
from .seeds import WORDS, rows

_WORDS = (
    *WORDS,
    "schema_version",
    "model",
    "kind",
    "shapes",
    "tasks",
    "args",
    "kwargs",
    "count",
    "layers",
    "untranslated",
)


def check(data: bytes, folder: Path) -> None:
    """Read a task file."""
    path = folder / "tasks.json"
    path.write_bytes(data)
    tasks = tried(TaskFile.read, path)
    if tasks is None:
        return
    again = folder / "again.json"
    tried(tasks.write, again)
    expect(TaskFile.read(again) == tasks, "a task file that was written is read as the same")
    for task in tasks.tasks:
        expect(task.workload, "a task has a workload")
        expect(str(task), "a task has a name")


def mutate(data: bytes, size: int, chance: random.Random, raw: Raw) -> bytes:
    """Change a document."""
    return mutate_json(data, size, chance, raw, _WORDS, chance.choice(rows()))


def seeds() -> list[bytes]:
    """Return a file with a task of each row."""
    tasks = []
    for row in rows()[::3]:
        if b'"i"' not in row:
            _, task, args, kwargs = parse_record(row).input
            tasks.append(Task(task=task, args=args, kwargs=kwargs, layers=["conv0"]))
    made = TaskFile(model="net", kind="llvm", shapes={"data": [1, 3, 224, 224]}, tasks=tasks[:5])
    return [made.as_json().encode(), json.dumps({**made.model_dump(), "untranslated": {"op": ["a"]}}).encode()]


HARNESS = Harness(check, seeds, mutate, _WORDS)
