"""The outcome of measuring a config: its costs, or an error with AutoTVM's error number."""

from __future__ import annotations

import signal
from concurrent.futures import TimeoutError as FutureTimeout
from enum import IntEnum
from typing import NamedTuple

from pebble import ProcessExpired

from tophub_registry.measurement import kernels
from tophub_registry.measurement.reference import WrongAnswer
from tophub_registry.records.record import Config, Result

FAILED_COST = 1e9
"""The cost, in seconds, that AutoTVM writes for a failed config."""


class ErrorNo(IntEnum):
    """The kinds of outcome, numbered as in AutoTVM's `MeasureErrorNo`."""

    NO_ERROR = 0
    INSTANTIATION_ERROR = 1
    COMPILE_HOST = 2
    COMPILE_DEVICE = 3
    RUNTIME_DEVICE = 4
    WRONG_ANSWER = 5
    BUILD_TIMEOUT = 6
    RUN_TIMEOUT = 7
    UNKNOWN_ERROR = 8


class Measured(NamedTuple):
    """A config's result, and for a failure the error message."""

    config: Config
    result: Result
    message: str | None


class Stage(NamedTuple):
    """A stage of measuring a config, and the numbers of its errors."""

    what: str
    too_long: ErrorNo
    broken: ErrorNo

    def blame(self, error: BaseException) -> tuple[ErrorNo, str]:
        """Return the number and the message for an error in this stage."""
        if isinstance(error, (FutureTimeout, kernels.TookTooLong)):
            return self.too_long, f"{self.what} exceeded the time limit"
        if isinstance(error, ProcessExpired):
            return self.broken, f"{self.what} crashed: {_exit(error.exitcode)}"
        if isinstance(error, kernels.InstantiationError):
            return ErrorNo.INSTANTIATION_ERROR, last_line(error)
        if isinstance(error, WrongAnswer):
            return ErrorNo.WRONG_ANSWER, last_line(error)
        return self.broken, last_line(error)


BUILD = Stage("building", ErrorNo.BUILD_TIMEOUT, ErrorNo.COMPILE_HOST)
PREPARE = Stage("computing the reference", ErrorNo.UNKNOWN_ERROR, ErrorNo.UNKNOWN_ERROR)
RUN = Stage("running", ErrorNo.RUN_TIMEOUT, ErrorNo.RUNTIME_DEVICE)


def last_line(error: BaseException) -> str:
    """Return the last line of an error's message, where TVM puts the reason, below the stack trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]


def _exit(code: int | None) -> str:
    """Return how a process ended: the signal's name, or the exit code."""
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
