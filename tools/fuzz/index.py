"""The index: what is accepted is written and read again as the same, answers every question, and keeps its promises."""

from __future__ import annotations

import copy
import json
import random
from datetime import datetime, timezone
from functools import cache
from pathlib import Path

from tophub_registry.packages.index import Index, check_successor, freshness, resolve
from tophub_registry.packages.version import FileName, Reference

from .harness import Harness, Raw, expect, tried
from .mutation import mutate_json
from .seeds import DATA

TIME = datetime(2026, 11, 1, tzinfo=timezone.utc)

WORDS = (
    "schema_version", "serial", "expires", "packages", "file", "bytes", "sha256", "records", "released", "base",
    "tasks", "targets", "yanked", "imported", "model", "source", "at", "cuda", "llvm", "v0.01", "v0.05", "v0.06",
    "v1.00", "v0.100", "cuda_v0.11.log", "cuda_v0.13.model.json", "llvm_v0.05.log", "../llvm_v0.05.log",
    "2027-11-27T13:15:56Z", "2026-02-30T25:61:61Z", "0" * 64, "arm_cpu", "a-b_c", "v0.00", "cuda@v0.11",
)  # fmt: skip

_PART = b"\0"


def check(data: bytes, _folder: Path) -> None:
    """Read an index, and after a NUL the one that is served next, and after another one a reference."""
    first, second, reference, *_ = [*data.split(_PART, 2), b"", b""]
    seen, offered = _read(first), _read(second)
    wanted = tried(Reference.parse, reference.decode("utf-8", "surrogateescape"))
    if wanted is not None:
        expect(Reference.parse(str(wanted)) == wanted, "a reference is written and parsed")
    for index in filter(None, (seen, offered)):
        _ask(index, wanted)
        expect(_follows(index, index), "an index may replace itself")
    if seen is not None and offered is not None and _follows(seen, offered):
        _check_promises(seen, offered)


def _read(data: bytes) -> Index | None:
    index = tried(Index.parse, data, file="index.json")
    if index is not None:
        written = index.to_bytes()
        again = Index.parse(written)
        expect(again == index, "an index that was written is read as the same")
        expect(again.to_bytes() == written, "an index is always written as the same bytes")
    return index


def _ask(index: Index, wanted: Reference | None) -> None:
    freshness(index, TIME)
    for package in index.packages:
        versions = index.versions(package)
        expect(sorted(versions) == list(versions), "versions are in order")
        for version in (None, *versions):
            resolved = tried(resolve, index, Reference(package, version))
            if resolved is not None:
                name = FileName(package, resolved.version)
                expect(
                    resolved.published.file == str(name) and FileName.parse(str(name)) == name, "files have their names"
                )
        last = list(versions)[-1]
        more = tried(index.with_yanked, package, last, "damaged", TIME)
        expect(more is not None and _follows(index, more), "an index with a version yanked replaces the one before")
        following = last.next() if str(last) != "v999999.999999" else None
        if following is not None:
            file = {"file": str(FileName(package, following)), "model": None}
            tried(index.with_version, package, following, versions[last].model_copy(update=file), TIME)
    if wanted is not None:
        tried(resolve, index, wanted)


def _follows(seen: Index, offered: Index) -> bool:
    """Whether an index may replace another one."""

    def checked() -> bool:
        check_successor(seen, offered, place="there", remedy="this")
        return True

    return tried(checked) is True


def _check_promises(seen: Index, offered: Index) -> None:
    back = offered.serial < seen.serial
    for package, versions in seen.packages.items():
        for version, published in versions.items():
            now = offered.packages.get(package, {}).get(version)
            expect(now is not None, "a published version is not removed")
            same = now is not None and {**now.model_dump(), "yanked": None} == {
                **published.model_dump(),
                "yanked": None,
            }
            expect(same, "a published version never changes")
            kept = published.yanked is None or (now is not None and now.yanked is not None)
            expect(kept or not back, "an older index takes no yank back")


def mutate(data: bytes, size: int, chance: random.Random, raw: Raw) -> bytes:
    """Change one of the two indexes, make the second one like the first, or change the reference."""
    parts = [*data.split(_PART, 2), b"", b""][:3]
    match chance.randrange(8):
        case 0:
            parts[1] = mutate_json(parts[0], size, chance, raw, WORDS, parts[1])
        case 1:
            parts[2] = raw(chance.choice([parts[2], *map(str.encode, WORDS)]), 100)
        case 2:
            parts[0], parts[1] = parts[1], parts[0]
        case 3:
            parts[1] = _next(parts[0])
        case kind:
            at = kind % 2
            parts[at] = mutate_json(parts[at] or _small(), size, chance, raw, WORDS, parts[1 - at] or _small())
    return _PART.join(parts)[:size]


def _next(data: bytes) -> bytes:
    """Return an index with the next serial."""
    try:
        fields = json.loads(data)
        return json.dumps({**fields, "serial": fields["serial"] + 1}).encode()
    except (ValueError, TypeError, KeyError, RecursionError):
        return data


@cache
def _small() -> bytes:
    """Return an index with one version of each package."""
    fields = json.loads((DATA / "index.json").read_bytes())
    packages = {package: dict(list(versions.items())[:1]) for package, versions in fields["packages"].items()}
    return json.dumps({**fields, "packages": packages}).encode()


def seeds() -> list[bytes]:
    """Return the repository's own index, small ones, and pairs of them."""
    whole, small = (DATA / "index.json").read_bytes(), _small()
    imported = copy.deepcopy(json.loads(small))
    for versions in imported["packages"].values():
        for published in versions.values():
            published["imported"] = {"source": "https://there/tophub", "at": "2026-11-20T00:00:00Z"}
            published["yanked"] = "slow"
    models = {**json.loads(whole)}
    models["packages"] = {"cuda": {"v0.13": {**models["packages"]["cuda"]["v0.13"], "base": None}}}
    model = json.dumps(models).encode()
    return [whole, small, json.dumps(imported).encode(), model, small + _PART + _next(small) + _PART + b"cuda@v0.11",
            small + _PART + _next(model) + _PART + b"llvm"]  # fmt: skip


HARNESS = Harness(check, seeds, mutate, WORDS)
