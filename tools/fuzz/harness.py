"""A harness: what is done with bytes that may have come from anywhere, and what must hold whatever they are.

Only the project's own errors may come out, each as one printable line; a second of processor time, or much memory for
a small input, is a finding too.
"""

from __future__ import annotations

import random
import resource
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from tophub_registry.errors import TophubError

MAX_SECONDS = 1.0
"""The longest that an input may take, in seconds of processor time."""

MAX_MEMORY = 64 << 20
"""By how much one input may raise the process's peak of memory, in bytes."""

MAX_INPUT = 1 << 17
"""The largest input that is tried, in bytes: twice the longest line of a log."""

MAX_MESSAGE = 4500
"""The longest error that a user gets, in characters."""

_ROOT = Path(__file__).resolve().parents[2]

Raw = Callable[[bytes, int], bytes]
"""Mutates bytes without looking at them, up to so many."""


class BrokenPromiseError(Exception):
    """Something that must always hold does not."""


@dataclass(frozen=True)
class Harness:
    """What a fuzzer needs to know of a reader.

    Attributes
    ----------
    check
        Does with an input all that is done with such files; gets an empty folder for them.
    seeds
        Returns sound inputs.
    mutate
        Changes an input as its structure suggests.
    words
        What stands in such files.
    """

    check: Callable[[bytes, Path], None]
    seeds: Callable[[], list[bytes]]
    mutate: Callable[[bytes, int, random.Random, Raw], bytes]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """What is wrong with an input.

    Attributes
    ----------
    kind
        One line; findings of the same kind have the same cause, as far as one can tell.
    report
        The traceback.
    """

    kind: str
    report: str


def expect(holds: object, promise: str) -> None:
    """Raise BrokenPromiseError if something does not hold."""
    if not holds:
        raise BrokenPromiseError(promise)


_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def tried(work: Callable[_Given, _Result], *args: _Given.args, **kwargs: _Given.kwargs) -> _Result | None:
    """Return what a function returns, None if it raises one of the project's errors, which must be one line."""
    try:
        return work(*args, **kwargs)
    except TophubError as error:
        check_message(error)
        return None


def check_message(error: TophubError) -> None:
    """Check that an error is a line that a terminal can show."""
    said = str(error)
    if not (said.isprintable() and len(said) <= MAX_MESSAGE):
        wrong = "long" if said.isprintable() else "unprintable"
        raise BrokenPromiseError(f"an error is {wrong}: {type(error).__name__} of {_raised(error)}")


def examine(harness: Harness, data: bytes, folder: Path) -> Finding | None:
    """Try an input; return what is wrong with it.

    Parameters
    ----------
    folder
        An empty folder, which is left empty.
    """
    memory, start = _peak(), time.process_time()
    try:
        harness.check(data, folder)
    except (Exception, RecursionError) as error:  # noqa: BLE001  # whatever it is, it is a finding
        kind = str(error) if isinstance(error, BrokenPromiseError) else f"{type(error).__name__} in {_raised(error)}"
        return Finding(kind, "".join(traceback.format_exception(error)))
    finally:
        for path in folder.iterdir():
            with suppress(OSError):
                path.unlink()
    seconds, grown = time.process_time() - start, _peak() - memory
    if seconds > MAX_SECONDS:
        return Finding("too slow", f"{seconds:.2f} s")
    if grown > MAX_MEMORY:
        return Finding("too much memory", f"{grown >> 20} MiB")
    return None


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _raised(error: BaseException) -> str:
    """Return the function of this project that an error came from."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(str(_ROOT))]
    own = [frame for frame in frames if "/tools/fuzz/" not in frame.filename and "/.venv/" not in frame.filename]
    if not (own or frames):
        return "?"
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).stem}.{frame.name}"
