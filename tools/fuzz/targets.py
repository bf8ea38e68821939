"""The harnesses by name; each is imported when it is used, so that the fuzzer can instrument what it imports."""

from __future__ import annotations

from importlib import import_module

from .harness import Harness

NAMES = {
    "log": "log_reader",
    "converter": "converter",
    "index": "index",
    "target": "target_parser",
    "tasks": "task_file",
    "bundle": "bundle",
    "model": "cost_model",
}
"""The module of each harness."""


def harness_of(name: str) -> Harness:
    """Return a harness by its name."""
    found: Harness = import_module(f".{NAMES[name]}", __package__).HARNESS
    return found
