"""The index: every package and version of a registry, and the decisions that are made from it.

Nothing here touches a disk or a network. What is decided: which version a name stands for, how the index
grows by a version, and whether an index that a location answers with may follow the one seen before.

Kept by every index: the serial only grows; a published version's bytes and its entry never change, but for
whether it is yanked; the version that it follows is there; and a file's name is made of package and version,
so that an index can't point anywhere else.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.packages.digest import Digest
from tophub_registry.packages.version import VERSION, FileName, Reference, Version
from tophub_registry.records.target import PACKAGE

if TYPE_CHECKING:
    from pathlib import Path

INDEX_FILE = "index.json"

LIFETIME = timedelta(days=365)
"""How long an index is believed to be up to date; every change begins it anew."""

MAX_PACKAGE = 1 << 30
"""The largest file that is published or fetched, in bytes."""

_MOMENT = "%Y-%m-%dT%H:%M:%SZ"


def moment(time: datetime) -> str:
    """Return a time as the index writes it, ISO 8601 in UTC: such texts compare as the times do."""
    return time.astimezone(timezone.utc).strftime(_MOMENT)


def now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(timezone.utc)


def _real_moment(text: str) -> str:
    datetime.strptime(text, _MOMENT)  # noqa: DTZ007  # only whether there is such a day
    return text


def _printable(text: str) -> str:
    if not text.isprintable():  # an index is untrusted, and terminals obey control characters
        raise ValueError("holds characters that can't be printed")
    return text


Moment = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$", max_length=20),
    AfterValidator(_real_moment),
]
PackageName = Annotated[str, StringConstraints(pattern=f"^{PACKAGE}$")]
VersionText = Annotated[str, StringConstraints(pattern=f"^{VERSION}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_printable)]
Count = Annotated[int, Field(ge=1, le=1 << 53)]


class Imported(BaseModel):
    """Where a version was taken over from.

    Attributes
    ----------
    source
        The location, without any password.
    at
        When, ISO 8601 in UTC.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    source: Text
    at: Moment


class Published(BaseModel):
    """One version of a package.

    Attributes
    ----------
    file
        Its name beside the index: `{package}_{version}.log`.
    bytes, sha256
        The file's size and hash (lower-case hexadecimal).
    records
        How many records it holds.
    released
        When, ISO 8601 in UTC; for an imported version by whoever made it, where that is known.
    base
        The version it follows, an earlier one of the same package; None for a first one.
    tasks, targets
        How many records each task name and each target (as written in the log) has.
    yanked
        Why nobody should use it any more; None for a good one.
    imported
        Where it was taken over from; None for one that was released here.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    file: str
    bytes: Annotated[int, Field(ge=1, le=MAX_PACKAGE)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    records: Count
    released: Moment
    base: VersionText | None
    tasks: Annotated[dict[Text, Count], Field(min_length=1)]
    targets: Annotated[dict[Text, Count], Field(min_length=1)]
    yanked: Text | None = None
    imported: Imported | None = None

    @property
    def digest(self) -> Digest:
        """What the file is known by."""
        return Digest(self.bytes, self.sha256)


class Index(BaseModel):
    """The content of `index.json`.

    Attributes
    ----------
    schema_version
        1.
    serial
        A number that grows with every change: a location that answers with a smaller one than before has
        lost something, or hides it.
    expires
        When to stop believing that this is the newest index, ISO 8601 in UTC.
    packages
        For each package its versions.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    schema_version: Literal[1] = 1
    serial: Annotated[int, Field(ge=0, le=1 << 53)]
    expires: Moment
    packages: dict[PackageName, Annotated[dict[VersionText, Published], Field(min_length=1)]] = {}

    @model_validator(mode="after")
    def _names_agree(self) -> Index:
        for package in self.packages:
            versions = self.versions(package)
            for version, published in versions.items():
                if published.file != str(FileName(package, version)):
                    raise ValueError(f"the file of {package} {version} is called {published.file[:80]!r}")
                if published.base is not None:
                    base = Version.parse(published.base)
                    if not base < version:
                        raise ValueError(f"{package} {version} can't follow {base}")
                    if base not in versions:
                        raise ValueError(f"{package} {version} follows {base}, which is not there")
        return self

    @staticmethod
    def empty(time: datetime) -> Index:
        """Return an index without packages."""
        return Index(serial=0, expires=moment(time + LIFETIME))

    @staticmethod
    def parse(data: bytes, *, file: str | Path | None = None) -> Index:
        """Read an index.

        Raises
        ------
        InputError
            The bytes are no index; `file` is named in the message.
        """
        try:
            return Index.model_validate_json(data)
        except ValidationError as error:
            finding = error.errors(include_url=False, include_context=False)[0]
        place = _shown(".".join(map(str, finding["loc"])))
        if place == "schema_version":
            raise InputError(
                f"an index of schema version {finding['input']!a:.20}, not 1",
                file=file,
                remedy="upgrade tophub-registry",
            )
        message = _shown(finding["msg"].removeprefix("Value error, "))
        raise InputError(f"not an index: {place}: {message}" if place else f"not an index: {message}", file=file)

    def to_bytes(self) -> bytes:
        """Return the index as it is written: packages by name, versions by number, the same bytes every time."""
        fields = self.model_dump()
        fields["packages"] = {
            package: {str(version): _in_order(published) for version, published in self.versions(package).items()}
            for package in sorted(self.packages)
        }
        return (json.dumps(fields, indent=1) + "\n").encode()

    def versions(self, package: str) -> dict[Version, Published]:
        """Return a package's versions, the oldest first; none for a package that is not there."""
        published = self.packages.get(package, {})
        return {version: published[str(version)] for version in sorted(map(Version.parse, published))}

    def newest(self, package: str) -> Version | None:
        """Return a package's newest version that is not yanked."""
        good = [version for version, published in self.versions(package).items() if published.yanked is None]
        return good[-1] if good else None

    def with_version(self, package: str, version: Version, published: Published, time: datetime) -> Index:
        """Return the index that has one version more.

        Raises
        ------
        UsageError
            The package has that version; or a later one, and this one is not imported.
        """
        known = self.versions(package)
        last = max(known, default=None)
        if version in known:
            raise UsageError(
                f"{package} {version} is published, and a published version never changes",
                remedy=f"the next one is {max(known).next()}",
            )
        if last is not None and version < last and published.imported is None:
            raise UsageError(
                f"{package} {version} can't follow {last}, the last one published",
                remedy=f"the next one is {last.next()}",
            )
        return self._with(package, version, published, time)

    def with_yanked(self, package: str, version: Version, reason: str | None, time: datetime) -> Index:
        """Return the index in which a published version is yanked for that reason, or for None is not.

        Raises
        ------
        InputError
            The reason can't stand in an index.
        """
        fields = self.versions(package)[version].model_dump()
        try:
            published = Published.model_validate({**fields, "yanked": reason})
        except ValidationError as error:
            finding = error.errors(include_url=False, include_context=False)[0]["msg"].removeprefix("Value error, ")
            raise InputError(f"the index can't hold that reason: {finding}") from error
        return self._with(package, version, published, time)

    def _with(self, package: str, version: Version, published: Published, time: datetime) -> Index:
        versions = {**self.packages.get(package, {}), str(version): published}
        return Index(
            serial=self.serial + 1,
            expires=moment(time + LIFETIME),
            packages={**self.packages, package: versions},
        )


