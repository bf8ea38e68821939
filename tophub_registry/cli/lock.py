"""`tophub lock`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tophub_registry.cli import notes, terminal
from tophub_registry.cli.location_options import Location, RootFolder
from tophub_registry.cli.trust_options import Insecure, TrustedRoot
from tophub_registry.errors import UsageError
from tophub_registry.packages import location as locations
from tophub_registry.packages.follow import ask_or_recall
from tophub_registry.packages.index import now
from tophub_registry.packages.lock import LOCK_FILE, changes, make_lock, read_lock
from tophub_registry.packages.root import Root
from tophub_registry.packages.trust.policy import Trust
from tophub_registry.packages.version import Reference

if TYPE_CHECKING:
    from tophub_registry.packages.lock import Lock, LockChange, LockedVersion


def command(
    packages: Annotated[
        list[str] | None,
        typer.Argument(
            help="PACKAGE, or PACKAGE@VERSION to stay there; by default those in the lock, for a new lock all.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="The lock to write or update.")] = Path(LOCK_FILE),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if the lock is not up to date.")
    ] = False,
    location: Location = None,
    root: RootFolder = None,
    trust: TrustedRoot = None,
    insecure: Insecure = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Write the packages that a project uses into a lock: their versions, sizes and hashes, and the location's name.

    `tophub fetch --locked` fetches exactly these, on every machine and from any location that has the same bytes, and
    `tophub compile --locked` compiles with them. Called again, it updates the lock and says what has changed.
    """
    before = read_lock(output)
    place = _place(location, before)
    index, notices = ask_or_recall(place, Root.at(root, trust=Trust.of(trust, insecure=insecure)), now())
    lock, more = make_lock(index, place.name, [Reference.parse(text) for text in packages or []], before)
    found = changes(before, lock)
    stale = [change for change in found if change.kind != "unchanged"]
    if not check and (before is None or before.to_bytes() != lock.to_bytes()):
        lock.write(output)
    if as_json:
        fields = {
            "lock": str(output),
            "location": lock.location,
            "current": before is not None and not stale,
            "packages": [_fields(change) for change in found],
            "notices": [notice._asdict() for notice in (*notices, *more)],
        }
        terminal.out(json.dumps(fields, indent=1) + "\n")
    else:
        _print(output, before, lock, found, check=check)
        notes.notices((*notices, *more))
    if check and (before is None or stale):
        raise typer.Exit(1)


def _place(given: str | None, before: Lock | None) -> locations.Location:
    """Return the location to look at: the given one, else that of the environment, else that of the lock."""
    if before is not None and not given and not os.environ.get(locations.VARIABLE):
        given = before.location
    place = locations.find_location(given)
    if place is None:
        raise UsageError("fetching is switched off: the location is NONE", remedy="unset TOPHUB_LOCATION")
    return place


def _fields(change: LockChange) -> dict[str, object]:
    return {
        "package": change.package,
        "change": change.kind,
        "before": None if change.before is None else change.before.model_dump(),
        "after": None if change.after is None else change.after.model_dump(),
    }


def _print(output: Path, before: Lock | None, lock: Lock, found: tuple[LockChange, ...], *, check: bool) -> None:
    width = max((len(change.package) for change in found), default=0)
    for change in found:
        terminal.out(f"{change.package:<{width}}  {_text(change)}\n")
    if before is None:
        terminal.out(f"there is no {output}: `tophub lock` writes it\n" if check else f"{output} is new\n")
        return
    moved = "" if before.location == lock.location else f"; location: {before.location} → {lock.location}"
    current = all(change.kind == "unchanged" for change in found)
    said = "is up to date" if current else "is not up to date: `tophub lock` updates it" if check else "is updated"
    terminal.out(f"{output} {said}{moved}\n")


def _text(change: LockChange) -> str:
    old, new = _version(change.before), _version(change.after)
    if change.kind == "other bytes":
        return f"{old} → other bytes under the same version"
    return new if change.kind == "unchanged" else f"{old} → {new}"


def _version(locked: LockedVersion | None) -> str:
    if locked is None:
        return "none"
    return locked.version + (" (pinned)" if locked.pinned else "")
