"""Yanking: marks a published version in the index as not to be used any more, with the reason.

Nothing is deleted: the file stays, a pin on the version still works, with a warning, and a package without a
version means the newest one that is not yanked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tophub_registry.errors import UsageError
from tophub_registry.packages.folder import known_index
from tophub_registry.packages.index import now, resolve
from tophub_registry.publishing.metadata import latest_index
from tophub_registry.publishing.registry import changing, write_index

if TYPE_CHECKING:
    from datetime import datetime

    from tophub_registry.packages.version import Reference, Version


@dataclass(frozen=True)
class Yank:
    """The result of yanking, or of undoing it.

    Attributes
    ----------
    package, version
        Which version.
    reason
        Why nobody should use it; None if it is not yanked now.
    changed
        False if it was so already.
    newest
        The package's newest version now; None if all of its versions are yanked.
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
    """Yank a published version for a reason, or change the reason; with None, undo it.

    Parameters
    ----------
    reference
        The package and the version.
    reason
        One line.
    registry
        The registry's folder.
    time
        The time of the change; by default now.

    Raises
    ------
    UsageError
        No version is given, or there is no such version or registry.
    InputError
        The registry's index is invalid, or the reason is too long or unprintable.
    EnvironmentFailure
        The registry can't be written to.
    """
    folder = Path(registry)
    if reference.version is None:
        raise UsageError(f"which version of {reference.package}?", remedy=f"name it: {reference.package}@v0.05")
    known_index(folder)  # a folder that is no registry is not even locked
    with changing(folder):
        before = index = latest_index(folder) or known_index(folder)
        package, version, published, _ = resolve(index, reference)
        changed = published.yanked != reason
        if changed:
            index = index.with_yanked(package, version, reason, time or now())
            write_index(folder, index, before=before)
    return Yank(package, version, reason, changed, index.newest(package), index.serial)
