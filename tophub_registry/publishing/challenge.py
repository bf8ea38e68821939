"""A challenge to a contributor, and the answer: records of a bundle, drawn at random, that are to be measured again.

The nonce is not known before the challenge is written, and decides which records are drawn. So nobody can measure
the right ones beforehand, nor replace them by others: who has nonce and bundle can draw again. An answer names both.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt

from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.files import atomic_write
from tophub_registry.packages.index import iso_time, now
from tophub_registry.publishing.bundle import Bundle, Pair, parse_json, records_of
from tophub_registry.publishing.exchanged import check_kind
from tophub_registry.records.environment import Environment
from tophub_registry.records.record import Record

RECORDS = 5
"""How many records are drawn by default."""

DAYS = 14
"""How long an answer is accepted by default."""

_MAX = 16 << 20
"""The largest challenge or answer that is read, in bytes."""

_PLAIN = ConfigDict(frozen=True, strict=True, extra="allow")


def _existing(text: str) -> str:
    _at(text)
    return text


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text[:-1]).replace(tzinfo=timezone.utc)


_FORM = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"

Time = Annotated[str, Field(pattern=_FORM), AfterValidator(_existing)]
"""ISO 8601 in UTC; such strings sort by time."""

_CLOCKS = timedelta(days=1)
"""By how much two machines' clocks may differ."""


class Drawn(BaseModel):
    """A record to be measured again: its line in the bundle's log, and the row."""

    model_config = _PLAIN

    line: PositiveInt
    record: Record


class Challenge(BaseModel):
    """What a maintainer asks of a contributor.

    Attributes
    ----------
    bundle
        The bundle's SHA-256.
    nonce
        A random number, in hexadecimal.
    issued, expires
        When it was written, and until when it can be answered.
    drawn
        The records.
    """

    model_config = _PLAIN

    format: Literal[1]
    bundle: str
    nonce: str
    issued: Time
    expires: Time
    drawn: list[Drawn]


class ChallengeAnswer(BaseModel):
    """What a contributor answers.

    Attributes
    ----------
    bundle, nonce
        The challenge's.
    started, finished
        When it was measured.
    environment
        Where.
    pairs
        The drawn records, each timed in turns with the default config.
    digest
        The SHA-256 of everything else in it, which shows that it was changed.
    """

    model_config = _PLAIN

    format: Literal[1]
    bundle: str
    nonce: str
    started: Time
    finished: Time
    environment: Environment
    pairs: list[Pair]
    digest: str = ""

    def signed(self) -> ChallengeAnswer:
        """Return the same with its digest."""
        return self.model_copy(update={"digest": self.own_digest()})

    def own_digest(self) -> str:
        """Return the SHA-256 of everything but the digest."""
        plain = self.model_dump(exclude={"digest"})
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def in_drawn_order(records: Mapping[int, Record], seed: str) -> list[int]:
    """Return the lines of records in an order that the seed decides, and that nobody can choose."""
    return sorted(records, key=lambda line: hashlib.sha256(f"{seed} {records[line].to_json()}".encode()).digest())


def draw(records: Mapping[int, Record], bundle: str, nonce: str, count: int) -> list[int]:
    """Return the lines of the records that a nonce draws from a bundle, given its SHA-256."""
    return sorted(in_drawn_order(records, f"{bundle} {nonce}")[:count])


def challenge(bundle: Bundle, *, count: int = RECORDS, days: float = DAYS, time: datetime | None = None) -> Challenge:
    """Return a new challenge to a bundle's contributor.

    Parameters
    ----------
    count
        How many records to draw; all if there are fewer.
    days
        How long an answer is accepted.
    time
        The time of the challenge; by default now.

    Raises
    ------
    UsageError
        No record is to be drawn.
    """
    if count < 1:
        raise UsageError(f"can't draw {count} records", remedy="draw 1 or more")
    time, nonce, records = time or now(), secrets.token_hex(16), records_of(bundle)
    lines = draw(records, bundle.digest.sha256, nonce, count)
    return Challenge(
        format=1,
        bundle=bundle.digest.sha256,
        nonce=nonce,
        issued=iso_time(time),
        expires=iso_time(time + timedelta(days=days)),
        drawn=[Drawn(line=line, record=records[line]) for line in lines],
    )


def write(path: Path, value: Challenge | ChallengeAnswer) -> None:
    """Write a challenge or an answer, all or nothing.

    Raises
    ------
    UsageError
        The file exists.
    EnvironmentFailure
        It can't be written.
    """
    plain = value.model_dump()
    if isinstance(value, Challenge):  # rows as their logs have them
        plain["drawn"] = [{"line": each.line, "record": json.loads(each.record.to_json())} for each in value.drawn]
    with atomic_write(path) as stream:
        stream.write(json.dumps(plain, indent=1, ensure_ascii=False).encode() + b"\n")


def read_challenge(path: Path) -> Challenge:
    """Read a challenge.

    Raises
    ------
    InputError
        There is none, or it is damaged.
    """
    check_kind(path, "challenge")
    return parse_json(Challenge, _read(path), path, remedy="ask for the challenge again", what="a challenge")


def read_answer(path: Path) -> ChallengeAnswer:
    """Read an answer.

    Raises
    ------
    InputError
        There is none, or it is damaged.
    """
    check_kind(path, "answer")
    return parse_json(ChallengeAnswer, _read(path), path, remedy=REMEDY, what="an answer to a challenge")


REMEDY = "answer the challenge again with `tophub contribute --answer`"


def misfits(answer: ChallengeAnswer, asked: Challenge, bundle: Bundle, time: datetime) -> Iterable[str]:
    """Yield why an answer is not one to a challenge, whatever was measured.

    Parameters
    ----------
    time
        When the answer arrived.
    """
    if answer.digest != answer.own_digest():
        yield "forged or damaged: it was changed after it was written"
    if answer.nonce != asked.nonce:
        yield "it answers another challenge: the nonce is not the one that was asked"
    if answer.bundle != bundle.digest.sha256:
        yield "it answers for another bundle: the SHA-256 is not this one's"
    if iso_time(time) > asked.expires or answer.finished > asked.expires:
        yield f"stale: the challenge could be answered until {asked.expires}"
    earliest = iso_time(_at(asked.issued) - _CLOCKS)
    if not earliest <= answer.started <= answer.finished:
        yield f"measured at {answer.started}, before the challenge was issued at {asked.issued}"
    lines = [each.line for each in asked.drawn]
    if lines != draw(records_of(bundle), bundle.digest.sha256, asked.nonce, len(lines)):
        yield "the challenge was changed: its nonce draws other records"
    elif [pair.line for pair in answer.pairs] != lines:
        yield f"it measures other records than those drawn: lines {lines} were asked for"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX + 1)
    except FileNotFoundError as error:
        raise InputError("no such file", file=path) from error
    except OSError as error:
        raise EnvironmentFailure(f"can't be read: {error.strerror or error}", file=path) from error
    if len(data) > _MAX:
        raise InputError(f"larger than {_MAX} bytes", file=path)
    return data
