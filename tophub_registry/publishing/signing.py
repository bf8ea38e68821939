"""Collecting signatures: who has signed what waits, who is missing, and publishing what is complete."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tophub_registry.errors import InputError, UsageError
from tophub_registry.files import atomic_write
from tophub_registry.packages.digest import Digest
from tophub_registry.packages.index import INDEX_FILE, now
from tophub_registry.publishing.changes import changes_of_root, changes_of_targets
from tophub_registry.publishing.metadata import STAGED, Store, read_metadata
from tophub_registry.publishing.publication import SHOW, publish, renew_online
from tophub_registry.publishing.registry import changing, while_unchanged

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner
    from tuf.api.metadata import Metadata, Root, Targets


@dataclass(frozen=True)
class Waiting:
    """Metadata that waits for signatures.

    Attributes
    ----------
    role
        Whose.
    version
        Its number.
    signed
        The identifiers of the keys that have signed it.
    missing
        Those of the keys that may still sign; empty if it is complete.
    needed
        How many more must sign, at least.
    files
        The files that it has and the published one has not, or with other bytes.
    changes
        What else it changes, a line each: keys, delegations, files that are gone.
    """

    role: str
    version: int
    signed: tuple[str, ...]
    missing: tuple[str, ...]
    needed: int
    files: tuple[str, ...]
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Signing:
    """The result of signing or publishing.

    Attributes
    ----------
    signed
        The roles that got signatures.
    waiting
        What still waits for some.
    published
        The roles that were published, empty if nothing was.
    unused
        The identifiers of the given keys that nothing waited for.
    """

    signed: tuple[str, ...]
    waiting: tuple[Waiting, ...]
    published: tuple[str, ...]
    unused: tuple[str, ...] = ()


def sign(folder: Path, signers: Sequence[CryptoSigner], *, time: datetime | None = None) -> Signing:
    """Sign all that waits for these keys, and publish it if it is complete and an online key is among them.

    Raises
    ------
    UsageError
        The registry is not signed; nothing waits for any of the keys; or a key may not sign anything.
    InputError
        A file that would be signed is not what the index lists.
    EnvironmentFailure
        The registry can't be written to, or another process has changed it meanwhile.
    """
    time = time or now()
    with changing(folder):
        store = Store(folder)
        store.known_root()
        used = list(_sign_staged(store, signers))
        signed = tuple(dict.fromkeys(role for role, _ in used))
        online = [each for each in signers if _is_online(store, each)]
        useful = {key for _, key in used} | {each.public_key.keyid for each in online}
        unused = tuple(key for each in signers if (key := each.public_key.keyid) not in useful)
        if not signed and not online:
            keys = ", ".join(each.public_key.keyid[:8] for each in signers)
            raise UsageError(
                f"nothing waits for the signature of {keys}", file=folder, remedy="`tophub keys show` says what waits"
            )
        waiting = tuple(_waiting(store))
        complete = bool(waiting) and not any(each.needed for each in waiting)
        published = tuple(publish(store, online, time)) if online and (complete or not waiting) else ()
        return Signing(signed, () if published else waiting, published, unused)


def sign_file(path: Path, signers: Sequence[CryptoSigner]) -> tuple[str, ...]:
    """Sign one file of staged metadata, away from its registry; return the keys' identifiers.

    Raises
    ------
    InputError
        It is not metadata.
    """
    metadata = read_metadata(path)
    for signer in signers:
        metadata.sign(signer, append=True)
    with atomic_write(path, overwrite=True) as stream:
        stream.write(metadata.to_bytes())
    return tuple(signer.public_key.keyid for signer in signers)


def refresh(folder: Path, signers: Sequence[CryptoSigner], *, time: datetime | None = None) -> Signing:
    """Publish what is complete, and renew the timestamp, and the snapshot where it is due.

    Raises
    ------
    UsageError
        The registry is not signed, what waits is not complete yet and was never published, or none of the keys is the
        online one.
    EnvironmentFailure
        The registry can't be written to.
    """
    time = time or now()
    with changing(folder):
        store = Store(folder)
        store.known_root()
        online = [each for each in signers if _is_online(store, each)]
        if not online:
            raise UsageError("none of the keys may sign snapshot and timestamp", file=folder, remedy=SHOW)
        waiting = tuple(_waiting(store))
        if any(each.needed for each in waiting):
            if store.timestamp is None:
                raise UsageError("the first metadata is not complete", file=folder, remedy=SHOW)
            return Signing((), waiting, tuple(renew_online(store, online, time)))
        return Signing((), (), tuple(publish(store, online, time)))


def waiting_in(folder: Path) -> tuple[Waiting, ...]:
    """Return what waits for signatures in a registry."""
    return tuple(_waiting(Store(folder)))


def _waiting(store: Store) -> Iterator[Waiting]:
    for role, metadata in store.all_staged():
        signed: dict[str, None] = {}
        missing: dict[str, None] = {}
        lacking: list[tuple[int, set[str]]] = []
        for delegator in _delegators(store, role):
            result = delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
            signed |= dict.fromkeys(result.signed)
            if (more := result.threshold - len(result.signed)) > 0:
                missing |= dict.fromkeys(result.unsigned)
                lacking.append((more, {*result.unsigned}))
        files, changes = _new_files(store, role), _changes(store, role, metadata)
        yield Waiting(role, metadata.signed.version, tuple(signed), tuple(missing), _needed(lacking), files, changes)


def _needed(lacking: list[tuple[int, set[str]]]) -> int:
    """Return how many signatures are enough, if each of at most two roots wants some from its own keys."""
    if len(lacking) < 2:  # noqa: PLR2004
        return sum(more for more, _ in lacking)
    (one, its), (other, others) = lacking
    return one + other - min(one, other, len(its & others))


def _changes(store: Store, role: str, staged: Metadata[Any]) -> tuple[str, ...]:
    if role == "root":
        root = store.root()
        return tuple(changes_of_root(None if root is None else root.signed, staged.signed))
    before = store.targets(role)
    return tuple(changes_of_targets(None if before is None else before.signed, staged.signed))


def _delegators(store: Store, role: str) -> list[Root | Targets]:
    """Return the metadata that says who may sign a role: for a root both the one before it and itself."""
    root = store.known_root().signed
    if role == "root":
        before = store.root(root.version - 1)
        return [root] if before is None else [before.signed, root]
    if role == "targets":
        return [root]
    targets = store.latest("targets")
    return [] if targets is None else [targets.signed]


def _new_files(store: Store, role: str) -> tuple[str, ...]:
    """Return the files that a role's staged metadata has and the published one has not, or with other bytes."""
    staged = store.staged(role)
    if role == "root" or staged is None:
        return ()
    before = store.targets(role)
    known = {} if before is None else before.signed.targets
    return tuple(file for file, entry in staged.signed.targets.items() if known.get(file) != entry)


