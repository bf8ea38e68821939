"""What staged metadata changes besides adding files: what a holder reads before signing it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tophub_registry.packages.trust.refresh import DELEGATION

if TYPE_CHECKING:
    from tuf.api.metadata import DelegatedRole, Root, Targets


def changes_of_root(before: Root | None, staged: Root) -> Iterator[str]:
    """Yield what a root changes, a line each: keys by their whole identifiers, and how many must sign."""
    for name, role in staged.roles.items():
        known = None if before is None else before.roles.get(name)
        old = [] if known is None else known.keyids
        yield from (f"new: key {key} of {name}" for key in role.keyids if key not in old)
        yield from (f"gone: key {key} of {name}" for key in old if key not in role.keyids)
        if known is not None and known.threshold != role.threshold:
            yield f"new: {role.threshold} of {name}'s keys must sign, before it was {known.threshold}"


def changes_of_targets(before: Targets | None, staged: Targets) -> Iterator[str]:
    """Yield what targets or a delegated role changes, a line each: its delegations, and files that are gone."""
    old, new = ({} if each is None else _delegations(each) for each in (before, staged))
    yield from (f"gone: {line}" for name, line in old.items() if new.get(name) != line)
    yield from (f"new: {line}" for name, line in new.items() if old.get(name) != line)
    yield from (f"gone: {file}" for file in ({} if before is None else before.targets) if file not in staged.targets)


def _delegations(targets: Targets) -> dict[str, str]:
    roles = None if targets.delegations is None else targets.delegations.roles
    return {name: _described(role) for name, role in (roles or {}).items()}


def _described(role: DelegatedRole) -> str:
    owner = role.unrecognized_fields.get(DELEGATION, {})
    models = owner.get("models")
    devices = "all devices" if models is None else ", ".join(models)
    return (
        f"{role.name}, {role.threshold} of the keys {', '.join(role.keyids)}, signs {owner.get('package')}: {devices}"
    )
