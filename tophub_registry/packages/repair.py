"""Repairing the root: damaged files are fetched anew, each from the registry that published it.

Nothing that can be read as a log is deleted: such a file moves to `.others`, under its own hash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tophub_registry.errors import EnvironmentFailure, TophubError
from tophub_registry.files import sync_folder
from tophub_registry.packages.digest import Digest
from tophub_registry.packages.fetch import fetch
from tophub_registry.packages.location import find_location

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tophub_registry.packages.download import ProgressCallback
    from tophub_registry.packages.location import Location
    from tophub_registry.packages.root import Root
    from tophub_registry.packages.verification import Checked
    from tophub_registry.packages.version import Reference


class Repair(NamedTuple):
    """What became of a damaged file: None, or why it could not be fetched anew."""

    checked: Checked
    error: TophubError | None


def repair(
    damaged: Iterable[Checked], location: Location | None, root: Root, *, progress: ProgressCallback | None = None
) -> tuple[Repair, ...]:
    """Fetch damaged files anew, each from the registry that published it; the others are not touched.

    Parameters
    ----------
    damaged
        The files; those without a version are left alone.
    location
        The location in use, which may have a password that the registry's name does not.
    root
        Where they are.
    progress
        Called as files arrive.
    """
    outcomes: list[Repair] = []
    for checked in damaged:
        if checked.reference is not None and checked.registry is not None:
            try:
                _repair(checked, checked.reference, _place(checked.registry, location), root, progress)
            except TophubError as error:
                outcomes.append(Repair(checked, error))
            else:
                outcomes.append(Repair(checked, None))
    return tuple(outcomes)


def _place(registry: str, location: Location | None) -> Location | None:
    return location if location is not None and location.name == registry else find_location(registry)


def _repair(
    checked: Checked, reference: Reference, place: Location | None, root: Root, progress: ProgressCallback | None
) -> None:
    done = fetch([reference], place, root, progress=progress)
    path, fetched = checked.path, done.packages[0].path
    if path == root.path / fetched.name != fetched:  # a log that can be read has kept the name
        _exchange(path, fetched, root)


def _exchange(path: Path, fetched: Path, root: Root) -> None:
    """Give a version that is in `.others` its proper name, and keep the log that has it in `.others`."""
    digest = Digest.of(path)
    aside = root.path / ".others" / (digest.sha256[:16] if digest else "") / path.name
    try:
        aside.parent.mkdir(parents=True, exist_ok=True)
        path.rename(aside)
        for part in (fetched, *fetched.parent.glob("*.model.json")):
            part.rename(root.path / part.name)
        sync_folder(root.path)
    except OSError as error:
        raise EnvironmentFailure(f"can't be moved: {error.strerror or error}", file=path) from error
