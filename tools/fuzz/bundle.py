"""The contribution's bundle: a zip that is read as what it was written as, or refused."""

from __future__ import annotations

import io
import json
import random
import tempfile
import zipfile
import zlib
from hashlib import sha256
from pathlib import Path

from tophub_registry.publishing.bundle import Pair, WholeModel, open_bundle, records_of, write_bundle
from tophub_registry.records.environment import Environment

from .harness import Harness, Raw, expect, tried
from .mutation import mutate_json, mutate_log
from .seeds import WORDS, rows

_WORDS = (
    *WORDS,
    "format",
    "package",
    "files",
    "bytes",
    "sha256",
    "line",
    "costs",
    "default",
    "replaced",
    "machine",
    "clocks",
)
_MANIFEST = "bundle.json"


def check(data: bytes, folder: Path) -> None:
    """Open a bundle, and read its records."""
    path = folder / "x.bundle"
    path.write_bytes(data)
    tried(_read, path)


def _read(path: Path) -> None:
    with open_bundle(path) as bundle:
        expect(bundle.log.is_file(), "an open bundle has its log")
        lines = records_of(bundle)
        expect(all(line > 0 for line in lines), "records have lines")


def mutate(data: bytes, size: int, chance: random.Random, raw: Raw) -> bytes:
    """Change one of the files, mostly with the manifest that fits; or the archive's bytes."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        manifest = json.loads(files.pop(_MANIFEST))
        name = chance.choice(list(files))
        if chance.random() < 0.2 or not isinstance(manifest, dict):  # noqa: PLR2004
            return raw(data, size)
        if name.endswith(".log"):
            files[name] = mutate_log(files[name], size, chance, raw, _WORDS, rows())
        else:
            files[name] = mutate_json(files[name], size, chance, raw, _WORDS, chance.choice(rows()))
        if chance.random() < 0.9:  # noqa: PLR2004
            manifest["files"] = {
                name: {"bytes": len(text), "sha256": sha256(text).hexdigest()} for name, text in files.items()
            }
        files[_MANIFEST] = json.dumps(manifest).encode()
        if chance.random() < 0.2:  # noqa: PLR2004
            files[_MANIFEST] = mutate_json(files[_MANIFEST], size, chance, raw, _WORDS, b"{}")
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", chance.choice([zipfile.ZIP_STORED] * 9 + [zipfile.ZIP_DEFLATED])) as archive:
            for each, text in files.items():
                archive.writestr(zipfile.ZipInfo(each), text)
        return stream.getvalue()[:size]
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        RuntimeError,
        NotImplementedError,
        ValueError,
        KeyError,
        IndexError,
    ):
        return raw(data, size)


def seeds() -> list[bytes]:
    """Return bundles with and without a whole model."""
    log = b"\n".join(row for row in rows()[:3]) + b"\n"
    environment = Environment(
        target="llvm",
        device="d",
        architecture="znver4",
        compiler="LLVM 22",
        system="s",
        python="3",
        tvm="0.27",
        tophub="1",
    )
    pairs = [Pair(line=1, costs=[1e-3], default=[2e-3])]
    made: list[bytes] = []
    with tempfile.TemporaryDirectory(prefix="tophub-fuzz-") as folder:
        for model in (None, WholeModel(name="net", layers=2, before=1.0, after=0.9)):
            path = Path(folder) / f"{len(made)}.bundle"
            write_bundle(path, "llvm", "0.1.0", log, environment, pairs, model)
            made.append(path.read_bytes())
    return made


HARNESS = Harness(check, seeds, mutate, _WORDS)
