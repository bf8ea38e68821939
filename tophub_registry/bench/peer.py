"""A framework's process, seen from the measuring one: started, asked for times, ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tophub_registry.errors import EnvironmentFailure

_RUN_SECONDS = 120.0
_LAST_SECONDS = 10.0
_ERROR_LENGTH = 300
_SHOWN = 80


class Peer:
    """A framework in its own process.

    Parameters
    ----------
    framework
        A name that `RUNNERS` has.
    folder
        The job's folder.
    threads
        Number of threads; None: as the environment says.
    python
        The Python interpreter, if the framework is in another environment.
    settings
        More environment variables.
    """

    def __init__(
        self,
        framework: str,
        folder: Path,
        threads: int | None,
        python: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.framework = framework
        self._errors = folder / f"{framework}.txt"
        command = [python or sys.executable, "-m", "tophub_registry.bench.worker", framework, str(folder)]
        with self._errors.open("wb") as errors:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env={**os.environ, **thread_settings(threads), **(settings or {})},
                    text=True,
                )
            except OSError as error:
                raise EnvironmentFailure(f"can't be started: {error.strerror}", file=command[0]) from error

    def load(self, limit: float) -> tuple[str, str]:
        """Wait until the model is loaded and has run once; return the framework's version and its note.

        Raises
        ------
        EnvironmentFailure
            It can't run the model, ended, or took longer than `limit`, in seconds.
        """
        answer = self._answer(limit)
        return str(answer["version"]), str(answer["note"])

    def seconds(self, repeats: int) -> list[float]:
        """Return the times of `repeats` runs, in seconds.

        Raises
        ------
        EnvironmentFailure
            The process ended, or took too long.
        """
        assert self._process.stdin is not None  # noqa: S101  # it is a pipe
        with suppress(BrokenPipeError):  # the process's last words say more
            self._process.stdin.write(f"{repeats}\n")
            self._process.stdin.flush()
        return [float(number) for number in self._answer(_RUN_SECONDS * repeats)["seconds"]]

    def _answer(self, limit: float) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101  # it is a pipe
        timer = threading.Timer(limit, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            expired = not timer.is_alive()
            timer.cancel()
        if not line.endswith("\n"):  # a killed process may have written half an answer
            said = f"no answer in {limit:.0f} s" if expired else self._last_words()
            raise EnvironmentFailure(f"{self.framework} ended: {said}")
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise EnvironmentFailure(f"{self.framework} gave an invalid answer: {line[:_SHOWN]!r}") from None
        if "failure" in answer:
            raise EnvironmentFailure(answer["failure"])
        return answer

    def _last_words(self) -> str:
        try:
            self._process.wait(_LAST_SECONDS)
        except subprocess.TimeoutExpired:
            return "it closed its output and went on"
        lines = self._errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if lines and "No module named 'tophub_registry'" in lines[-1]:
            return "that Python has no tophub-registry"
        return lines[-1][:_ERROR_LENGTH] if lines else f"exit code {self._process.returncode}"

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


def thread_settings(threads: int | None) -> Mapping[str, str]:
    """Return the environment variables that limit every framework to `threads` threads."""
    if threads is None:
        return {}
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TVM_NUM_THREADS")
    return dict.fromkeys(names, str(threads))
