"""Whether the root can be used, the location responds, and both have what they should."""

from __future__ import annotations

import os
import shutil
import threading
import time
from typing import TYPE_CHECKING

from tophub_registry import spelling
from tophub_registry.doctor.check import Check
from tophub_registry.doctor.variables import without_password
from tophub_registry.errors import InputError, TophubError, UsageError
from tophub_registry.packages.follow import ask_index
from tophub_registry.packages.index import INDEX_FILE, check_successor, freshness, iso_time, now
from tophub_registry.packages.location import VARIABLE, find_location
from tophub_registry.packages.lock import LOCK_FILE, known_lock
from tophub_registry.packages.lock import VARIABLE as LOCK
from tophub_registry.packages.locked import kept
from tophub_registry.packages.misses import are_kept
from tophub_registry.packages.trust.state import Kept
from tophub_registry.packages.verification import verify

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tophub_registry.packages.index import Index
    from tophub_registry.packages.location import Location
    from tophub_registry.packages.root import Root
    from tophub_registry.packages.trust.state import Signed

PATIENCE = 5.0
"""Seconds to wait for the location's index."""

_LITTLE_SPACE, _NO_SPACE = 200_000_000, 20_000_000  # bytes; a package with its cost model has 30 MB at most

_HASHED = 100_000_000
"""How many bytes are hashed at most; `tophub verify` hashes all."""

_SHOWN = 5
_DAY = 86400.0  # seconds


class Registry:
    """The location in use, whose index is read beside the other checks.

    Parameters
    ----------
    name
        The location's name; None means the one in the environment, or the builtin one.
    root
        Where the last index of each location is remembered.
    """

    def __init__(self, name: str | None, root: Root, environment: Mapping[str, str] = os.environ) -> None:
        self._named = name or environment.get(VARIABLE) or ""
        self._root = root
        self._location: Location | None = None
        self._outcome: Index | Exception | None = None
        self._end = time.monotonic() + PATIENCE
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        try:
            self._location = find_location(self._named)
            if self._location is not None:
                self._outcome = ask_index(self._location)
        except Exception as error:  # noqa: BLE001  # it is reported by `check`
            self._outcome = error

    def _wait(self) -> None:
        self._thread.join(max(0.0, self._end - time.monotonic()))

    @property
    def index(self) -> Index | None:
        """The location's index, or the last one that it served; None if none is known."""
        self._wait()
        if self._outcome is None or isinstance(self._outcome, Exception):
            return self._root.remembered(self._location) if self._location is not None else None
        return self._outcome

    def check(self) -> Iterator[Check]:
        """Check the location, its index, and whether that may follow the last one."""
        self._wait()
        place, outcome = self._location, self._outcome
        if place is None:
            if isinstance(outcome, Exception):
                remedy = getattr(outcome, "remedy", None)
                message = outcome.message if isinstance(outcome, TophubError) else str(outcome)
                yield Check("location", "error", without_password(f"{self._named}: {message}"), remedy)
            else:
                said = "fetching is switched off (NONE): only your own logs are used"
                yield Check("location", "warning", said, f"unset {VARIABLE}")
            return
        if outcome is None or isinstance(outcome, Exception):
            yield self._silent(place, outcome)
            return
        said = f"{place.name} responds: serial {outcome.serial}, {spelling.counted(len(outcome.packages), 'package')}"
        yield Check("location", "ok", said)
        seen = self._root.remembered(place)
        if seen is not None:
            remedy = "use another location, or ask its maintainer"
            notices = check_successor(seen, outcome, place=place.address(INDEX_FILE), remedy=remedy)
            yield from (Check("location", "warning", notice.message, notice.remedy) for notice in notices)
        signed = Kept.of(self._root.path, place).signed
        yield from _fresh(outcome) if signed is None else _signed(signed)

    def _silent(self, place: Location, error: Exception | None) -> Check:
        why = f"does not respond in {PATIENCE:.0f} s" if error is None else str(error)
        remedy = "check the address and the network"
        if isinstance(error, TophubError):
            why, remedy = error.message, error.remedy or remedy
        if isinstance(error, InputError):
            remedy = "use another location, or ask its maintainer"
        elif self._root.remembered(place) is not None:
            return Check("location", "warning", f"{place.name}: {why}; its last index is used", remedy)
        else:
            why += "; no index of it is remembered"
        return Check("location", "error", f"{place.name}: {why}", remedy)


