"""A signed registry to test with, and an attacker who has some of its keys or the way to it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cache
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, MetaFile

from tests.registries import write_rows
from tophub_registry.packages.folder import read_index
from tophub_registry.packages.location import Folder
from tophub_registry.packages.root import Root
from tophub_registry.packages.trust.policy import Untrusted
from tophub_registry.publishing import roles, signing
from tophub_registry.publishing.release import release


@cache
def key(name: str) -> CryptoSigner:  # noqa: ARG001  # what is cached is by name
    """Return a holder's key pair; the same name is the same key."""
    return CryptoSigner.generate_ed25519()


def disguised(name: str, other: str) -> CryptoSigner:
    """Return a key pair which metadata will call by the identifier of another one."""
    public = key(name).public_key
    called = SSlibKey(key(other).public_key.keyid, public.keytype, public.scheme, public.keyval)
    return CryptoSigner(key(name)._private_key, called)


HOLDERS = "ann", "bob"


@dataclass
class SignedRegistry:
    """A registry signed by Ann and Bob, whose server has the key `online`."""

    path: Path
    logs: Path
    copies: list[Path] = field(default_factory=list)

    @property
    def location(self) -> Folder:
        return Folder(self.path)

    def start(self, *holders: str, time: datetime | None = None, threshold: int = 2, **fields: object) -> None:
        given = [key(name).public_key for name in holders or HOLDERS]
        first = roles.FirstKeys(given, given, [key("online").public_key], threshold)
        roles.start(self.path, first, time=time, **fields)
        self.sign(time=time)

    def release(
        self, name: str, rows: int, *, sign: bool = True, time: datetime | None = None, **fields: object
    ) -> None:
        package, _, version = name.partition("@")
        release(package, write_rows(self.logs / f"{package}_{version}.log", rows, **fields), self.path)
        if sign:
            self.sign(time=time)

    def sign(self, *names: str, time: datetime | None = None) -> signing.Signing:
        return signing.sign(self.path, [key(name) for name in names or (*HOLDERS, "online")], time=time)

    def refresh(self, *names: str, time: datetime | None = None) -> signing.Signing:
        return signing.refresh(self.path, [key(name) for name in names or ("online",)], time=time)

    def copy(self) -> Path:
        """Keep what is served now, to serve it again."""
        kept = self.path.with_name(f"{self.path.name}-{len(self.copies)}")
        shutil.copytree(self.path, kept)
        self.copies.append(kept)
        return kept

    def metadata(self, name: str) -> Path:
        return self.path / "metadata" / name

    def edit(self, name: str, change: object, *signers: str) -> None:
        """Change a metadata file and sign it again with keys that the attacker has; the old signatures go."""
        metadata = Metadata.from_file(str(self.metadata(name)))
        change(metadata.signed)
        metadata.signatures.clear()
        for signer in signers:
            metadata.sign(key(signer), append=True)
        metadata.to_file(str(self.metadata(name)))

    def resign(self, changed: str) -> None:
        """Let the online key sign a snapshot and a timestamp for a metadata file that was changed."""
        timestamp = Metadata.from_file(str(self.metadata("timestamp.json"))).signed
        snapshot = f"{timestamp.snapshot_meta.version}.snapshot.json"
        version, _, name = changed.partition(".")
        if changed != snapshot:
            entry = MetaFile.from_data(int(version), self.metadata(changed).read_bytes(), ["sha256"])
            self.edit(snapshot, lambda signed: signed.meta.update({name: entry}), "online")
        data = self.metadata(snapshot).read_bytes()
        entry = MetaFile.from_data(timestamp.snapshot_meta.version, data, ["sha256"])
        self.edit("timestamp.json", lambda signed: setattr(signed, "snapshot_meta", entry), "online")

    def index(self):
        return read_index(self.path)


def made(folder: Path, *names: str, **fields: object) -> SignedRegistry:
    """Make a signed registry with these versions: `llvm@v0.05`, of so many records as its number says."""
    registry = SignedRegistry(folder / "registry", folder / "logs")
    for name in names or ("llvm@v0.05",):
        registry.release(name, int(name[-2:]), sign=False)
    registry.start(**fields)
    return registry


def ago(days: float) -> datetime:
    """Return a time in the past."""
    return datetime.now(timezone.utc) - timedelta(days=days)


def rules(done: object) -> list[str]:
    """Return the rules of what was told."""
    return [notice.rule for notice in done.notices]


def held(root: Root) -> dict[str, bytes]:
    """Return the root's logs, which no attack may change."""
    return {path.name: path.read_bytes() for path in root.path.glob("*.log")}


@contextmanager
def refused(root: Root, match: str, kind: type[Exception] = Untrusted) -> Iterator[pytest.ExceptionInfo[Exception]]:
    """Expect an error, which leaves the root's logs as they were."""
    before = held(root)
    with pytest.raises(kind, match=match) as caught:
        yield caught
    assert held(root) == before


def stranger(folder: Path) -> Path:
    """Return a registry with the same packages, signed by somebody else's keys."""
    other = made(folder)
    shutil.rmtree(other.path)
    other.release("llvm@v0.05", 9, sign=False)
    first = roles.FirstKeys([key("eve").public_key], [key("eve").public_key], [key("eve").public_key], 1)
    roles.start(other.path, first)
    other.sign("eve")
    return other.path


def as_it_is(_signed: object) -> None:
    """Change nothing: what is signed again has the attacker's signatures alone."""


def expire(signed: object) -> None:
    """Let metadata have expired yesterday."""
    signed.expires = ago(1).replace(microsecond=0)
