"""Staging: the metadata of a registry's files, made to wait for signatures.

Metadata that changes again before it is complete loses the signatures that it had.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tophub_registry.errors import UsageError
from tophub_registry.packages.index import INDEX_FILE, Index, Published, now
from tophub_registry.packages.trust.refresh import DELEGATION
from tophub_registry.publishing.metadata import Store, expiry
from tophub_registry.records.target import Target

if TYPE_CHECKING:
    from tuf.api.metadata import DelegatedRole, Metadata, Targets

ONLINE = ("snapshot", "timestamp")
"""The roles whose keys are on the machine that serves the registry."""


def stage_index(folder: Path, index: Index, time: datetime | None = None) -> None:
    """Stage an index, and the metadata of all files that it lists; the caller has locked the registry."""
    stage_targets(Store(folder), index, time or now())


def stage_targets(store: Store, index: Index, time: datetime) -> None:
    """Stage the metadata of every role that signs files of an index, where it differs from the published one."""
    from tuf.api.metadata import Metadata

    data = index.to_bytes()
    before = store.latest("targets")
    targets = copy_of(before, next_version(store.targets()), expiry("targets", time))
    files = {"targets": {INDEX_FILE: _target(INDEX_FILE, data=data)}}
    for package in index.packages:
        for published in index.versions(package).values():
            role = _signer_of(package, published, targets)
            entries = files.setdefault(role, {})
            entries[published.file] = _target(published.file, digest=published.digest)
            if published.model is not None:
                entries[published.model.file] = _target(published.model.file, digest=published.model.digest)
    store.stage_index(index)
    targets.targets = files.pop("targets")
    store.stage("targets", Metadata(targets))
    for name, entries in files.items():
        published_role = store.targets(name)
        if published_role is None or published_role.signed.targets != entries:
            copy = copy_of(store.latest(name), next_version(published_role), expiry(name, time))
            copy.targets = entries
            store.stage(name, Metadata(copy))


def _signer_of(package: str, published: Published, targets: Targets) -> str:
    """Return the role that signs a version: targets if it has done so, else the first one that may."""
    known = targets.targets.get(published.file)
    if known is not None and known.hashes.get("sha256") == published.sha256:
        return "targets"
    models = {Target.parse(target).model for target in published.targets}
    for name, role in _delegated(targets):
        owner = role.unrecognized_fields.get(DELEGATION, {})
        if owner.get("package") == package and (owner.get("models") is None or models <= {*owner["models"]}):
            return name
    return "targets"


def _delegated(targets: Targets) -> Iterable[tuple[str, DelegatedRole]]:
    delegations = targets.delegations
    return () if delegations is None or delegations.roles is None else delegations.roles.items()


def _target(name: str, *, data: bytes | None = None, digest: Any = None) -> Any:
    from tuf.api.metadata import TargetFile

    if data is not None:
        return TargetFile.from_data(name, data, ["sha256"])
    return TargetFile(digest.bytes, {"sha256": digest.sha256}, name)


def copy_of(metadata: Metadata[Targets] | None, version: int, expires: datetime) -> Targets:
    """Return a copy of a targets role's metadata with another version and expiry; without any, an empty one."""
    from tuf.api.metadata import Targets

    copy = Targets() if metadata is None else Targets.from_dict(metadata.signed.to_dict())
    copy.version, copy.expires = version, expires
    return copy


def stage_renewed(store: Store, role: str, time: datetime) -> None:
    """Stage a role's metadata with a new expiry; UsageError if there is no such role, or it is an online one."""
    from tuf.api.metadata import Metadata

    latest = store.latest(role)
    if latest is None or role in ONLINE:
        known = ", ".join(["root", "targets", *store.delegated])
        raise UsageError(
            f"no such role: {role!r}", remedy=f"its roles: {known}; `tophub keys refresh` renews the others"
        )
    signed = type(latest.signed).from_dict(latest.signed.to_dict())
    signed.version = next_version(store.root() if role == "root" else store.targets(role))
    signed.expires = expiry(role, time)
    store.stage(role, Metadata(signed))


def next_version(published: Metadata[Any] | None) -> int:
    """Return the version after the published one."""
    return 1 if published is None else int(published.signed.version) + 1
