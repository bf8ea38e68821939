"""Killing a real `tophub` process at random moments, to see what it leaves behind.

Used by every command that promises: afterwards the old file or the complete new one is there.

Most of a short run is Python starting and importing, where a kill proves nothing. So the runs are forked from
a process that has imported already: each is a process of its own that goes through the command line's `main`
and dies of a real SIGKILL.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

_FORKS = """
import importlib, json, os, select, signal, sys

for name in sys.argv[1:]:
    importlib.import_module(name)
from tophub_registry.cli import main

print("ready", flush=True)
for line in iter(sys.stdin.readline, ""):
    arguments, seconds = json.loads(line)
    child = os.fork()
    if child == 0:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        os.dup2(nowhere, 1)
        main(arguments)
        sys.exit()
    if not select.select([os.pidfd_open(child)], [], [], seconds)[0]:
        os.kill(child, signal.SIGKILL)
    print(child, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


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
    imports: Sequence[str] = (),
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
        The arguments of `tophub`: `["release", "llvm", log, "--registry", folder]`.
    check
        Called after every run, the undisturbed one included; raises where a promise is broken.
    before
        Called before every run; puts the files back as they were.
    imports
        The modules that the command needs, imported once for all runs. The command's own
        (`tophub_registry.cli.release`) and `typer` need not be named.
    env, cwd
        As for `subprocess.Popen`.
    """
    arguments = [str(word) for word in command]
    modules = ["typer", f"tophub_registry.cli.{arguments[0]}", *imports]
    killed = 0
    with _forks(modules, env, cwd) as run:
        before()
        start = time.monotonic()
        code = run(arguments, 600, lambda: None)
        duration = time.monotonic() - start
        assert code == 0, f"tophub {' '.join(arguments)}: exit code {code} without a kill"
        check()

        slices = list(range(times))
        random.shuffle(slices)
        for number in slices:
            before()
            code = run(arguments, duration * (number + random.random()) / times, check)
            assert code in (0, -signal.SIGKILL), f"tophub {' '.join(arguments)}: ended by itself with {code}"
            killed += code != 0
    return Kills(duration, killed, times - killed)


@contextlib.contextmanager
def _forks(
    modules: Sequence[str], env: Mapping[str, str] | None, cwd: Path | None
) -> Iterator[Callable[[list[str], float, Callable[[], None]], int]]:
    """Start the process that forks; yield a function that runs a command for so many seconds at most."""
    command = [sys.executable, "-c", _FORKS, *modules]
    with subprocess.Popen(command, env=env, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as forks:

        def run(arguments: list[str], seconds: float, check: Callable[[], None]) -> int:
            forks.stdin.write(json.dumps([arguments, seconds]) + "\n")
            forks.stdin.flush()
            child, code = map(int, forks.stdout.readline().split())
            try:
                check()
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child, signal.SIGKILL)
            return code

        assert forks.stdout.readline(), f"can't import {modules}"
        try:
            yield run
        finally:
            forks.kill()
