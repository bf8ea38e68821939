"""Writing a registry's catalogue into a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tophub_registry.catalogue import pages
from tophub_registry.catalogue.models import read_models
from tophub_registry.catalogue.reading import read_catalogue
from tophub_registry.catalogue.replacing import MANIFEST, check_replaceable, replacing


@dataclass(frozen=True)
class WrittenSite:
    """What was written.

    Attributes
    ----------
    folder
        The site's folder.
    files, bytes
        How many files there are, and their sizes together.
    packages, versions, records
        What they show; `records` counts those of all versions.
    missing
        The published versions whose file is not in the registry's folder, or is not the published one.
    """

    folder: Path
    files: int
    bytes: int
    packages: int
    versions: int
    records: int
    missing: tuple[str, ...]


def write_site(
    registry: Path,
    folder: Path,
    *,
    models: Sequence[Path] = (),
    title: str = "Tuning records",
    progress: Callable[[str], None] = lambda _: None,
) -> WrittenSite:
    """Write a registry's catalogue; a crash leaves the old one or the new one.

    Parameters
    ----------
    registry
        The registry's folder.
    folder
        Where to: a new folder, an empty one, or one with a catalogue, which is replaced.
    models
        Files about models: `tasks.json`, or what `tophub bench` wrote.
    title
        The registry's name, for the pages' headings.
    progress
        Called with what is being done.

    Raises
    ------
    UsageError
        The registry's folder has no index, or `folder` has other files than a catalogue's.
    InputError
        The index, a log or a file about models is invalid.
    EnvironmentFailure
        A file can't be read or written.
    MissingExtra
        Jinja is not installed.
    """
    check_replaceable(folder)
    found = read_models(models)
    catalogue = read_catalogue(registry, progress=progress)
    sizes: dict[str, int] = {}
    with replacing(folder) as new:
        for path, text in pages.files(catalogue, found, title, progress=progress):
            data = text.encode()
            sizes[path] = len(data)
            new.write(path, data)
        new.write(MANIFEST, (json.dumps({"files": sorted(sizes)}, indent=0) + "\n").encode())
    versions = [version for package in catalogue.packages for version in package.versions]
    return WrittenSite(
        folder,
        len(sizes),
        sum(sizes.values()),
        len(catalogue.packages),
        len(versions),
        sum(len(version.records) for version in versions),
        tuple(version.name for version in versions if version.state != "published"),
    )
