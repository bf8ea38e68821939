"""A bundle is untrusted: whatever is in the file, it is read within bounds, and damage is one error with its place."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from tests.registries import row
from tophub_registry.errors import InputError, UsageError
from tophub_registry.publishing import bundle as bundles
from tophub_registry.publishing.bundle import Pair, open_bundle, records_of, write_bundle
from tophub_registry.publishing.challenge import challenge, draw, read_challenge, write
from tophub_registry.records.environment import Environment

ENVIRONMENT = Environment(
    target="llvm -mcpu=znver4",
    device="AMD EPYC, 2 cores",
    architecture="znver4",
    compiler="LLVM 22",
    system="Linux",
    python="3.12",
    tvm="0.27",
    tophub="0.1",
)
PAIRS = [Pair(line=1, costs=[1e-4, 2e-4], default=[3e-4, 4e-4], error=0.0)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    log = "".join(f"{row(number)}\n" for number in range(20)).encode()
    write_bundle(tmp_path / "it.zip", "llvm", "0.1", log, ENVIRONMENT, PAIRS)
    return tmp_path / "it.zip"


def rewritten(path: Path, *, add: dict[str, bytes] | None = None, packed: int = zipfile.ZIP_STORED) -> Path:
    """Write the same files with others added, or in place of them."""
    with zipfile.ZipFile(path) as given:
        files = {name: given.read(name) for name in given.namelist()} | (add or {})
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packed) as out:
        for name, data in files.items():
            out.writestr(name, data)
    path.write_bytes(stream.getvalue())
    return path


def test_what_was_written_is_read(path: Path) -> None:
    with open_bundle(path) as bundle:
        assert (bundle.environment, list(bundle.pairs), bundle.model) == (ENVIRONMENT, PAIRS, None)
        assert len(records_of(bundle)) == 20
        assert bundle.digest.bytes == path.stat().st_size
    assert not bundle.log.exists()
    with pytest.raises(UsageError, match="never overwritten"):
        write_bundle(path, "llvm", "0.1", b"", ENVIRONMENT, [])


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("../../evil", b"", "not a bundle: a zip of other files"),
        ("/etc/passwd", b"", "not a bundle: a zip of other files"),
        ("model.json", b"{}", "the list of files is wrong: model.json"),
        ("records.log", b"{}\n", "changed after the bundle was written"),
        ("environment.json", b"{}\n", "changed after the bundle was written"),
        ("bundle.json", b"{}", "Field required"),
        ("bundle.json", b"[" * 100_000, "Invalid JSON"),
        ("bundle.json", b'{"format": 2, "tophub": "9", "package": "llvm", "files": {}}', "format: Input should be 1"),
    ],
)
def test_other_files_are_refused(path: Path, name: str, data: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught, open_bundle(rewritten(path, add={name: data})):
        pass
    assert str(caught.value.file).startswith(str(path))


def test_compressed_large_and_other_files_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="or compressed"), open_bundle(rewritten(path, packed=zipfile.ZIP_DEFLATED)):
        pass
    monkeypatch.setattr(bundles, "MAX_BUNDLE", 1000)
    with pytest.raises(InputError, match="larger than 1000 bytes"), open_bundle(path):
        pass
    path.write_bytes(b"a log, not a zip")
    with pytest.raises(InputError, match="not a bundle, or damaged"), open_bundle(path):
        pass
    with pytest.raises(InputError, match="no such file"), open_bundle(path.with_name("none.zip")):
        pass


def test_a_nonce_draws_the_same_records_again_and_another_one_others(path: Path, tmp_path: Path) -> None:
    with open_bundle(path) as bundle:
        records, sha256 = records_of(bundle), bundle.digest.sha256
        first, second = challenge(bundle), challenge(bundle, count=100)
        with pytest.raises(UsageError, match="can't draw 0 records"):
            challenge(bundle, count=0)
    assert [each.line for each in first.drawn] == draw(records, sha256, first.nonce, 5)
    assert [each.line for each in second.drawn] == [*range(1, 21)]
    assert len({str(draw(records, sha256, f"{nonce:032x}", 5)) for nonce in range(20)}) > 15
    write(tmp_path / "challenge.json", first)
    assert read_challenge(tmp_path / "challenge.json") == first
