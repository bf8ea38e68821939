"""What is known of a registry's signatures, in the root under `.trust/`: one folder for each location.

`anchor.json` is the root metadata that it started from: as long as it is there, only signed answers of this location
are taken. `metadata/` is what TUF's client keeps, `index.json` the verified index, and `state.json` the result of the
last verification, by which a warm cache costs one conditional request and no arithmetic. Whoever can write here can
replace the anchor too, so the result needs no more protection than that.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from tophub_registry.errors import EnvironmentFailure
from tophub_registry.files import atomic_write, make_folders
from tophub_registry.packages.digest import Digest
from tophub_registry.packages.index import IsoTime, iso_time
from tophub_registry.packages.trust.policy import Untrusted
from tophub_registry.packages.version import FileName

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from tophub_registry.packages.folder import Listed
    from tophub_registry.packages.location import Location

METADATA = "metadata"
"""The folder of a registry's signed metadata, beside its index."""


class SignedFile(BaseModel):
    """What is signed of a file.

    Attributes
    ----------
    bytes, sha256
        Its size and hash.
    role
        Who signed it: `targets`, or the name of a delegated role.
    models
        The device models that its records may name; None for any.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    bytes: int
    sha256: str
    role: str
    models: tuple[str, ...] | None = None

    @property
    def digest(self) -> Digest:
        """The file's size and hash."""
        return Digest(self.bytes, self.sha256)


class Signed(BaseModel):
    """What a registry has signed, as it was verified.

    Attributes
    ----------
    location
        The location's name.
    anchor
        The SHA-256 of the root metadata that the verification started from.
    root_version, timestamp_version
        The versions of these roles' metadata.
    keys
        The identifiers of the keys that may sign root metadata.
    expires
        When the first of the roles expires, ISO 8601 in UTC.
    timestamp
        The SHA-256 of `timestamp.json`.
    etag, modified
        The validators of its response.
    index
        The size and hash of `index.json`.
    files
        Every file that the index lists, as far as it is signed.
    refused
        Why a listed file is not signed, by its name.
    whole
        Whether all roles' metadata could be read; otherwise the next fetch tries it again.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    location: str
    anchor: str
    root_version: int
    timestamp_version: int
    keys: tuple[str, ...]
    expires: IsoTime
    timestamp: str
    etag: str | None = None
    modified: str | None = None
    index: SignedFile
    files: dict[str, SignedFile]
    refused: dict[str, str]
    whole: bool = True

    def is_fresh(self, anchor: str, time: datetime) -> bool:
        """Return whether it holds at a time, for whoever starts from this anchor."""
        return self.anchor == anchor and iso_time(time) < self.expires

    def check(self, published: Listed) -> SignedFile:
        """Return what is signed of a version's log, which agrees with the index.

        Raises
        ------
        Untrusted
            It is not signed, or with other bytes; or its model is.
        """
        if (error := self.why_refused(published)) is not None:
            raise error
        return self.files[published.file]

    def why_refused(self, published: Listed) -> Untrusted | None:
        """Return the error that `check` raises."""
        model = () if published.model is None else ((published.model.file, published.model.digest),)
        for file, digest in ((published.file, published.digest), *model):
            signed = self.files.get(file)
            if signed is None:
                why = self.refused.get(file, "no role signed it")
                return Untrusted(f"not a signed file: {why}", file=f"{self.location}: {file}", remedy=_REMEDY)
            if signed.digest != digest:
                return Untrusted(
                    f"the index lists other bytes than {signed.role} signed",
                    file=f"{self.location}: {file}",
                    remedy=_REMEDY,
                )
        return None


_REMEDY = "nothing was changed; tell the registry's maintainer"


@dataclass(frozen=True)
class Kept:
    """A location's folder under `.trust/`.

    Attributes
    ----------
    folder
        The folder.
    """

    folder: Path

    @staticmethod
    def of(root: Path, location: Location) -> Kept:
        """Return a location's folder in a root."""
        return Kept(root / ".trust" / hashlib.sha256(location.name.encode()).hexdigest()[:16])

    @property
    def anchor(self) -> bytes | None:
        """The root metadata that this location's signatures are checked from; None if it was never signed."""
        return _read(self.folder / "anchor.json")

    @property
    def index(self) -> bytes | None:
        """The last verified index."""
        return _read(self.folder / "index.json")

    @property
    def signed(self) -> Signed | None:
        """The result of the last verification."""
        try:
            return Signed.model_validate_json(_read(self.folder / "state.json") or b"")
        except ValidationError:  # or another release of this project wrote it
            return None

    @property
    def unsigned(self) -> tuple[str, str] | None:
        """The SHA-256 of the index that this location served unsigned, and the day of that; None if it did not."""
        try:
            sha256, day = json.loads(_read(self.folder / "unsigned.json") or b"")
        except (ValueError, TypeError):
            return None
        return str(sha256), str(day)

    def metadata(self) -> dict[str, bytes]:
        """Return the metadata that was verified, by its name in the folder `metadata`."""
        top = self.folder / METADATA
        paths = [*top.glob("*.json"), *top.glob("root_history/*.json")]
        return {str(path.relative_to(top)): data for path in paths if (data := _read(path)) is not None}

    def keep(self, files: Mapping[str, bytes]) -> None:
        """Write files, each as a whole; a root that is read-only keeps nothing."""
        with suppress(EnvironmentFailure):
            for name, data in files.items():
                if _read(self.folder / name) != data:
                    make_folders((self.folder / name).parent)
                    with atomic_write(self.folder / name, overwrite=True) as stream:
                        stream.write(data)


def all_signed(root: Path) -> dict[str, Signed]:
    """Return what was verified last of each signed registry that was seen from a root, by the location's name."""
    kept = [Kept(path.parent) for path in sorted(root.glob(".trust/*/state.json"))]
    return {signed.location: signed for each in kept if (signed := each.signed) is not None}


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def package_of(file: str) -> str | None:
    """Return the package of a log or cost model by its name; None if it has another form."""
    name = FileName.parse(file.removesuffix(".model.json") + ".log" if file.endswith(".model.json") else file)
    return None if name is None else name.package
