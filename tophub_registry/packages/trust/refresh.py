"""Verifying a registry's metadata with TUF's client: from an anchor to what is signed of every file.

TUF's client works in a scratch copy of what is kept, so that a read-only root can be used too. Its work is kept even
if it ends in an error: a timestamp that was once verified can't be taken back.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tuf.api.exceptions import (
    DownloadError,
    RepositoryError,
    StorageError,
)
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.ngclient import Updater, UpdaterConfig

from tophub_registry.packages.index import INDEX_FILE, MAX_INDEX, Index, iso_time
from tophub_registry.packages.location import NotThere, read_small
from tophub_registry.packages.scratch import scratch_folder
from tophub_registry.packages.trust.client import Asker, Fetcher, errors_named, one_line
from tophub_registry.packages.trust.identifier import identifiers
from tophub_registry.packages.trust.policy import Untrusted
from tophub_registry.packages.trust.state import METADATA, Kept, Signed, SignedFile, package_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tuf.api.metadata import DelegatedRole, TargetFile

    from tophub_registry.packages.location import Location
    from tophub_registry.packages.trust.conditional import Response
    from tophub_registry.packages.web import Deadline

DELEGATION = "x-tophub"
"""The field of a delegated role that says whose files it may sign: `{"package": NAME, "models": [NAME, …] or null}`."""


@dataclass(frozen=True)
class Verified:
    """What a registry has signed, and its index."""

    signed: Signed
    index: Index


def refresh(
    location: Location, source: Location, kept: Kept, anchor: bytes, timestamp: Response, deadline: Deadline
) -> Verified:
    """Verify a registry's metadata and its index, and keep them.

    Parameters
    ----------
    location
        The registry's location.
    source
        Where its metadata is read: the location itself or a mirror.
    kept
        What is known of the location, and where more is kept.
    anchor
        The root metadata to start from.
    timestamp
        The response that has the source's `timestamp.json`.
    deadline
        When to give up.

    Raises
    ------
    Untrusted
        The metadata or the index is not signed as it must be, has expired, or went back.
    InputError
        The index is signed, and invalid.
    EnvironmentFailure
        The source does not respond, or nothing can be written in the system's temporary folder.
    """
    with scratch_folder("trust") as scratch:
        verified = scratch / METADATA
        _restore(verified, kept)
        known = {} if timestamp.data is None else {f"{METADATA}/timestamp.json": timestamp.data}
        config = UpdaterConfig(prefix_targets_with_hash=False)
        try:
            with errors_named(source):
                fetcher = Fetcher(source, known, deadline)
                updater = Updater(str(verified), METADATA, fetcher=fetcher, config=config, bootstrap=anchor)
                updater.refresh()
                entry = updater.get_targetinfo(INDEX_FILE)
                if entry is None:
                    raise Untrusted("the index is not signed", file=source.address(INDEX_FILE))
                data = _read_index(source, entry, deadline)
                index = Index.parse(data, file=source.address(INDEX_FILE))
                signed = _signed(updater, verified, index, _file(entry, Targets.type), location, anchor)
        finally:
            kept.keep({f"{METADATA}/{name}": each for name, each in Kept(scratch).metadata().items()})
    signed = signed.model_copy(update=timestamp.validators._asdict())
    kept.keep({"anchor.json": anchor, "index.json": data, "state.json": signed.model_dump_json().encode()})
    return Verified(signed, index)


def _restore(folder: Path, kept: Kept) -> None:
    folder.mkdir()
    for name, data in kept.metadata().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)


def _read_index(location: Location, entry: TargetFile, deadline: Deadline) -> bytes:
    """Read the signed index: under its hash, where an unfinished change can't have replaced it, or under its name."""
    for file in (f"{METADATA}/{entry.hashes.get('sha256', '')}.{INDEX_FILE}", INDEX_FILE):
        try:
            data = read_small(location, file, limit=min(entry.length, MAX_INDEX), deadline=deadline)
        except NotThere:
            continue
        entry.verify_length_and_hashes(data)
        return data
    raise NotThere("no such file", file=location.address(INDEX_FILE))


