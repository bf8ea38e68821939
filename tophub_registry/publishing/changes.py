"""What staged metadata changes besides adding files: what a holder reads before signing it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tophub_registry.packages.trust.identifier import identifiers
from tophub_registry.packages.trust.refresh import DELEGATION

if TYPE_CHECKING:
    from tuf.api.metadata import DelegatedRole, Root, Targets


def changes_of_root(before: Root | None, staged: Root) -> Iterator[str]:
    """Yield what a root changes, a line each: keys by their whole identifiers, and how many must sign."""
    for name, role in staged.roles.items():
        known = None if before is None else before.roles.get(name)
        old = () if before is None or known is None else identifiers(known.keyids, before.keys)
        new = identifiers(role.keyids, staged.keys)
        yield from (f"new: key {key} of {name}" for key in new if key not in old)
        yield from (f"gone: key {key} of {name}" for key in old if key not in new)
        if known is not None and known.threshold != role.threshold:
            yield f"new: {role.threshold} of {name}'s keys must sign, before it was {known.threshold}"


def changes_of_targets(before: Targets | None, staged: Targets) -> Iterator[str]:
    """Yield what targets or a delegated role changes, a line each: its delegations, and files that are gone."""
    old, new = ({} if each is None else _delegations(each) for each in (before, staged))
    yield from (f"gone: {line}" for name, line in old.items() if new.get(name) != line)
    yield from (f"new: {line}" for name, line in new.items() if old.get(name) != line)
    yield from (f"gone: {file}" for file in ({} if before is None else before.targets) if file not in staged.targets)


def _delegations(targets: Targets) -> dict[str, str]:
    delegations = targets.delegations
    if delegations is None:
        return {}
    return {
        name: _described(role, identifiers(role.keyids, delegations.keys))
        for name, role in (delegations.roles or {}).items()
    }


def _described(role: DelegatedRole, keys: tuple[str, ...]) -> str:
    owner = role.unrecognized_fields.get(DELEGATION, {})
    models = owner.get("models")
    devices = "all devices" if models is None else ", ".join(models)
    return f"{role.name}, {role.threshold} of the keys {', '.join(keys)}, signs {owner.get('package')}: {devices}"
