"""What could not be built: each record's kernel told in one line, and what the compiler said kept in a file."""

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
        Which one.
    layers
        The names of the layers that have it.
    cause
        What TVM raised.
    """

    kernel: Kernel
    layers: tuple[str, ...]
    cause: Exception

    @property
    def has_record(self) -> bool:
        """Whether its config is from a record, without which something else would be built."""
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
        The names of the layers that would have had it.
    task, args
        Its workload.
    source
        The log that has it.
    reason
        Why not, in one line.
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
    """Return that a kernel's record is not used since it can't be built; the whole of what TVM said goes to a file."""
    kernel = failure.kernel
    origin = kernel.neighbour.answer if kernel.neighbour is not None else kernel.answer
    reason = f"can't be built: {short(failure.cause)}; all of it is in {kept(failure.cause)}"
    return LeftOut(failure.layers, kernel.template.task, kernel.template.args, origin.source, reason)


def refused(refusal: Refused, layer: str) -> LeftOut:
    """Return that a layer's record is not used since it is no kernel."""
    record, source = refusal.answer.record, refusal.answer.source
    task, args = ("", []) if record is None else (record.input.task, record.input.args)
    return LeftOut((layer,), task, args, source, refusal.reason)


def short(cause: BaseException) -> str:
    """Return in one line what was raised: of TVM's pages the sentence that says what is wrong."""
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    said = next((line.removeprefix("Error message:") for line in lines if line.startswith("Error message:")), None)
    told = [line for line in lines if not line.startswith(_NOISE)]
    line = (said or (told[0] if told else type(cause).__name__)).strip()
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def kept(cause: BaseException) -> Path:
    """Write all that was raised into a new file, and return it."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", prefix="tophub-compiler-", suffix=".txt", delete=False
    ) as stream:
        stream.write(f"{type(cause).__name__}: {cause}\n")
    return Path(stream.name)


def compiler_failure(cause: BaseException, what: str) -> EnvironmentFailure:
    """Return the error for what no record is to blame for."""
    return EnvironmentFailure(
        f"{what} can't be compiled: {short(cause)}", remedy=f"what the compiler said is in {kept(cause)}"
    )
