"""What a registry's metadata says: its roles with their keys and expiries, and what waits for signatures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tophub_registry.packages.index import iso_time
from tophub_registry.packages.trust.identifier import identifiers
from tophub_registry.packages.trust.refresh import DELEGATION
from tophub_registry.publishing.metadata import Store
from tophub_registry.publishing.signing import Waiting, waiting_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from securesystemslib.signer import Key
    from tuf.api.metadata import Role


@dataclass(frozen=True)
class RoleState:
    """A role.

    Attributes
    ----------
    role
        Its name.
    version, expires
        Of its published metadata; None if there is none yet.
    threshold, keys
        How many of which keys must sign; before the first publication those that wait for signatures.
    package, models
        What a delegated role may sign; None for the others, and for all devices.
    """

    role: str
    version: int | None
    expires: str | None
    threshold: int
    keys: tuple[str, ...]
    package: str | None = None
    models: tuple[str, ...] | None = None


@dataclass(frozen=True)
class RoleSummary:
    """A registry's roles, and what waits for signatures."""

    roles: tuple[RoleState, ...]
    waiting: tuple[Waiting, ...]

    def fields(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return asdict(self)


def summary_of(folder: Path) -> RoleSummary:
    """Return what a registry's metadata says.

    Raises
    ------
    UsageError
        The registry is not signed.
    """
    store = Store(folder)
    root = store.root()
    latest = (store.known_root() if root is None else root).signed
    published = {
        "root": root,
        "targets": store.targets(),
        "snapshot": store.snapshot,
        "timestamp": store.timestamp,
    }
    roles = [_state(name, latest.roles[name], latest.keys, found and found.signed) for name, found in published.items()]
    targets = store.targets() or store.latest("targets")
    delegations = None if targets is None else targets.signed.delegations
    if delegations is not None:
        for name, role in (delegations.roles or {}).items():
            found = store.targets(name)
            roles.append(_state(name, role, delegations.keys, found and found.signed))
    return RoleSummary(tuple(roles), waiting_in(folder))


def _state(name: str, role: Role, keys: Mapping[str, Key], signed: object) -> RoleState:
    owner = role.unrecognized_fields.get(DELEGATION, {})
    models = owner.get("models")
    return RoleState(
        name,
        getattr(signed, "version", None),
        None if signed is None else iso_time(signed.expires),  # type: ignore[attr-defined]
        role.threshold,
        identifiers(role.keyids, keys),
        owner.get("package"),
        None if models is None else tuple(models),
    )
