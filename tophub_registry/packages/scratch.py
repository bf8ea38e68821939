"""A temporary folder, whose errors are this project's own."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tophub_registry.errors import EnvironmentFailure

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """Yield a folder, named after its purpose, that is deleted with all that it has.

    Raises
    ------
    EnvironmentFailure
        It can't be made, or an error of the system ends what is done in it, as on a full disk.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=f"tophub-{purpose}-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except OSError as error:
        raise EnvironmentFailure(
            f"temporary files can't be written: {error.strerror or error}",
            file=error.filename,
            remedy="free some space there, or name another folder in $TMPDIR",
        ) from error