def _sign_staged(store: Store, signers: Sequence[CryptoSigner]) -> Iterator[tuple[str, str]]:
    """Sign what waits; yield each role and key that signed it."""
    for role, metadata in store.all_staged():
        delegators = _delegators(store, role)
        if role == "targets" and (before := store.root(store.known_root().signed.version - 1)) is not None:
            delegators.append(before.signed)  # for clients that do not know the new root yet
        allowed = {key for delegator in delegators for key in delegator.get_delegated_role(role).keyids}
        mine = [each for each in signers if each.public_key.keyid in allowed - {*metadata.signatures}]
        if mine:
            _check_files(store, role)
            before = copy.deepcopy(metadata)
            for signer in mine:
                metadata.sign(signer, append=True)
            with while_unchanged(store.folder, lambda: store.staged(role) == before):  # noqa: B023  # it is called here
                store.stage(role, metadata)
            yield from ((role, each.public_key.keyid) for each in mine)


def _check_files(store: Store, role: str) -> None:
    """Check that the files which would be signed anew are there, with these bytes."""
    staged = store.staged(role)
    for file in _new_files(store, role):
        path = store.folder / (f"{STAGED}/{INDEX_FILE}" if file == INDEX_FILE else file)
        entry = staged.signed.targets[file] if staged is not None else None
        if entry is not None and Digest.of(path) != Digest(entry.length, entry.hashes["sha256"]):
            raise InputError("not the file that would be signed", file=path, remedy="nothing was signed")


def _is_online(store: Store, signer: CryptoSigner) -> bool:
    root = store.known_root().signed
    before = store.root(root.version - 1)
    roots = [root] if before is None else [root, before.signed]
    return any(signer.public_key.keyid in each.roles["timestamp"].keyids for each in roots)
