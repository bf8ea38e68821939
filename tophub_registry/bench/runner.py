"""What `tophub bench` asks of a framework: to run the model, and how long that takes."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

from tophub_registry.bench.prepared import Array

_WARM_UP_RUNS = 3
_WARM_UP_SECONDS = 0.5


class Runner(ABC):
    """A loaded model.

    Attributes
    ----------
    version
        The framework's.
    note
        What to know about its times; may be empty.
    """

    version: str
    note: str = ""

    @abstractmethod
    def outputs(self) -> list[Array]:
        """Run once and return the outputs."""

    @abstractmethod
    def run(self) -> None:
        """Run once and wait for the end."""

    def seconds(self, repeats: int) -> list[float]:
        """Return the times of `repeats` runs in seconds, after a warm-up."""
        times = []
        awake = time.perf_counter() + _WARM_UP_SECONDS
        for _ in range(_WARM_UP_RUNS):
            self.run()
            if time.perf_counter() > awake:
                break
        for _ in range(repeats):
            start = time.perf_counter()
            self.run()
            times.append(time.perf_counter() - start)
        return times
