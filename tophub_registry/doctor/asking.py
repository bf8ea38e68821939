"""Asking TVM in a process of its own: what it can do, or how it failed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE = 15.0
"""Seconds to wait for TVM's answers."""

_STEPS = {
    "version": "import tvm",
    "processor": "asking LLVM about the processor",
    "serialising": "serialising IR",
    "gpu": "looking for a GPU",
}


@dataclass(frozen=True)
class Answers:
    """What TVM has said.

    Attributes
    ----------
    facts
        What the steps of `probe` have found.
    errors
        The steps that have raised an error.
    end
        How the process ended, if that was in the middle of a step: `ends with SIGSEGV`.
    unfinished
        That step, for people.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    end: str | None = None
    unfinished: str | None = None


class Asking:
    """A process that asks TVM; it runs beside the other checks until its answers are wanted."""

    def __init__(self) -> None:
        text = Path(__file__).with_name("probe.py").read_text(encoding="utf-8")
        # As for a program of the user's, but without what happens to be in the current folder.
        environment = {**os.environ, "PYTHONSAFEPATH": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", text],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def answers(self) -> Answers:
        """Wait for the answers, at most `PATIENCE` seconds."""
        late = False
        try:
            said, _ = self._process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            late = True
            self._process.kill()
            said, _ = self._process.communicate()
        facts: dict[str, Any] = {}
        errors: dict[str, str] = {}
        step = None
        for line in said.splitlines():
            with suppress(ValueError, AttributeError):  # what TVM prints itself
                found = json.loads(line)
                errors.update(found.pop("errors", {}))
                step = found.pop("started", None)
                facts.update(found)
        if step is None and not late:
            return Answers(facts, errors)
        return Answers(facts, errors, self._end(late=late), _STEPS.get(str(step), str(step)))

    def _end(self, *, late: bool) -> str:
        if late:
            return f"takes more than {PATIENCE:.0f} s"
        code = self._process.returncode
        if code >= 0:
            return f"ends with exit code {code}"
        with suppress(ValueError):
            return f"ends with {signal.Signals(-code).name}"
        return f"ends with signal {-code}"
