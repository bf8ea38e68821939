"""Mirroring: a verified copy of a whole registry in a folder, for clients that can't verify, or to be near.

A mirror is a registry like its source, with the same metadata, so that whoever uses it can verify it again. It is
updated in an order in which it is complete at every moment: logs and models first, then metadata, then what says which
metadata is current. What is there already is not fetched again; a file that was replaced on disk is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from tophub_registry.errors import EnvironmentFailure, UsageError
from tophub_registry.files import atomic_write, check_folder_place, make_folder, make_folders
from tophub_registry.packages.digest import Digest
from tophub_registry.packages.download import download
from tophub_registry.packages.follow import follow_index
from tophub_registry.packages.index import INDEX_FILE, Index, Notice, now
from tophub_registry.packages.location import Folder, NotThere, read_small
from tophub_registry.packages.root import taking_turns
from tophub_registry.packages.trust.ask import MAX_ROOT, ask
from tophub_registry.packages.trust.state import METADATA, Kept, Signed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from tophub_registry.packages.download import ProgressCallback
    from tophub_registry.packages.index import Published
    from tophub_registry.packages.location import Location
    from tophub_registry.packages.root import Root as LocalRoot

_MARK = ".mirror"
"""The file in a mirror that has its source's name."""

_MAX_ROLE = 5_000_000
"""The largest metadata file of a delegated role that TUF's client reads, in bytes."""

_ROTATIONS = 256
"""How many roots TUF's client follows at most."""


@dataclass(frozen=True)
class MirroredFile:
    """A file of a mirror: fetched now, or there before."""

    file: str
    status: Literal["downloaded", "present"]


@dataclass(frozen=True)
class Mirror:
    """The result of mirroring.

    Attributes
    ----------
    location
        The source's name.
    folder
        The mirror.
    files
        Its logs and cost models.
    signed
        Whether they were verified with signatures, and the mirror has these too.
    notices
        What else the user should know.
    """

    location: str
    folder: Path
    files: tuple[MirroredFile, ...]
    signed: bool
    notices: tuple[Notice, ...]


def mirror(
    location: Location,
    folder: Path,
    root: LocalRoot,
    *,
    progress: ProgressCallback | None = None,
    time: datetime | None = None,
) -> Mirror:
    """Make a folder a copy of a registry, or bring it up to date.

    Parameters
    ----------
    location
        The source.
    folder
        The mirror; it is created if it is missing.
    root
        Where is kept what is known of the source.
    progress
        Called as files arrive.
    time
        The time at which signatures may have expired; by default now.

    Raises
    ------
    UsageError
        The folder is something else than a mirror of this source, or the folder around it is missing.
    Untrusted
        The source is not signed as it must be; the mirror is as before.
    InputError
        The source's index is invalid.
    EnvironmentFailure
        The source does not respond, or sends other bytes than were published; or the disk is full.
    """
    _check_folder(folder, location)
    time = time or now()
    asked = ask(location, root, time)
    index, signed = asked.index, asked.signed
    notices = [*asked.notices, *follow_index(location, index, root, time, signed=signed is not None)]
    if signed is not None:
        for published in _versions(index):
            signed.check(published)
    make_folder(folder)
    with taking_turns(folder / INDEX_FILE):
        _write(folder / _MARK, f"{location.name}\n".encode())
        files = tuple(_bring(folder, name, digest, location, progress) for name, digest in _files(index))
        if signed is not None:
            _write_metadata(folder, location, Kept.of(root.path, location), signed)
        else:
            _write(folder / INDEX_FILE, index.to_bytes())
    return Mirror(location.name, folder, files, signed is not None, tuple(notices))


def _check_folder(folder: Path, location: Location) -> None:
    if isinstance(location, Folder) and folder.absolute() == location.path:
        raise UsageError("a mirror of itself", file=folder, remedy="name another folder")
    check_folder_place(folder)
    mark = folder / _MARK
    if mark.exists():
        source = mark.read_text(encoding="utf-8").strip()
        if source != location.name:
            raise UsageError(f"a mirror of {source}", file=folder, remedy="name another folder for another source")
    elif folder.is_dir() and any(folder.iterdir()):
        raise UsageError("not empty, and not a mirror", file=folder, remedy="name a new folder")


