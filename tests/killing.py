"""Killing a real process at random moments, to see what it leaves behind.

Used by every command that promises: afterwards the old file or the complete new one is there.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Kills:
    """What `kill_at_random_moments` did.

    Attributes
    ----------
    duration
        Seconds of the undisturbed run.
    killed
        Runs that were still going when the signal came; their results are the interesting ones.
    finished
        Runs that had ended by themselves before it.
    """

    duration: float
    killed: int
    finished: int


def kill_at_random_moments(
    command: Sequence[str | Path],
    check: Callable[[], None],
    *,
    times: int = 30,
    before: Callable[[], None] = lambda: None,
    startup: Sequence[str | Path] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Kills:
    """Run a command many times, `kill -9` it each time at another moment, and check what is left.

    The command runs once undisturbed, which gives its duration (and must succeed). That span is cut in `times`
    equal slices, and each run is killed at a random moment of another slice. Only the process itself is
    killed, as `kill -9` does; children that outlive it are killed after the check.

    Parameters
    ----------
    command
        What to run, in a session of its own: `[sys.executable, "-m", "tophub_registry.cli", "merge", …]`.
    check
        Called after every run, the undisturbed one included; raises where a promise is broken.
    before
        Called before every run; puts the files back as they were.
    startup
        A command that does only what `command` does before its work begins (starting Python, importing).
        It is timed too, and no kill comes earlier than that, so that every kill hits the work.
    env, cwd
        As for `subprocess.Popen`.
    """
    idle = 0.0 if startup is None else _timed(startup, env, cwd)
    before()
    duration = _timed(command, env, cwd)
    check()
    assert duration > idle, f"the work takes no time: {duration:.2f} s, of which {idle:.2f} s is starting up"

    slices = list(range(times))
    random.shuffle(slices)
    killed = 0
    for number in slices:
        before()
        moment = idle + (duration - idle) * (number + random.random()) / times  # noqa: S311
        killed += _killed_after(moment, command, check, env, cwd)
    return Kills(duration, killed, times - killed)


def _timed(command: Sequence[str | Path], env: Mapping[str, str] | None, cwd: Path | None) -> float:
    start = time.monotonic()
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"{command} without a kill: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return time.monotonic() - start


def _killed_after(
    seconds: float,
    command: Sequence[str | Path],
    check: Callable[[], None],
    env: Mapping[str, str] | None,
    cwd: Path | None,
) -> bool:
    """Run, kill after so many seconds, check; return whether the process was still going."""
    process = subprocess.Popen(
        command,
        env=env,
        cwd=cwd,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        assert code in (0, -signal.SIGKILL), f"{command} ended by itself with {code}"
        check()
        return code != 0
    finally:
        process.kill()
        process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
