"""The index: every package and version of a registry, and the decisions that are based on it.

Nothing here does any I/O. This module decides which version a name means, how an index gains a version, and
whether an index that a location serves may replace the one seen before.

What every index guarantees: the serial only grows; a published version's bytes and entry never change, except
for whether it is yanked; the version it is based on is listed; and a file is named after its package and version,
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
"""How long after its last change clients treat an index as up to date."""

MAX_INDEX = 1 << 24
"""The largest index that is read, in bytes."""

MAX_PACKAGE = 1 << 30
"""The largest file that is published or fetched, in bytes."""

MAX_MODEL = 1 << 25
"""The largest cost model that is published, fetched or read, in bytes."""

_ISO_8601 = "%Y-%m-%dT%H:%M:%SZ"


def iso_time(time: datetime) -> str:
    """Return a time as the index writes it, ISO 8601 in UTC; such strings sort by time."""
    return time.astimezone(timezone.utc).strftime(_ISO_8601)


def now() -> datetime:
    """Return the current time, with its zone."""
    return datetime.now(timezone.utc)


def _existing_time(text: str) -> str:
    datetime.strptime(text, _ISO_8601)  # noqa: DTZ007  # only whether there is such a day
    return text


def _printable(text: str) -> str:
    if not text.isprintable():  # an index is untrusted, and terminals obey control characters
        raise ValueError("has unprintable characters")
    return text


IsoTime = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$", max_length=20),
    AfterValidator(_existing_time),
]
PackageName = Annotated[str, StringConstraints(pattern=f"^{PACKAGE}$")]
VersionText = Annotated[str, StringConstraints(pattern=f"^{VERSION}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_printable)]
Count = Annotated[int, Field(ge=1, le=1 << 53)]


class Imported(BaseModel):
    """Where a version was imported from.

    Attributes
    ----------
    source
        The location, without any password.
    at
        When, ISO 8601 in UTC.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    source: Text
    at: IsoTime


class Attached(BaseModel):
    """A cost model that is published with a version.

    Attributes
    ----------
    file
        Its name beside the index: `{package}_{version}.model.json`.
    bytes, sha256
        The file's size and hash (lower-case hexadecimal).
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    file: str
    bytes: Annotated[int, Field(ge=1, le=MAX_MODEL)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

    @property
    def digest(self) -> Digest:
        """The file's size and hash."""
        return Digest(self.bytes, self.sha256)


class Published(BaseModel):
    """One version of a package.

    Attributes
    ----------
    file
        Its name beside the index: `{package}_{version}.log`.
    bytes, sha256
        The file's size and hash (lower-case hexadecimal).
    records
        How many records it has.
    released
        When, ISO 8601 in UTC; for an imported version the time of its first release, if that is known.
    base
        The version it is based on, an earlier one of the same package; None for the first one.
    tasks, targets
        The number of records of each task and of each target, as written in the log.
    yanked
        Why nobody should use it any more; None if it is not yanked.
    imported
        Where it was imported from; None if it was released here.
    model
        The cost model that was published with it; None if there is none.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    file: str
    bytes: Annotated[int, Field(ge=1, le=MAX_PACKAGE)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    records: Count
    released: IsoTime
    base: VersionText | None
    tasks: Annotated[dict[Text, Count], Field(min_length=1)]
    targets: Annotated[dict[Text, Count], Field(min_length=1)]
    yanked: Text | None = None
    imported: Imported | None = None
    model: Attached | None = None

    @property
    def digest(self) -> Digest:
        """The file's size and hash."""
        return Digest(self.bytes, self.sha256)


