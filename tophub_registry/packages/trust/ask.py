"""Asking a location for its index: verified where its registry is signed.

An unsigned registry is followed as it is, until it is signed. From then on, or if the user gave a root to start from,
an unsigned answer is refused. A registry that is signed when it is first seen is trusted from its own root, and the
user is told which keys these are. The copy inside the installation came with it, and is neither.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tophub_registry.errors import InputError
from tophub_registry.packages.index import INDEX_FILE, MAX_INDEX, Index, Notice, freshness, iso_time
from tophub_registry.packages.location import Folder, NotThere, Web, builtin, read_small
from tophub_registry.packages.trust.policy import VARIABLE, Untrusted
from tophub_registry.packages.trust.state import METADATA, Kept, Signed
from tophub_registry.packages.trust.verified import verified

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from tophub_registry.packages.location import Location
    from tophub_registry.packages.root import Root

MAX_ROOT = 512_000
"""The largest root metadata that is read, in bytes: the limit of TUF's client."""

LOCATIONS = "x-tophub-locations"
"""The field of the installation's own root metadata that lists the locations which it is the root of."""

_ROOT = f"{METADATA}/root.json"


@dataclass(frozen=True)
class Asked:
    """A location's index.

    Attributes
    ----------
    index
        The index.
    signed
        What is signed of its files; None if the registry is unsigned, or signatures are ignored.
    notices
        What the user should know.
    """

    index: Index
    signed: Signed | None = None
    notices: tuple[Notice, ...] = ()


def ask(location: Location, root: Root, time: datetime) -> Asked:
    """Read a location's index, and verify it if the registry is signed.

    Raises
    ------
    Untrusted
        It is not signed as it must be.
    InputError
        index.json is invalid.
    EnvironmentFailure
        The location does not respond, or has no index.
    """
    if isinstance(location, Folder) and location.builtin:
        return Asked(Index.parse(read_index(location), file=location.address(INDEX_FILE)))
    if root.trust.insecure:
        notice = Notice("insecure", f"{location.name} is taken unverified, as --insecure says")
        return Asked(Index.parse(read_index(location), file=location.address(INDEX_FILE)), None, (notice,))
    kept = Kept.of(root.path, location)
    anchor = _anchor(location, root, kept)
    if anchor is not None:
        found = verified(location, kept, anchor, time, given=root.trust.anchor is not None)
        return Asked(found.index, found.signed, found.notices)
    unsigned = _unsigned(location, kept, time)
    if isinstance(unsigned, Asked):
        return unsigned
    found = verified(location, kept, unsigned, time)
    keys = ", ".join(found.signed.keys)  # as a whole: who looks for a key whose identifier begins alike finds one
    notice = Notice(
        "first-use",
        f"{location.name} is signed and was not known before: from now on its keys ({keys}) are trusted",
        "compare them with what its maintainer says, or give their root.json with --trust",
    )
    return Asked(found.index, found.signed, (*found.notices, notice))


def signed_of(location: Location, root: Root, index: Index, time: datetime) -> Signed | None:
    """Return what is signed of an index that was read before; None if the registry is unsigned.

    Raises
    ------
    Untrusted
        It is not what the registry signed.
    EnvironmentFailure
        It must be verified anew, and the location does not respond.
    """
    if (isinstance(location, Folder) and location.builtin) or root.trust.insecure:
        return None
    kept = Kept.of(root.path, location)
    anchor = _anchor(location, root, kept)
    if anchor is None:
        return None
    signed, data = kept.signed, kept.index
    if signed is not None and data is not None and signed.is_fresh(_sha256(anchor), time):
        with suppress(InputError):
            if Index.parse(data) == index:
                return signed
    found = verified(location, kept, anchor, time)
    if found.index != index:
        raise Untrusted("the index has changed meanwhile", file=location.address(INDEX_FILE), remedy="try again")
    return found.signed


def recall(location: Location, root: Root, time: datetime, *, expired: bool) -> Asked | None:
    """Return what a location served last, None if nothing is known of it that may be used.

    Parameters
    ----------
    expired
        Whether it may be used after its signatures have expired; a notice says so.
    """
    kept = Kept.of(root.path, location)
    shipped = isinstance(location, Folder) and location.builtin
    anchor = None if shipped or root.trust.insecure else _anchor(location, root, kept)
    if anchor is None:
        index = root.remembered(location)
        return None if index is None else Asked(index, None, freshness(index, time))
    signed, data = kept.signed, kept.index
    if signed is None or data is None or signed.anchor != _sha256(anchor):
        return None
    if signed.is_fresh(_sha256(anchor), time):
        return Asked(Index.parse(data), signed)
    notice = Notice(
        "expired",
        f"the signatures of {location.name} expired on {signed.expires.partition('T')[0]}: newer versions may exist",
        "`tophub fetch` verifies them again when it responds",
    )
    return Asked(Index.parse(data), signed, (notice,)) if expired else None


def check_models(log: Path, models: Sequence[str], place: str) -> None:
    """Check that a log has only records of the devices that its signer may sign for.

    Raises
    ------
    Untrusted
        It has others, or can't be read as a log.
    """
    from tophub_registry.records.log import read_convertible_rows

    try:
        for row in read_convertible_rows(log):
            if row.record is not None and (model := row.record.target.model) not in models:
                raise Untrusted(
                    f"line {row.line} is of the device {model!r}, and who signed the log may sign for "
                    f"{', '.join(models) or 'none'} only",
                    file=place,
                    remedy="nothing was changed; tell the registry's maintainer",
                )
    except InputError as error:
        raise Untrusted(f"signed, but not a log: {error.message}", file=place) from error


def _anchor(location: Location, root: Root, kept: Kept) -> bytes | None:
    return root.trust.anchor_bytes() or _shipped(location) or kept.anchor


def _shipped(location: Location) -> bytes | None:
    """Return the installation's own root metadata if it is that of a location."""
    try:
        data = (builtin().path / _ROOT).read_bytes()
        locations = json.loads(data)["signed"].get(LOCATIONS, ())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return data if location.name in locations else None


def _unsigned(location: Location, kept: Kept, time: datetime) -> Asked | bytes:
    """Return an unsigned registry's index; or the root metadata of a signed one.

    A registry that was unsigned is asked again whether it is signed when its index changes, or the next day.
    """
    known, data = kept.unsigned, read_index(location)
    if known == (_sha256(data), iso_time(time)[:10]):
        return Asked(Index.parse(data, file=location.address(INDEX_FILE)))
    with suppress(NotThere):
        return read_small(location, _ROOT, limit=MAX_ROOT)
    index = Index.parse(data, file=location.address(INDEX_FILE))
    kept.keep({"unsigned.json": json.dumps([_sha256(data), iso_time(time)[:10]]).encode()})
    if known is not None or not isinstance(location, Web):  # who may write to this machine's disk needs no key
        return Asked(index)
    notice = Notice(
        "unsigned",
        f"{location.name} is not signed: whoever controls it or the way to it decides what is fetched",
        f"a signed registry is verified, and --trust or ${VARIABLE} demands one",
    )
    return Asked(index, None, (notice,))


def read_index(location: Location) -> bytes:
    """Return the bytes of a location's index, signed or not.

    Raises
    ------
    EnvironmentFailure
        The location does not respond, or has no index.
    """
    try:
        return read_small(location, INDEX_FILE, limit=MAX_INDEX)
    except NotThere as error:
        raise NotThere(
            f"not a registry: {error.message}",
            file=location.address(INDEX_FILE),
            remedy="check the location; `tophub release` and `tophub import` make a registry of logs",
        ) from error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
