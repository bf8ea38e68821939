"""The option `--locked`: look-ups use exactly the versions of the project's lock."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from tophub_registry.packages.lock import LOCK_FILE, VARIABLE


def _obey(wanted: bool) -> bool:
    if wanted:
        os.environ[VARIABLE] = str(lock_file())
    return wanted


def lock_file() -> Path:
    """Return the lock that `$TOPHUB_LOCK` names, else the one of this folder; it need not exist."""
    return Path(os.environ.get(VARIABLE) or LOCK_FILE).absolute()


Locked = Annotated[
    bool,
    typer.Option(
        "--locked",
        callback=_obey,
        help=f"Use exactly the packages in ./{LOCK_FILE}, or in the lock that ${VARIABLE} names.",
    ),
]
"""The option sets the environment variable, which subprocesses inherit."""