def _fresh(index: Index) -> Iterator[Check]:
    time_now = now()
    for notice in freshness(index, time_now):
        yield Check("index", "warning", notice.message, notice.remedy)
    newest = max((each.released for versions in index.packages.values() for each in versions.values()), default="")
    if newest > f"{time_now:%Y-%m-%dT%H:%M:%SZ}":
        said = f"a version was released on {newest.partition('T')[0]}, which is in the future"
        yield Check("index", "warning", said, "set this machine's clock, `date` shows it")
    names = ", ".join(f"{package} {index.newest(package) or 'yanked'}" for package in sorted(index.packages))
    yield Check("index", "ok", f"newest versions: {names or 'none'}; expires on {index.expires.partition('T')[0]}")


def root(place: Root) -> Iterator[Check]:
    """Check that the root, or the folder that it will be made in, can be written to and has space."""
    path = place.path
    there = next((each for each in (path, *path.parents) if os.path.lexists(each)), path)
    if not there.is_dir():
        yield Check("root", "error", f"{there} is not a folder", "move it away, or use --root")
        return
    if not os.access(there, os.W_OK | os.X_OK):
        said = f"{there} can't be written to: nothing can be fetched"
        yield Check("root", "error", said, f"`chmod u+rwx {there}`, or make its file system writable")
    free = shutil.disk_usage(there).free
    if free < _LITTLE_SPACE:
        said = f"{spelling.size(free)} are free in {there}, and a package takes up to 30 MB"
        yield Check("root", "error" if free < _NO_SPACE else "warning", said, "free some space")
    elif os.access(there, os.W_OK | os.X_OK):
        exists = spelling.counted(len(place.files()), "file") if path.is_dir() else "does not exist yet"
        yield Check("root", "ok", f"{path}: {exists}, {spelling.size(free)} free")


def _signed(signed: Signed) -> Iterator[Check]:
    """Say whether the signatures that were verified last still hold."""
    day = signed.expires.partition("T")[0]
    if iso_time(now()) < signed.expires:
        yield Check("location", "ok", f"it is signed, and what was verified last holds until {day}")
    else:
        yield Check(
            "location",
            "warning",
            f"what was verified last of its signatures expired on {day}",
            "`tophub fetch` verifies them again",
        )


def remembered(place: Root) -> Iterator[Check]:
    """List the locations whose last index is remembered, and how old that is."""
    for path in sorted(place.path.glob(".indexes/*.json")):
        memory = place.recall(path)
        if memory is not None:
            name, index = memory
            days = max(0.0, (time.time() - path.stat().st_mtime) / _DAY)
            age = spelling.counted(round(days), "day")
            expired = " (expired)" if freshness(index, now()) else ""
            yield Check("remembered", "ok", f"{name}: serial {index.serial}, last served {age} ago{expired}")


def hashes(place: Root) -> Iterator[Check]:
    """Verify the root, hashing no more than is quick."""
    found = verify(place, most=_HASHED)
    damaged = found.in_state("damaged")
    for checked in damaged[:_SHOWN]:
        yield Check("files", "error", f"{checked.path}: {checked.message}", checked.remedy)
    if damaged[_SHOWN:]:
        yield Check("files", "error", f"{len(damaged) - _SHOWN} more are damaged", "`tophub verify` lists them")
    if leftover := found.in_state("leftover"):
        said = f"{spelling.counted(len(leftover), 'file')} left by processes that were killed"
        yield Check("files", "warning", said, "the next fetch deletes them when they are an hour old")
    good, unknown = len(found.in_state("good")), len(found.in_state("unknown"))
    more = f", {unknown} that no registry seen from here has published" if unknown else ""
    yield Check("files", "ok", f"{good} as published{more}")


def own(place: Root) -> Iterator[Check]:
    """Check the file of misses, and name the user's own logs."""
    logs = sorted(path.name for path in (place.path / "own").glob("*.log"))
    yield Check("own", "ok", f"own logs: {', '.join(logs) or 'none'}")
    try:
        on = are_kept(place)
    except UsageError:  # the variable's check says it
        return
    yield Check("own", "ok", f"layers without a record are {'kept' if on else 'not kept'} (`tophub misses`)")


def lock(place: Root, folder: Path, environment: Mapping[str, str] = os.environ) -> Iterator[Check]:
    """Check the lock in effect, or that of the current folder, and whether its versions are here."""
    named = environment.get(LOCK)
    path = folder / (named or LOCK_FILE)
    if not named and not path.is_file():
        return
    found = known_lock(path)
    missing = [package for package, locked in found.packages.items() if kept(locked, place) is None]
    use = "in effect" if named else "not in effect without --locked"
    said = f"{path}: {spelling.counted(len(found.packages), 'package')}, {use}"
    if missing:
        remedy = f"`tophub fetch --locked {path}`"
        yield Check("lock", "warning", f"{said}; not on this machine: {', '.join(sorted(missing))}", remedy)
    else:
        yield Check("lock", "ok", f"{said}; all on this machine")
