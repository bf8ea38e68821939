"""What this machine has of a target's packages, without asking any network."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tophub_registry.records.target import Target


def packages_here(target: Target) -> list[Path]:
    """Return the newest log of the target's packages in the root, and in the default location if it is a folder."""
    from tophub_registry.packages.folder import newest_here, read_index
    from tophub_registry.packages.location import Folder, find_location
    from tophub_registry.packages.root import Root
    from tophub_registry.records.lookup import backends_of

    location, root = find_location(), Root.at()
    folders = [(root.path, None if location is None else root.remembered(location))]
    if isinstance(location, Folder):
        index = read_index(location.path)
        folders = [(root.path, index), (location.path, index)]
    newest = [newest_here(folder, index, package) for package in backends_of(target) for folder, index in folders]
    by_name = {log.name: log for log in newest if log is not None}  # the same file may lie in both
    return list(by_name.values())
