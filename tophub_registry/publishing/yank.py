"""Yanking: a published version that nobody should use any more, said in the index with the reason.

Nothing is taken away: the file stays, a pin on the version resolves and warns, and a name without a version
stands for the newest one that is not yanked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tophub_registry.errors import UsageError
from tophub_registry.packages.folder import known_index
from tophub_registry.packages.index import now, resolve
from tophub_registry.publishing.registry import changing, write_index

if TYPE_CHECKING:
    from datetime import datetime

    from tophub_registry.packages.version import Reference, Version


@dataclass(frozen=True)
class Yank:
    """What yanking did, or undoing it.

    Attributes
    ----------
    package, version
        The version that it is about.
    reason
        Why nobody should use it; None where it is not yanked now.
    changed
        False where it was so already.
    newest
        What the package's name stands for now; None where all of its versions are yanked.
    serial
        The index's serial now.
    """

    package: str
    version: Version
    reason: str | None
    changed: bool
    newest: Version | None
    serial: int


def yank(reference: Reference, reason: str | None, registry: str | Path, *, time: datetime | None = None) -> Yank:
    """Yank a published version for a reason, or give another reason; with None, undo it.

    Parameters
    ----------
    reference
        The package and the version.
    reason
        One line.
    registry
        The registry's folder.
    time
        The time of the change; now, if it is not given.

    Raises
    ------
    UsageError
        No version is named, there is no such version, or no registry.
    InputError
        The registry's index is broken, or can't hold the reason.
    EnvironmentFailure
        The registry can't be written to.
    """
    folder = Path(registry)
    if reference.version is None:
        raise UsageError(f"which version of {reference.package}?", remedy=f"name it: {reference.package}@v0.05")
    known_index(folder)  # a folder that is no registry is not even locked
    with changing(folder):
        index = known_index(folder)
        package, version, published, _ = resolve(index, reference)
        changed = published.yanked != reason
        if changed:
            index = index.with_yanked(package, version, reason, time or now())
            write_index(folder, index)
    return Yank(package, version, reason, changed, index.newest(package), index.serial)
