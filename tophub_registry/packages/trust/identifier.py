"""A key's identifier: the SHA-256 of the key itself.

Metadata may call a key by any name, as by the identifier of somebody else's key. What people compare is therefore
computed here, as `tophub keys make` and TUF's own tools do.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from securesystemslib.signer import Key


def identifier(key: Key) -> str:
    """Return a key's identifier, whatever metadata calls it."""
    from securesystemslib.formats import encode_canonical

    text = encode_canonical({"keytype": key.keytype, "scheme": key.scheme, "keyval": key.keyval})
    return hashlib.sha256(str(text).encode()).hexdigest()


def identifiers(names: Iterable[str], keys: Mapping[str, Key]) -> tuple[str, ...]:
    """Return the identifiers of the keys that metadata calls by these names; a name without a key means none."""
    return tuple(identifier(keys[name]) for name in names if name in keys)
