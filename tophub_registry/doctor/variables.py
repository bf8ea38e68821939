"""The environment variables of this project: what each does, and whether its value is one that it can have."""

from __future__ import annotations

import difflib
import os
import re
from typing import TYPE_CHECKING

from tophub_registry.devices.processor import VARIABLE as PROCESSOR
from tophub_registry.doctor.check import Check
from tophub_registry.packages.location import MIRRORS
from tophub_registry.packages.location import VARIABLE as LOCATION
from tophub_registry.packages.lock import VARIABLE as LOCK
from tophub_registry.packages.misses import VARIABLE as MISSES
from tophub_registry.packages.trust.policy import VARIABLE as TRUST
from tophub_registry.publishing.keys import VARIABLE as PASSPHRASE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

VARIABLES = {
    LOCATION: "the registry to use; NONE switches fetching off",
    MIRRORS: "where the same files are if that registry fails",
    TRUST: "the root metadata whose signatures are demanded of a registry",
    LOCK: "the lock whose versions every look-up uses",
    MISSES: "1 or 0: whether layers without a record are kept, whatever `tophub misses --on` says",
    PROCESSOR: "a lesser processor to tune and compile for",
    PASSPHRASE: "the passphrase of the keys that sign a registry",
}
"""Every variable of this project that commands read, and its meaning; `schemas` and tests have others."""

_OURS = "TOPHUB_"


def variables(environment: Mapping[str, str] = os.environ) -> Iterator[Check]:
    """List the variables that are set, and find those that mean nothing."""
    found = {name: value for name, value in sorted(environment.items()) if name.startswith(_OURS) and value}
    for name, value in found.items():
        if name not in VARIABLES:
            close = difflib.get_close_matches(name, VARIABLES, 1)
            remedy = f"did you mean {close[0]}?" if close else f"there are {', '.join(VARIABLES)}"
            yield Check("variables", "warning", f"{name} is set, and nothing reads it", remedy)
        elif name == MISSES and value not in {"0", "1"}:
            yield Check("variables", "error", f"{name} is {value[:80]!r}", f"it can be 1 or 0, or unset {name}")
        else:
            shown = "…" if name == PASSPHRASE else without_password(value)[:200]
            yield Check("variables", "ok", f"{name}={shown}: {VARIABLES[name]}")
    if not found:
        yield Check("variables", "ok", f"no variable {_OURS}… is set")


def without_password(address: str) -> str:
    """Return an address without user and password, even if it is malformed."""
    return re.sub(r"//[^/]*@", "//", address)
