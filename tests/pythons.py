"""The Pythons on this machine, found as the Makefile finds them."""

from __future__ import annotations

import subprocess
from pathlib import Path

_FINDER = Path(__file__).parents[1] / "tools" / "find_python.sh"


class NoPythonError(Exception):
    """There is no Python of this version here."""


def find_python(version: str) -> str:
    """Return the interpreter of a version, `3.10` say, on the PATH or among pyenv's.

    Raises
    ------
    NoPythonError
        There is none.
    """
    found = subprocess.run([_FINDER, version], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        raise NoPythonError(found.stderr.strip())
    return found.stdout.strip()
