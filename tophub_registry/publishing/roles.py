"""Who may sign what in a registry: its first keys, changes of keys, delegation to a device's owner.

Each function stages new metadata, which `signing` then collects signatures for. Metadata that changes again before it
is complete loses the signatures that it had.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tophub_registry import spelling
from tophub_registry.errors import UsageError
from tophub_registry.packages.index import Index, now
from tophub_registry.packages.trust.ask import LOCATIONS
from tophub_registry.packages.trust.identifier import identifier
from tophub_registry.packages.trust.refresh import DELEGATION
from tophub_registry.packages.version import check_package
from tophub_registry.publishing.metadata import Store, expiry, latest_index
from tophub_registry.publishing.registry import changing, while_unchanged
from tophub_registry.publishing.staging import ONLINE, copy_of, next_version, stage_renewed, stage_targets

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey


@dataclass(frozen=True)
class FirstKeys:
    """The public keys that a registry starts with.

    Attributes
    ----------
    root, targets
        The keys of these roles' holders, and how many of them must sign.
    online
        The keys of the machine that serves the registry, one of which must sign.
    threshold
        How many of root's and of targets' keys must sign.
    """

    root: Sequence[SSlibKey]
    targets: Sequence[SSlibKey]
    online: Sequence[SSlibKey]
    threshold: int = 2


def start(folder: Path, keys: FirstKeys, *, locations: Sequence[str] = (), time: datetime | None = None) -> None:
    """Stage the first metadata of a registry.

    Parameters
    ----------
    folder
        The registry's folder.
    keys
        Who may sign.
    locations
        The addresses that the root is for, if it ships with an installation.
    time
        The time of the change; by default now.

    Raises
    ------
    UsageError
        The registry is signed already, or there are fewer keys than must sign, or the same key twice.
    """
    from tuf.api.metadata import Metadata, Root

    time = time or now()
    with changing(folder):
        store = Store(folder)
        if store.latest("root") is not None:
            raise UsageError("the registry is signed already", file=folder, remedy="`tophub keys show` shows by whom")
        fields = {LOCATIONS: list(locations)} if locations else {}
        root = Root(version=1, expires=expiry("root", time), unrecognized_fields=fields)
        for role, given, needed in (
            ("root", keys.root, keys.threshold),
            ("targets", keys.targets, keys.threshold),
            *((role, keys.online, 1) for role in ONLINE),
        ):
            _check_keys(role, [key.keyid for key in given], needed)
            for key in given:
                root.add_key(key, role)
            root.roles[role].threshold = needed
        store.stage("root", Metadata(root))
        index = latest_index(folder) or Index.empty(time)
        stage_targets(store, index, time)


def change_keys(
    folder: Path,
    role: str,
    *,
    add: Sequence[SSlibKey] = (),
    remove: Sequence[str] = (),
    threshold: int | None = None,
    time: datetime | None = None,
) -> None:
    """Stage a root in which a role has other keys.

    Parameters
    ----------
    folder
        The registry's folder.
    role
        `root`, `targets`, or `online` for snapshot and timestamp.
    add, remove
        New keys, and the identifiers of old ones or what they begin with.
    threshold
        How many of its keys must sign; by default as before.
    time
        The time of the change; by default now.

    Raises
    ------
    UsageError
        The registry is not signed, there is no such role or key, or fewer keys are left than must sign.
    EnvironmentFailure
        Another process has changed the registry meanwhile.
    """
    from tuf.api.metadata import Metadata, Root

    time = time or now()
    with changing(folder):
        store = Store(folder)
        before = store.known_root()
        root = Root.from_dict(copy.deepcopy(before.signed.to_dict()))
        root.version = next_version(store.root())
        root.expires = expiry("root", time)
        roles = ONLINE if role == "online" else (role,)
        for name in roles:
            if name not in root.roles:
                raise UsageError(f"no such role: {name!r}", remedy="root, targets or online")
            for key in add:
                root.add_key(key, name)
            for start_of in remove:
                known = {identifier(root.keys[each]): each for each in root.roles[name].keyids}
                root.revoke_key(known[_one_key([*known], start_of)], name)
            needed = root.roles[name].threshold if threshold is None else threshold
            _check_keys(name, root.roles[name].keyids, needed)
            root.roles[name].threshold = needed
        with while_unchanged(folder, lambda: store.known_root() == before):
            store.stage("root", Metadata(root))
            if role == "targets":  # what the former keys signed is void
                stage_renewed(store, "targets", time)


def renew(folder: Path, role: str, *, time: datetime | None = None) -> None:
    """Stage a role's metadata with a new expiry: root, targets or a delegated role.

    Raises
    ------
    UsageError
        The registry is not signed, or has no such role.
    """
    with changing(folder):
        store = Store(folder)
        store.known_root()
        stage_renewed(store, role, time or now())


def delegate(
    folder: Path,
    package: str,
    keys: Sequence[SSlibKey],
    *,
    name: str | None = None,
    models: Sequence[str] | None = None,
    threshold: int = 1,
    time: datetime | None = None,
) -> str:
    """Stage a delegation: these keys sign a package's next versions, for some devices only if any are given.

    Parameters
    ----------
    folder
        The registry's folder.
    package
        Whose versions.
    keys
        The owner's public keys; none ends the delegation.
    name
        The role's name; by default the package's, and the first device's.
    models
        The devices, as targets name them in `-model`; None for all.
    threshold
        How many of the keys must sign.
    time
        The time of the change; by default now.

    Returns
    -------
    name
        The role's name.

    Raises
    ------
    UsageError
        The registry is not signed, a name is invalid, or there are fewer keys than must sign.
    """
    from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Targets

    check_package(package)
    name = check_package(name or "-".join([package, *(models or ())[:1]]))
    if name in ("root", "targets", *ONLINE):
        raise UsageError(f"{name!r} is the name of a top-level role", remedy="give another --name")
    time = time or now()
    with changing(folder):
        store = Store(folder)
        store.known_root()
        targets = copy_of(store.latest("targets"), next_version(store.targets()), expiry("targets", time))
        delegations = targets.delegations or Delegations(keys={}, roles={})
        roles = delegations.roles if delegations.roles is not None else {}
        roles.pop(name, None)
        targets.delegations = delegations
        if keys:
            _check_keys(name, [key.keyid for key in keys], threshold)
            owner = {"package": package, "models": None if models is None else [*models]}
            paths = [f"{package}_v*.log", f"{package}_v*.model.json"]
            roles[name] = DelegatedRole(name, [], threshold, False, paths, unrecognized_fields={DELEGATION: owner})
            for key in keys:
                targets.add_key(key, name)
        used = {each for role in roles.values() for each in role.keyids}
        delegations.keys = {each: key for each, key in delegations.keys.items() if each in used}
        store.stage("targets", Metadata(targets))
        if keys:
            before = store.latest(name)
            version = next_version(store.targets(name))
            role = Targets() if before is None else Targets.from_dict(before.signed.to_dict())
            role.version, role.expires = version, expiry(name, time)
            store.stage(name, Metadata(role))
        else:  # what its keys signed is now targets' to sign
            stage_targets(store, latest_index(folder) or Index.empty(time), time)
    return name


def _check_keys(role: str, identifiers: Sequence[str], threshold: int) -> None:
    if len(set(identifiers)) != len(identifiers):
        raise UsageError(f"the same key is given twice for {role}", remedy="every holder has a key of their own")
    if not 1 <= threshold <= len(identifiers):
        raise UsageError(
            f"{role} has {spelling.counted(len(identifiers), 'key')}, of which {threshold} must sign",
            remedy="give more keys, or --threshold",
        )


def _one_key(known: Sequence[str], start_of: str) -> str:
    found = [identifier for identifier in known if identifier.startswith(start_of)]
    if len(found) != 1:
        keys = ", ".join(identifier[:8] for identifier in known)
        raise UsageError(f"{len(found)} keys begin with {start_of[:64]!r}", remedy=f"the role's keys: {keys}")
    return found[0]
