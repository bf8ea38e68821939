"""How long `tophub --help` takes, as a multiple of `python -c pass`: medians of runs in turns."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 31


def seconds(command: list[str]) -> float:
    """Return how long a command takes."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Print the medians and their ratio."""
    tophub = shutil.which("tophub", path=str(Path(sys.executable).parent)) or sys.exit("tophub is not installed here")
    commands = {"python -c pass": [sys.executable, "-c", "pass"], "tophub --help": [tophub, "--help"]}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            times[name].append(seconds(command))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name:15} {median * 1e3:7.1f} ms")
    print(f"ratio           {medians['tophub --help'] / medians['python -c pass']:7.2f}  (aim: at most 6)")


if __name__ == "__main__":
    main()
