"""Verifying the root: every file is hashed again, and compared with the indexes of all registries seen from here.

What signed metadata says of a file counts more than what an index says: the former was verified when it was fetched.
Looking changes nothing; `packages.repair` fetches what is damaged.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from tophub_registry.packages.digest import Digest, Meter
from tophub_registry.packages.folder import is_log
from tophub_registry.packages.index import iso_time, now
from tophub_registry.packages.trust.state import all_signed
from tophub_registry.packages.version import Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from tophub_registry.packages.download import ProgressCallback
    from tophub_registry.packages.index import Index
    from tophub_registry.packages.root import Root
    from tophub_registry.packages.trust.state import Signed

State = Literal["good", "damaged", "unknown", "leftover"]


@dataclass(frozen=True)
class Checked:
    """One file of the root.

    Attributes
    ----------
    path
        The file.
    state
        `good` if a registry has published these bytes under this name, `damaged` if one has published other bytes
        under it or the file can't be read, `unknown` if no registry that was seen from here has published such a name,
        `leftover` if a process that was killed left it.
    message
        What is to be said of it; empty if it is good.
    remedy
        What to do about it.
    registry
        The location that published it, or in place of which it stands.
    reference
        The package and version that it is, or should be.
    signed_by
        The registries that have signed these bytes under this name; if none has, only an index has them.
    """

    path: Path
    state: State
    message: str = ""
    remedy: str | None = None
    registry: str | None = None
    reference: Reference | None = None
    signed_by: tuple[str, ...] = ()


class Signatures(NamedTuple):
    """What was verified last of a signed registry.

    Attributes
    ----------
    registry
        The location's name.
    expires
        Until when it holds, ISO 8601 in UTC.
    valid
        Whether it still does.
    """

    registry: str
    expires: str
    valid: bool


@dataclass(frozen=True)
class Verification:
    """What a root's files are.

    Attributes
    ----------
    root
        The folder.
    files
        Its files, by path, without the user's own logs.
    registries
        The names of the registries that they were compared with.
    signatures
        Those of the signed ones, by name.
    """

    root: Path
    files: tuple[Checked, ...]
    registries: tuple[str, ...]
    signatures: tuple[Signatures, ...] = ()

    def in_state(self, state: State) -> tuple[Checked, ...]:
        """Return the files in a state."""
        return tuple(checked for checked in self.files if checked.state == state)


class _Entry(NamedTuple):
    """A file that a registry has published: a log or a cost model."""

    registry: str
    reference: Reference
    digest: Digest
    yanked: str | None
    folder: str  # its folder in `.others`
    signed: bool


@dataclass
class _Budget:
    """The number of bytes that may still be hashed; None for any."""

    rest: int | None

    def allows(self, path: Path) -> bool:
        if self.rest is None:
            return True
        with suppress(OSError):
            self.rest -= path.stat().st_size
        return self.rest >= 0


def verify(
    root: Root,
    *,
    most: int | None = None,
    progress: ProgressCallback | None = None,
    time: datetime | None = None,
) -> Verification:
    """Hash the root's files and compare them with all known indexes; the network is not used.

    Parameters
    ----------
    root
        What to verify; a root that does not exist has no files.
    most
        How many bytes to hash at most; of other files only the sizes are compared. None: all.
    progress
        Called as files are read.
    time
        The time at which signatures may have expired; by default now.

    Raises
    ------
    EnvironmentFailure
        The root can't be read.
    """
    registries = list(root.registries())
    signed = all_signed(root.path)
    published = _by_name(registries, signed)
    budget = _Budget(most)
    files = [_checked(path, published, budget, progress) for path in _files(root)]
    files += _memories(root)
    files += [
        Checked(
            path, "leftover", "left by a process that was killed", "the next fetch deletes it when it is an hour old"
        )
        for path in sorted(root.path.rglob(".*.part"))
        if path.is_file()
    ]
    names = tuple(name for name, _ in registries)
    signatures = tuple(
        Signatures(name, each.expires, iso_time(time or now()) < each.expires) for name, each in sorted(signed.items())
    )
    return Verification(root.path, tuple(sorted(files, key=lambda checked: checked.path)), names, signatures)


def _files(root: Root) -> Iterator[Path]:
    yield from root.files()
    yield from (path for path in sorted(root.path.glob(".others/*/*")) if path.is_file() and path.name[0] != ".")


def _by_name(registries: Iterable[tuple[str, Index]], signed: Mapping[str, Signed]) -> Mapping[str, list[_Entry]]:
    """Return what was published under each file name, by the latest registry first."""
    found: defaultdict[str, list[_Entry]] = defaultdict(list)
    for registry, index in registries:
        files = signed[registry].files if registry in signed else {}
        for package in index.packages:
            for version, published in index.versions(package).items():
                reference, yanked = Reference(package, version), published.yanked
                for each in (published, published.model):
                    if each is not None:
                        is_signed = each.file in files and files[each.file].digest == each.digest
                        folder = published.sha256[:16]
                        found[each.file].append(_Entry(registry, reference, each.digest, yanked, folder, is_signed))
    return found


def _checked(
    path: Path, published: Mapping[str, list[_Entry]], budget: _Budget, progress: ProgressCallback | None
) -> Checked:
    entries = published.get(path.name, [])
    if not entries:
        return Checked(
            path,
            "unknown",
            "no registry that was seen from here has published it",
            "`tophub list --location LOCATION` makes a registry known; delete the file if nobody needs it",
        )
    should_be = next((entry for entry in entries if entry.folder == path.parent.name), entries[0])
    try:
        found = _found(path, entries, budget, progress)
    except OSError as error:
        return _damaged(path, should_be, f"can't be read: {error.strerror or error}", "make the file readable")
    if found:
        entry = max(found, key=lambda entry: entry.signed)  # of equals the first
        said = f"yanked: {entry.yanked}" if entry.yanked else ""
        signed_by = tuple(each.registry for each in found if each.signed)
        return Checked(path, "good", said, None, entry.registry, entry.reference, signed_by)
    if _kept_aside(path):
        said = "kept aside under its own hash; no registry that was seen from here has published it"
        return Checked(path, "unknown", said, "delete it if nobody needs it")
    if path.suffix == ".log" and is_log(path):
        return _damaged(
            path,
            should_be,
            f"a log, but not the {_spelled(should_be)}: changed, or from a registry that was never seen here",
            "`tophub verify --repair` fetches the published file and keeps this one in .others; if it is another "
            "registry's, `tophub list --location LOCATION` makes that one known",
        )
    return _damaged(path, should_be, f"not the {_spelled(should_be)}", _again(should_be))


def _kept_aside(path: Path) -> bool:
    """Return whether a file is in `.others` with the bytes that it was put there with."""
    if path.parent.parent.name != ".others":
        return False
    digest = Digest.of(path)
    return digest is not None and digest.sha256[:16] == path.parent.name


def _found(path: Path, entries: Sequence[_Entry], budget: _Budget, progress: ProgressCallback | None) -> list[_Entry]:
    """Return the entries whose bytes a file has; or whose size if it is not to be hashed."""
    size = path.stat().st_size
    found = [entry for entry in entries if entry.digest.bytes == size]
    if not found or not budget.allows(path):
        return [entry._replace(signed=False) for entry in found]
    meter = Meter()
    with path.open("rb") as stream:
        for _ in meter.passing(stream):
            if progress is not None:
                progress(path.name, meter.bytes, size)
    return [entry for entry in found if entry.digest == meter.digest]


def _damaged(path: Path, entry: _Entry, message: str, remedy: str) -> Checked:
    return Checked(path, "damaged", message, remedy, entry.registry, entry.reference)


def _spelled(entry: _Entry) -> str:
    package, version = entry.reference
    return f"{package} {version} that {entry.registry} has published"


def _again(entry: _Entry) -> str:
    return f"`tophub fetch {entry.reference} --location {entry.registry}` fetches it again"


def _memories(root: Root) -> Iterator[Checked]:
    """Yield the remembered indexes that can't be read: their locations can go back unnoticed."""
    for path in sorted(root.path.glob(".indexes/*.json")):
        if root.recall(path) is None:
            yield Checked(
                path,
                "damaged",
                "not an index that this version remembers: nobody notices if its location goes back",
                "delete it; the next fetch from its location writes it anew",
            )