def _versions(index: Index) -> Iterator[Published]:
    for package in index.packages:
        yield from index.versions(package).values()


def _files(index: Index) -> Iterator[tuple[str, Digest]]:
    for published in _versions(index):
        yield published.file, published.digest
        if published.model is not None:
            yield published.model.file, published.model.digest


def _bring(
    folder: Path, name: str, digest: Digest, location: Location, progress: ProgressCallback | None
) -> MirroredFile:
    if Digest.of(folder / name) == digest:
        return MirroredFile(name, "present")
    download(location, name, folder / name, wanted=digest, progress=progress)
    return MirroredFile(name, "downloaded")


def _write_metadata(folder: Path, location: Location, kept: Kept, signed: Signed) -> None:
    """Write the metadata that was verified, the timestamp after all that it leads to, and the index."""
    from tuf.api.metadata import Metadata, Root, Snapshot, Targets

    from tophub_registry.packages.trust.refresh import accepts

    top, known = folder / METADATA, kept.metadata()
    index, timestamp = kept.index, known.get("timestamp.json")
    if index is None or timestamp is None or hashlib.sha256(timestamp).hexdigest() != signed.timestamp:
        raise EnvironmentFailure("what was verified is not kept there", file=kept.folder, remedy="give another --root")
    snapshot = Metadata[Snapshot].from_bytes(known["snapshot.json"]).signed
    delegations = Metadata[Targets].from_bytes(known["targets.json"]).signed.delegations
    delegated = {} if delegations is None else delegations.roles or {}
    for listed, entry in snapshot.meta.items():
        role = listed.removesuffix(".json")
        name = f"{quote(role, '')}.json"  # as TUF's client names it: a role's name may be anything, as `../x`
        if (data := known.get(name)) is not None and Metadata.from_bytes(data).signed.version == entry.version:
            _write(top / f"{entry.version}.{name}", data)
        elif role in delegated:  # and no file here needs it
            _write(top / f"{entry.version}.{name}", _metadata(location, f"{entry.version}.{name}", _MAX_ROLE))
    _write(top / f"{signed.index.sha256}.{INDEX_FILE}", index)
    _write(top / f"{snapshot.version}.snapshot.json", known["snapshot.json"])
    roots = {
        name.removeprefix("root_history/"): data for name, data in known.items() if name.startswith("root_history/")
    }
    oldest = min(int(name.partition(".")[0]) for name in roots)
    for version in range(max(1, oldest - _ROTATIONS), oldest):  # for clients that know an older one
        roots[f"{version}.root.json"] = _metadata(location, f"{version}.root.json", MAX_ROOT)
    new = {each: Metadata.from_bytes(known[f"{each}.json"]) for each in ("targets", "snapshot", "timestamp")}
    before = top / "root.json"
    if before.exists() and accepts(Metadata[Root].from_file(str(before)).signed, new):
        _write(top / "timestamp.json", timestamp)
    for name in sorted(roots, key=lambda name: int(name.partition(".")[0])):
        if int(name.partition(".")[0]) <= signed.root_version:
            _write(top / name, roots[name])
    _write(top / "timestamp.json", timestamp)  # from here on it is up to date
    _write(top / "root.json", roots[f"{signed.root_version}.root.json"])
    _write(folder / INDEX_FILE, index)


def _metadata(location: Location, name: str, limit: int) -> bytes:
    """Read metadata that is copied unverified: whoever reads the mirror verifies it."""
    try:
        return read_small(location, f"{METADATA}/{name}", limit=limit)
    except NotThere:
        return b""


def _write(path: Path, data: bytes) -> None:
    try:
        if not data or (path.is_file() and path.read_bytes() == data):
            return
    except OSError as error:  # as of a name that is too long
        raise EnvironmentFailure(f"can't be read: {error.strerror or error}", file=path) from error
    make_folders(path.parent)
    with atomic_write(path, overwrite=True) as stream:
        stream.write(data)