def accepts(root: Root, new: Mapping[str, Metadata[Any]]) -> bool:
    """Return whether clients that know only this root accept the metadata of these top-level roles.

    If so, it is written before the next root, and both kinds of clients accept what there is at every moment.
    """
    return all(
        root.get_verification_result(role, each.signed_bytes, each.signatures).verified for role, each in new.items()
    )


def _signed(
    updater: Updater, verified: Path, index: Index, listed: SignedFile, location: Location, anchor: bytes
) -> Signed:
    """Return what is signed of every file that the index lists; `verified` has the metadata that was verified."""
    root = Metadata[Root].from_file(str(verified / "root.json")).signed
    timestamp = Metadata[Timestamp].from_file(str(verified / "timestamp.json")).signed
    snapshot = Metadata[Snapshot].from_file(str(verified / "snapshot.json")).signed
    targets = Metadata[Targets].from_file(str(verified / "targets.json")).signed
    expiries = [root.expires, timestamp.expires, snapshot.expires, targets.expires]
    roles, asked = _Roles(verified), Asker(updater)
    files: dict[str, SignedFile] = {}
    refused: dict[str, str] = {}
    for file in _files_of(index):
        try:
            entry = asked.entry(file)
        except (RepositoryError, DownloadError) as error:  # of a delegated role; the others are good without it
            refused[file] = one_line(error)
            continue
        if entry is None:
            continue
        signed = _file(entry, Targets.type) if file in targets.targets else _delegated(file, entry, targets, roles)
        if signed is None:
            refused[file] = "the role that signed it may not sign for its package"
            continue
        files[file] = signed
        if signed.role != Targets.type:
            expiries.append(roles[signed.role].expires)
    return Signed(
        location=location.name,
        anchor=hashlib.sha256(anchor).hexdigest(),
        root_version=root.version,
        timestamp_version=timestamp.version,
        keys=identifiers(root.roles[Root.type].keyids, root.keys),
        expires=iso_time(min(expiries)),
        timestamp=hashlib.sha256((verified / "timestamp.json").read_bytes()).hexdigest(),
        index=listed,
        files=files,
        refused=refused,
        whole=asked.whole,
    )


def _files_of(index: Index) -> Iterator[str]:
    for package in index.packages:
        for published in index.versions(package).values():
            yield published.file
            if published.model is not None:
                yield published.model.file


def _delegated(file: str, entry: TargetFile, targets: Targets, roles: _Roles) -> SignedFile | None:
    """Return what a delegated role has signed, None if it is not the role's to sign.

    TUF's client has found the file in the first role whose path patterns match. A pattern can't tell
    `cuda_v2_v0.01.log` from a version of `cuda`, so the role's package is compared too. Roles that a delegated role
    delegates to do not count.
    """
    delegated = targets.delegations.roles if targets.delegations is not None else None
    for role in (delegated or {}).values():
        if not role.is_delegated_path(file) or file not in roles[role.name].targets:
            continue
        package, models = _owner(role)
        if package != package_of(file):
            return None
        return _file(entry, role.name, models)
    return None


def _owner(role: DelegatedRole) -> tuple[str | None, tuple[str, ...] | None]:
    """Return the package and the device models of a delegated role, as who delegated to it has signed them."""
    owner = role.unrecognized_fields.get(DELEGATION)
    if not isinstance(owner, dict) or not isinstance(owner.get("package"), str):
        return None, ()
    models = owner.get("models")
    if models is None:
        return owner["package"], None
    return owner["package"], tuple(map(str, models)) if isinstance(models, list) else ()


class _Roles(dict[str, Targets]):
    """Delegated roles' metadata by name, read when it is asked for."""

    def __init__(self, verified: Path) -> None:
        super().__init__()
        self._verified = verified

    def __missing__(self, name: str) -> Targets:
        try:
            self[name] = Metadata[Targets].from_file(str(self._verified / f"{quote(name, '')}.json")).signed
        except StorageError:  # a role that was not looked at
            self[name] = Targets()
        return self[name]


def _file(entry: TargetFile, role: str, models: tuple[str, ...] | None = None) -> SignedFile:
    return SignedFile(bytes=entry.length, sha256=entry.hashes.get("sha256", ""), role=role, models=models)