def _shown(text: str) -> str:
    """Return a text out of an index as it can be shown: short, and without control characters."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text[:300])


def _in_order(published: Published) -> dict[str, object]:
    fields = published.model_dump()
    for name in ("tasks", "targets"):
        fields[name] = dict(sorted(fields[name].items()))
    return fields


class Notice(NamedTuple):
    """Something that the reader should know although the work was done."""

    rule: Literal[
        "expired", "yanked", "offline", "switched-off", "damaged", "name-taken", "newer-here", "old-rows", "skipped"
    ]
    message: str
    remedy: str | None = None

    def __str__(self) -> str:
        return self.message + (f" ({self.remedy})" if self.remedy else "")


class Resolved(NamedTuple):
    """What a reference stands for in an index."""

    package: str
    version: Version
    published: Published
    notices: tuple[Notice, ...] = ()


def resolve(index: Index, reference: Reference) -> Resolved:
    """Find the version that a reference stands for: the pinned one, or the newest that is not yanked.

    Raises
    ------
    UsageError
        There is no such package or version, or all of them are yanked and none was pinned.
    """
    package, version = reference
    versions = index.versions(package)
    if not versions:
        known = ", ".join(sorted(index.packages)) or "none yet"
        raise UsageError(f"the registry has no package {package!r}", remedy=f"its packages: {known}")
    if version is None:
        version = index.newest(package)
        if version is None:
            last, published = list(versions.items())[-1]
            raise UsageError(
                f"every version of {package} is yanked, the last one because: {published.yanked}",
                remedy=f"{package}@{last} takes it nevertheless",
            )
    if version not in versions:
        known = ", ".join(map(str, versions))
        raise UsageError(f"the registry has no {package} {version}", remedy=f"its versions: {known}")
    published = versions[version]
    if published.yanked is None:
        return Resolved(package, version, published)
    newest = index.newest(package)
    return Resolved(
        package,
        version,
        published,
        (
            Notice(
                "yanked",
                f"{package} {version} is yanked: {published.yanked}",
                f"the newest good version is {newest}" if newest else None,
            ),
        ),
    )


def check_successor(seen: Index, offered: Index, *, place: str, remedy: str) -> None:
    """Check that a location's index may follow the one that it answered with before.

    Raises
    ------
    EnvironmentFailure
        The serial went back, the content changed without a new serial, or a published version was changed
        or taken away. The error carries `place`, the offered index's address, and `remedy`.
    """
    finding = _broken_promise(seen, offered)
    if finding is not None:
        raise EnvironmentFailure(finding, file=place, remedy=remedy)


def _broken_promise(seen: Index, offered: Index) -> str | None:
    if offered.serial < seen.serial:
        return f"the index went back from serial {seen.serial} to {offered.serial}"
    for package in seen.packages:
        answered = offered.versions(package)
        for version, published in seen.versions(package).items():
            if version not in answered:
                return f"{package} {version} was published there and is gone"
            if answered[version].sha256 != published.sha256:
                return f"{package} {version} was published there with other bytes"
            if answered[version].model_copy(update={"yanked": published.yanked}) != published:
                return f"{package} {version} was published there with another entry in the index"
    if offered.serial == seen.serial and offered != seen:
        return f"the index changed and its serial is still {seen.serial}"
    return None


def freshness(index: Index, time: datetime) -> tuple[Notice, ...]:
    """Return a notice where the index has expired."""
    if moment(time) <= index.expires:
        return ()
    day = index.expires.partition("T")[0]
    return (Notice("expired", f"the index expired on {day}: newer versions may exist", "ask whoever keeps it"),)
