"""Publishing signed metadata: what is complete becomes visible at once, with the new `timestamp.json`.

Everything that the timestamp leads to is written before it, and an interrupted publication is repeated by the same
command. Where a new root replaces keys, those of the former root and of the new one sign what is published, if they are
there, so that clients of both accept it at every moment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tophub_registry.errors import InputError, UsageError
from tophub_registry.packages.index import INDEX_FILE
from tophub_registry.packages.trust.refresh import accepts
from tophub_registry.packages.trust.state import METADATA
from tophub_registry.publishing.metadata import LIFETIMES, STAGED, Store, expiry

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner
    from tuf.api.metadata import Metadata

SHOW = "`tophub keys show` says who must sign what"


def publish(store: Store, online: Sequence[CryptoSigner], time: datetime) -> Iterator[str]:
    """Publish what is staged, which is complete, and a new snapshot and timestamp."""
    staged = dict(store.all_staged())
    root = store.known_root().signed
    allowed = {*root.roles["timestamp"].keyids}
    if not allowed & {each.public_key.keyid for each in online}:
        raise UsageError("the new root has other keys for snapshot and timestamp", file=store.folder, remedy=SHOW)
    if not staged:
        yield from renew_online(store, online, time)
        return
    index, outdated = _staged_index(store), _outdated(store)
    for role, metadata in staged.items():
        if role != "root":
            store.write(f"{METADATA}/{metadata.signed.version}.{role}.json", metadata.to_bytes())
    if index is not None:
        store.write(f"{METADATA}/{_copy_of(index)}", index)
        outdated = [path for path in outdated if path.name != _copy_of(index)]
    snapshot = _snapshot(store, {role: each for role, each in staged.items() if role != "root"}, online, time)
    timestamp = _timestamp(store, snapshot, online, time)
    store.write(f"{METADATA}/{snapshot.signed.version}.snapshot.json", snapshot.to_bytes())
    _commit(store, staged, {"snapshot": snapshot, "timestamp": timestamp})
    if index is not None:
        store.write(INDEX_FILE, index)  # for whoever reads it without signatures
        for path in outdated:
            path.unlink(missing_ok=True)
    store.discard()
    yield from (*staged, "snapshot", "timestamp")


def renew_online(store: Store, online: Sequence[CryptoSigner], time: datetime) -> Iterator[str]:
    """Publish a new timestamp; and a new snapshot if it has lived half of its time."""
    snapshot = store.snapshot
    assert snapshot is not None  # noqa: S101  # a registry that was published has one
    if expiry("snapshot", time) - snapshot.signed.expires > LIFETIMES["snapshot"] / 2:
        snapshot = _snapshot(store, {}, online, time)
        store.write(f"{METADATA}/{snapshot.signed.version}.snapshot.json", snapshot.to_bytes())
        yield "snapshot"
    store.write(f"{METADATA}/timestamp.json", _timestamp(store, snapshot, online, time).to_bytes())
    yield "timestamp"


def _snapshot(
    store: Store, new: dict[str, Metadata[Any]], online: Sequence[CryptoSigner], time: datetime
) -> Metadata[Any]:
    from tuf.api.metadata import Metadata, MetaFile, Snapshot

    before = store.snapshot
    meta = {} if before is None else dict(before.signed.meta)  # nothing that was in it may disappear
    for role, metadata in new.items():
        meta[f"{role}.json"] = MetaFile.from_data(metadata.signed.version, metadata.to_bytes(), ["sha256"])
    version = 1 if before is None else before.signed.version + 1
    return _signed_by(Metadata(Snapshot(version=version, expires=expiry("snapshot", time), meta=meta)), online)


def _timestamp(store: Store, snapshot: Metadata[Any], online: Sequence[CryptoSigner], time: datetime) -> Metadata[Any]:
    from tuf.api.metadata import Metadata, MetaFile, Timestamp

    before = store.timestamp
    entry = MetaFile.from_data(snapshot.signed.version, snapshot.to_bytes(), ["sha256"])
    version = 1 if before is None else before.signed.version + 1
    return _signed_by(
        Metadata(Timestamp(version=version, expires=expiry("timestamp", time), snapshot_meta=entry)), online
    )


def _signed_by(metadata: Metadata[Any], signers: Sequence[CryptoSigner]) -> Metadata[Any]:
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata


def _commit(store: Store, staged: dict[str, Metadata[Any]], online: dict[str, Metadata[Any]]) -> None:
    """Write the timestamp, with which all of it is published, and a new root, if there is one, in a safe order."""
    root = staged.get("root")
    before = None if root is None else store.root(root.signed.version - 1)
    new = online | {role: each for role, each in staged.items() if role == "targets"}
    if root is not None and (before is None or not accepts(before.signed, new)):
        store.write(f"{METADATA}/{root.signed.version}.root.json", root.to_bytes())
    store.write(f"{METADATA}/timestamp.json", online["timestamp"].to_bytes())
    if root is not None:
        store.write(f"{METADATA}/{root.signed.version}.root.json", root.to_bytes())
        store.write(f"{METADATA}/root.json", root.to_bytes())


def _copy_of(index: bytes) -> str:
    """Return the name of an index under its hash."""
    return f"{hashlib.sha256(index).hexdigest()}.{INDEX_FILE}"


def _staged_index(store: Store) -> bytes | None:
    """Return the index that is to be published, None if it stays; InputError if it is not the one that was signed."""
    path = store.folder / STAGED / INDEX_FILE
    if not path.exists():
        return None
    data = path.read_bytes()
    targets = store.latest("targets")
    listed = None if targets is None else targets.signed.targets.get(INDEX_FILE)
    if listed is None or listed.hashes["sha256"] != hashlib.sha256(data).hexdigest():
        raise InputError("not the index that was signed", file=path, remedy="`tophub keys discard`, and do it again")
    return data


def _outdated(store: Store) -> list[Path]:
    """Return the published indexes under their hashes, except the current one, which clients may be about to read."""
    targets = store.targets()
    listed = None if targets is None else targets.signed.targets.get(INDEX_FILE)
    current = None if listed is None else f"{listed.hashes['sha256']}.{INDEX_FILE}"
    return [path for path in (store.folder / METADATA).glob(f"*.{INDEX_FILE}") if path.name != current]
