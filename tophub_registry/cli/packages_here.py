"""What this machine has of a target's packages, without asking any network."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tophub_registry.records.target import Target


def packages_here(target: Target) -> list[Path]:
    """Return the newest log of the target's packages in the root, and in the default location if it is a folder."""
    from tophub_registry.packages.location import Folder, find_location
    from tophub_registry.packages.root import Root
    from tophub_registry.records.lookup import backends_of

    location = find_location()
    folders = [Root.at().path, *([location.path] if isinstance(location, Folder) else [])]
    newest = [_newest(folder, package) for package in backends_of(target) for folder in folders]
    by_name = {log.name: log for log in newest if log is not None}  # the same file may lie in both
    return list(by_name.values())


def _newest(folder: Path, package: str) -> Path | None:
    from tophub_registry.packages.version import FileName

    named = [(name, path) for path in folder.glob(f"{package}_v*.log") if (name := FileName.parse(path.name))]
    versions = [(name.version, path) for name, path in named if name.package == package]
    return max(versions, key=lambda version: version[0])[1] if versions else None