class Index(BaseModel):
    """The content of `index.json`.

    Attributes
    ----------
    schema_version
        2 if a version has a cost model, which clients of 1 do not know, else 1.
    serial
        A number that grows with every change: a location that serves a smaller one than before has lost
        versions, or hides them.
    expires
        When clients treat it as stale, ISO 8601 in UTC.
    packages
        The versions of each package.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    schema_version: Literal[1, 2] = 1
    serial: Annotated[int, Field(ge=0, le=1 << 53)]
    expires: IsoTime
    packages: dict[PackageName, Annotated[dict[VersionText, Published], Field(min_length=1)]] = {}

    @model_validator(mode="after")
    def _names_agree(self) -> Index:
        for package in self.packages:
            versions = self.versions(package)
            for version, published in versions.items():
                if published.file != str(FileName(package, version)):
                    raise ValueError(f"the file of {package} {version} is named {published.file[:80]!r}")
                if published.model is not None and published.model.file != FileName(package, version).model:
                    raise ValueError(f"the model of {package} {version} is named {published.model.file[:80]!r}")
                if published.base is not None:
                    base = Version.parse(published.base)
                    if not base < version:
                        raise ValueError(f"{package} {version} can't be based on {base}")
                    if base not in versions:
                        raise ValueError(f"{package} {version} is based on {base}, which is not listed")
        return self

    @staticmethod
    def empty(time: datetime) -> Index:
        """Return an index without packages."""
        return Index(serial=0, expires=iso_time(time + LIFETIME))

    @staticmethod
    def parse(data: bytes, *, file: str | Path | None = None) -> Index:
        """Read an index.

        Raises
        ------
        InputError
            The bytes are not an index; the message names `file`.
        """
        try:
            return Index.model_validate_json(data)
        except ValidationError as error:
            finding = error.errors(include_url=False, include_context=False)[0]
        place = _shown(".".join(map(str, finding["loc"])))
        if place == "schema_version":
            raise InputError(
                f"index schema version {finding['input']!a:.20} is not supported",
                file=file,
                remedy="upgrade tophub-registry",
            )
        message = _shown(finding["msg"].removeprefix("Value error, "))
        raise InputError(f"not an index: {place}: {message}" if place else f"not an index: {message}", file=file)

    def to_bytes(self) -> bytes:
        """Return the index as it is written: packages by name, versions by number, always the same bytes."""
        fields = self.model_dump()
        fields["packages"] = {
            package: {str(version): _in_order(published) for version, published in self.versions(package).items()}
            for package in sorted(self.packages)
        }
        return (json.dumps(fields, indent=1) + "\n").encode()

    def versions(self, package: str) -> dict[Version, Published]:
        """Return a package's versions, oldest first; empty for an unknown package."""
        published = self.packages.get(package, {})
        return {version: published[str(version)] for version in sorted(map(Version.parse, published))}

    def newest(self, package: str) -> Version | None:
        """Return a package's newest version that is not yanked."""
        good = [version for version, published in self.versions(package).items() if published.yanked is None]
        return good[-1] if good else None

    def with_version(self, package: str, version: Version, published: Published, time: datetime) -> Index:
        """Return the index with one more version.

        Raises
        ------
        UsageError
            The package has that version already, or a later one and this one is not imported.
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
                f"{package} {version} can't follow {last}, the latest version",
                remedy=f"the next one is {last.next()}, which a log gets whose name has no version",
            )
        return self._with(package, version, published, time)

    def with_yanked(self, package: str, version: Version, reason: str | None, time: datetime) -> Index:
        """Return the index with a version yanked for a reason, or no longer yanked if the reason is None.

        Raises
        ------
        InputError
            The reason is too long, or has unprintable characters.
        """
        fields = self.versions(package)[version].model_dump()
        try:
            published = Published.model_validate({**fields, "yanked": reason})
        except ValidationError as error:
            finding = error.errors(include_url=False, include_context=False)[0]["msg"].removeprefix("Value error, ")
            raise InputError(f"the index can't hold this reason: {finding}") from error
        return self._with(package, version, published, time)

    def _with(self, package: str, version: Version, published: Published, time: datetime) -> Index:
        packages = {**self.packages, package: {**self.packages.get(package, {}), str(version): published}}
        models = any(each.model for versions in packages.values() for each in versions.values())
        return Index(
            schema_version=2 if models else 1,
            serial=self.serial + 1,
            expires=iso_time(time + LIFETIME),
            packages=packages,
        )


def _shown(text: str) -> str:
    """Return a text from an index for display: shortened, and without control characters."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text[:300])


def _in_order(published: Published) -> dict[str, object]:
    fields = published.model_dump(exclude={"model"} if published.model is None else None)
    for name in ("tasks", "targets"):
        fields[name] = dict(sorted(fields[name].items()))
    return fields


class Notice(NamedTuple):
    """Something that the user should know although the operation succeeded."""

    rule: Literal[
        "expired",
        "yanked",
        "offline",
        "mirror",
        "switched-off",
        "damaged",
        "name-taken",
        "newer-here",
        "no-model",
        "old-rows",
        "skipped",
        "misnamed",
        "not-locked",
        "went-back",
        "unsigned",
        "first-use",
        "insecure",
        "not-signed",
    ]
    message: str
    remedy: str | None = None

    def __str__(self) -> str:
        return self.message + (f" ({self.remedy})" if self.remedy else "")


class Resolved(NamedTuple):
    """What a reference means in an index."""

    package: str
    version: Version
    published: Published
    notices: tuple[Notice, ...] = ()


def resolve(index: Index, reference: Reference) -> Resolved:
    """Find the version that a reference means: the pinned one, or the newest that is not yanked.

    Raises
    ------
    UsageError
        There is no such package or version, or all versions are yanked and none was pinned.
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
                f"every version of {package} is yanked, the latest because: {published.yanked}",
                remedy=f"{package}@{last} takes it all the same",
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


def check_successor(seen: Index, offered: Index, *, place: str, remedy: str) -> tuple[Notice, ...]:
    """Check that a location's index may replace the one that it served before.

    A smaller serial alone is no reason to refuse an index that has all that was published: whoever could once serve
    one with a great serial would lock out everybody else for ever. It is followed, with a notice.

    Raises
    ------
    EnvironmentFailure
        A published version was changed or removed; the content changed without a new serial; or the serial went back,
        and with it a version's yank. The error carries `place`, the offered index's address, and `remedy`.
    """
    finding = _broken_promise(seen, offered)
    if finding is not None:
        raise EnvironmentFailure(finding, file=place, remedy=remedy)
    if offered.serial >= seen.serial:
        return ()
    message = f"the index went back from serial {seen.serial} to {offered.serial}; all that was published is there"
    return (Notice("went-back", message, "ask its maintainer"),)


def _broken_promise(seen: Index, offered: Index) -> str | None:
    back = (
        f"the index went back from serial {seen.serial} to {offered.serial}: " if offered.serial < seen.serial else ""
    )
    for package in seen.packages:
        answered = offered.versions(package)
        for version, published in seen.versions(package).items():
            if version not in answered:
                return f"{back}{package} {version} was published there and is gone"
            if answered[version].sha256 != published.sha256:
                return f"{back}{package} {version} was published there with other bytes"
            if answered[version].model_copy(update={"yanked": published.yanked}) != published:
                return f"{back}{package} {version} was published there with another entry in the index"
            if back and published.yanked is not None and answered[version].yanked is None:
                return f"{back}{package} {version} was yanked there"
    if offered.serial == seen.serial and offered != seen:
        return f"the index changed and its serial is still {seen.serial}"
    return None


def freshness(index: Index, time: datetime) -> tuple[Notice, ...]:
    """Return a notice if the index has expired."""
    if iso_time(time) <= index.expires:
        return ()
    day = index.expires.partition("T")[0]
    return (Notice("expired", f"the index expired on {day}: newer versions may exist", "ask its maintainer"),)
