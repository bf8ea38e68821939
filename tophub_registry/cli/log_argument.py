"""The argument LOG of every command that reads logs: a path, or a package on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tophub_registry.cli import terminal
from tophub_registry.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

HELP = "a path, or a package on this machine (llvm, llvm@v0.09)"


def find(log: Path) -> Path:
    """Return the log that LOG means, and say which file it is if LOG is a package.

    Raises
    ------
    InputError
        There is no such file, and no such package on this machine.
    """
    from tophub_registry.packages.here import find_log
    from tophub_registry.packages.root import Root

    path = find_log(log, Root.at())
    if path != log:
        terminal.err(f"tophub: note: {terminal.line(f'{log} is {path}')}\n")
    return path


def find_all(logs: Iterable[Path]) -> list[Path]:
    """Return the logs that several arguments mean."""
    return [find(log) for log in logs]


def next_version(log: Path, found: Path) -> Path:
    """Return the file of the next version: beside the log, or in the current folder if LOG is a package or published.

    Nothing is written into a registry except by `tophub release`: clients that go by names would fetch it.

    Raises
    ------
    UsageError
        The log is not named like a version of a package.
    """
    from tophub_registry.packages.index import INDEX_FILE
    from tophub_registry.packages.version import next_file

    path = next_file(found)
    if path is None:
        raise UsageError(f"{log.name} is not named PACKAGE_vN.NN.log, so it has no next version", remedy="give -o FILE")
    if found != log:
        return Path(path.name)
    if not (found.parent / INDEX_FILE).exists():
        return path
    package = path.name.partition("_v")[0]
    command = f"tophub release {package} {path.name} --registry {found.parent}"
    terminal.err(
        f"tophub: note: the next version is {path.name}, in this folder: `{terminal.line(command)}` publishes it\n"
    )
    return Path(path.name)
