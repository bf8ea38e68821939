"""Kernels that can't be built: each reported in one line, with the compiler's full output in a file."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tophub_registry.compiler.choice import Kernel, Refused
from tophub_registry.errors import EnvironmentFailure
from tophub_registry.records.task import describe

_SHOWN = 3
_LONGEST = 200
_NOISE = ("Stack trace", "Note:", "File ", "Command line:", "Error context", "During handling")


class Failure(NamedTuple):
    """A kernel that can't be built.

    Attributes
    ----------
    kernel
        The kernel.
    layers
        Names of the layers that it computes.
    cause
        TVM's exception.
    """

    kernel: Kernel
    layers: tuple[str, ...]
    cause: Exception

    @property
    def has_record(self) -> bool:
        """Whether its config comes from a record; without that record another kernel would be built."""
        return self.kernel.answer.record is not None or self.kernel.neighbour is not None


class KernelFailures(Exception):  # noqa: N818  # it says what happened
    """Kernels that can't be scheduled or compiled."""

    def __init__(self, failures: Sequence[Failure]) -> None:
        self.failures = failures
        super().__init__(f"{len(failures)} kernels can't be built")


@dataclass(frozen=True)
class LeftOut:
    """A record that is not used.

    Attributes
    ----------
    layers
        Names of the layers that it is for.
    task, args
        Its workload.
    source
        The log it is from.
    reason
        Why it is not used, in one line.
    """

    layers: tuple[str, ...]
    task: str
    args: list[Any]
    source: str | None
    reason: str

    def __str__(self) -> str:
        return f"{_some(self.layers)}: {describe(self.task, self.args)} in {self.source}: {self.reason}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if names[_SHOWN:] else "")


def unbuildable(failure: Failure) -> LeftOut:
    """Return a record that is not used because its kernel can't be built; TVM's full output is written to a file."""
    kernel = failure.kernel
    origin = kernel.neighbour.answer if kernel.neighbour is not None else kernel.answer
    reason = f"can't be built: {short(failure.cause)}; the full output is in {kept(failure.cause)}"
    return LeftOut(failure.layers, kernel.template.task, kernel.template.args, origin.source, reason)


def refused(refusal: Refused, layer: str) -> LeftOut:
    """Return a layer's record that is not used because it yields no valid kernel."""
    record, source = refusal.answer.record, refusal.answer.source
    task, args = ("", []) if record is None else (record.input.task, record.input.args)
    return LeftOut((layer,), task, args, source, refusal.reason)


def short(cause: BaseException) -> str:
    """Return an exception in one line: the sentence of TVM's output that says what is wrong."""
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    said = next((line.removeprefix("Error message:") for line in lines if line.startswith("Error message:")), None)
    told = [line for line in lines if not line.startswith(_NOISE)]
    line = (said or (told[0] if told else type(cause).__name__)).strip()
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def kept(cause: BaseException) -> Path:
    """Write an exception in full to a new file, and return the file."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", prefix="tophub-compiler-", suffix=".txt", delete=False
    ) as stream:
        stream.write(f"{type(cause).__name__}: {cause}\n")
    return Path(stream.name)


def compiler_failure(cause: BaseException, what: str) -> EnvironmentFailure:
    """Return the error for a failure that no record causes."""
    return EnvironmentFailure(
        f"{what} can't be compiled: {short(cause)}", remedy=f"the compiler's output is in {kept(cause)}"
    )
