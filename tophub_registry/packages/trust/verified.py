"""A signed registry's index, verified: from its location, or from a mirror where the location fails.

It does not matter who sends metadata, since signatures tell what it is worth. All sources are held against what is
known of the location, so that none of them can go back behind what another one has served. The root metadata to
start from never comes from a mirror.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tophub_registry.packages import location as places
from tophub_registry.packages.index import INDEX_FILE, Index, Notice
from tophub_registry.packages.location import NotThere
from tophub_registry.packages.patience import LocationFailure, first_success
from tophub_registry.packages.trust.conditional import PATIENCE, Response, Validators, ask_if_changed
from tophub_registry.packages.trust.policy import Untrusted
from tophub_registry.packages.trust.state import METADATA, Kept, Signed
from tophub_registry.packages.web import Deadline

if TYPE_CHECKING:
    from datetime import datetime

    from tophub_registry.packages.location import Location

MAX_TIMESTAMP = 16_384
"""The largest timestamp metadata that is read, in bytes: the limit of TUF's client."""

_TIMESTAMP = f"{METADATA}/timestamp.json"


@dataclass(frozen=True)
class VerifiedIndex:
    """A verified index, what is signed of its files, and what the user should know."""

    index: Index
    signed: Signed
    notices: tuple[Notice, ...] = ()


def verified(location: Location, kept: Kept, anchor: bytes, time: datetime, *, given: bool = False) -> VerifiedIndex:
    """Return the index of a signed registry, from its location or else from the first of its mirrors that is good.

    What is refused is asked for again, since it may have been damaged on its way.

    Parameters
    ----------
    location
        The registry's location, with its mirrors.
    kept
        What is known of the location.
    anchor
        The root metadata to start from.
    time
        The time at which signatures may have expired.
    given
        Whether the user gave the anchor.

    Raises
    ------
    Untrusted
        The location's answer is not what the registry signed, and no mirror has a better one.
    InputError
        The index is signed, and invalid.
    EnvironmentFailure
        The location does not respond, and no mirror is good; or the system's temporary folder can't be written to.
    """
    sources = _Sources(location, kept, anchor, time, given=given)
    try:
        return first_success([location, *location.mirrors], sources.ask, Deadline(places.TOTAL_TIMEOUT))
    except LocationFailure:
        if sources.partial is None:
            raise
        return sources.partial


class _Sources:
    """A registry's location and its mirrors.

    Attributes
    ----------
    partial
        An answer that is good but for a delegated role that could not be read; another source may have it.
    """

    def __init__(self, location: Location, kept: Kept, anchor: bytes, time: datetime, *, given: bool) -> None:
        self.partial: VerifiedIndex | None = None
        self._location, self._kept, self._anchor, self._time = location, kept, anchor, time
        self._why = "a root to trust is given" if given else "it was signed before"
        self._failures: dict[str, str] = {}

    def ask(self, source: Location, deadline: Deadline) -> VerifiedIndex:
        """Return a source's answer."""
        if self._location.mirrors and source.name not in self._failures:
            deadline = deadline.at_most(PATIENCE)  # the others wait
        try:
            return self._whole(source, deadline)
        except LocationFailure as error:
            self._failures[source.name] = error.message
            raise

    def _whole(self, source: Location, deadline: Deadline) -> VerifiedIndex:
        answer = self._verified(source, deadline)
        if self._location.mirrors and not answer.signed.whole:
            self.partial = answer
            raise LocationFailure("metadata of a delegated role can't be read", file=source.address(METADATA))
        return answer

    def _verified(self, source: Location, deadline: Deadline) -> VerifiedIndex:
        kept, own = self._kept, source is self._location
        signed, data = kept.signed, kept.index
        if (
            signed is None
            or data is None
            or not (signed.whole and signed.is_fresh(_sha256(self._anchor), self._time))
            or _sha256(data) != signed.index.sha256
        ):
            signed = None
        validators = Validators()
        if signed is not None and own and source.name not in self._failures:
            validators = Validators(signed.etag, signed.modified)
        answer = self._timestamp(source, validators, deadline)
        if (
            signed is not None
            and data is not None
            and (answer.data is None or _sha256(answer.data) == signed.timestamp)
        ):
            if own and answer.validators != validators:
                now = signed.model_copy(update=answer.validators._asdict())
                kept.keep({"state.json": now.model_dump_json().encode()})
            return VerifiedIndex(Index.parse(data, file=source.address(INDEX_FILE)), signed, self._told(source))
        if not own:  # its validators say nothing about the location's answers
            answer = Response(answer.data, Validators())
        from tophub_registry.packages.root import taking_turns
        from tophub_registry.packages.trust.refresh import refresh

        with taking_turns(kept.folder / "state.json"):
            done = refresh(self._location, source, kept, self._anchor, answer, deadline)
        return VerifiedIndex(done.index, done.signed, self._told(source))

    def _timestamp(self, source: Location, validators: Validators, deadline: Deadline) -> Response:
        try:
            return ask_if_changed(source, _TIMESTAMP, validators, limit=MAX_TIMESTAMP, deadline=deadline)
        except NotThere as error:
            raise Untrusted(
                f"the registry is not signed, and {self._why}",
                file=source.address(_TIMESTAMP),
                remedy="ask its maintainer; --insecure takes it unverified",
            ) from error

    def _told(self, source: Location) -> tuple[Notice, ...]:
        """Return a notice if a mirror has answered."""
        failure = self._failures.get(self._location.name)
        if source is self._location or failure is None:
            return ()
        what = f"the signed index of {self._location.name} came from the mirror {source.name}"
        return (Notice("mirror", f"{what}; the location itself: {failure}"),)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
