"""Ctrl-C, a real SIGINT at random moments: exit code 130, one line, and no half-written file."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

if not all(map(importlib.util.find_spec, ("mxnet", "gluoncv", "tvm"))):
    pytest.skip("MXNet, gluoncv and TVM are not all installed", allow_module_level=True)

COMMAND = [sys.executable, "-m", "tophub_registry.cli", "compile", "cifar_resnet20_v1", "-o", "model.so"]
NOTE = "tophub: note: the weights are random, as no --params was given\n"


@pytest.mark.slow
def test_compile_ends_at_any_moment_with_one_line(tmp_path: Path, exhaustive: bool) -> None:
    library, temporary = tmp_path / "here" / "model.so", tmp_path / "tmp"
    for folder in (library.parent, temporary):
        folder.mkdir()

    def start() -> subprocess.Popen[str]:
        library.unlink(missing_ok=True)
        env = {**os.environ, "TMPDIR": str(temporary)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(COMMAND, cwd=library.parent, env=env, **pipes)
        while "pydantic_core" not in Path(f"/proc/{process.pid}/maps").read_text():  # Python itself is still starting
            time.sleep(0.01)
        return process

    began = time.monotonic()
    assert (start().communicate()[1], library.exists()) == (NOTE, True)
    size, duration = library.stat().st_size, time.monotonic() - began
    times, interrupted = 30 if exhaustive else 3, 0
    for number in random.sample(range(times), times):
        process = start()
        time.sleep(duration * (number + random.random()) / times)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
        assert (process.returncode, said.removeprefix(NOTE)) in ((130, "tophub: interrupted\n"), (0, "")), said
        assert process.returncode == 130 or library.exists()
        assert [path.stat().st_size for path in library.parent.iterdir()] in ([], [size])
        assert list(temporary.iterdir()) == []
        interrupted += process.returncode == 130
    assert interrupted >= times // 3


def test_where_it_is_ignored_it_stays_ignored() -> None:
    """As in what a shell starts in the background."""
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from tophub_registry.cli import interrupts\n"
        "with interrupts.of_program(), interrupts.at_once(), interrupts.as_exception():\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "print('went on')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("went on\n", "")


def test_where_code_from_a_text_was_interrupted_it_is_the_same_exit_code(tmp_path: Path) -> None:
    """As in the making of a data class; `python -m` looks at it in the end."""
    code = (
        "from tophub_registry.cli import interrupts\n"
        "try:\n"
        "    exec('raise KeyboardInterrupt')\n"
        "except KeyboardInterrupt:\n"
        "    interrupts.told()\n"
    )
    (tmp_path / "interrupted.py").write_text(code)
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "interrupted"], check=False, capture_output=True, text=True, env=env)
    assert (done.returncode, done.stderr) == (130, "tophub: interrupted\n")
