"""A contribution's bundle: one file with a log and the evidence for it, that is checked without its device.

It is a zip of plain files, stored and dated 1980, so that the same contents are the same bytes: `bundle.json` lists
the others with size and SHA-256; `records.log` has the records as they would be published, `environment.json` the
machine, `pairs.json` the records timed in turns with what they replace, and `model.json`, if it is there, a whole model
with and without them. A bundle is untrusted: its size is bounded, and nothing is unpacked by a name that it chooses.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, TypeAdapter, ValidationError

from tophub_registry.errors import EnvironmentFailure, InputError
from tophub_registry.files import atomic_write
from tophub_registry.packages.digest import Digest, Meter
from tophub_registry.publishing.exchanged import check_kind
from tophub_registry.records.environment import Environment
from tophub_registry.records.log import read_rows
from tophub_registry.records.record import MAX_COST, Config, Record

MANIFEST, LOG, ENVIRONMENT, PAIRS, MODEL = "bundle.json", "records.log", "environment.json", "pairs.json", "model.json"

MAX_BUNDLE = 64 << 20
"""The largest bundle that is read, in bytes."""

_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_PLAIN = ConfigDict(frozen=True, strict=True, extra="allow")

Costs = list[Annotated[float, Field(gt=0, le=MAX_COST)]]
"""Seconds, one for each round."""


class Replaced(BaseModel):
    """The published record that a contributed one was timed with.

    Attributes
    ----------
    source
        The log that has it.
    config
        Its config.
    costs
        Seconds in each round.
    """

    model_config = _PLAIN

    source: str
    config: Config
    costs: Costs


class Pair(BaseModel):
    """A record's kernel, timed in turns with AutoTVM's default config and with what it replaces.

    Attributes
    ----------
    line
        The record's line in the bundle's log.
    costs, default
        Seconds in each round; `costs` is empty if the kernel can't be measured.
    replaced
        What the record replaces, if that is known.
    error
        The largest error of the kernel's output, as a fraction of its largest number.
    failure
        Why the kernel can't be measured.
    """

    model_config = _PLAIN

    line: PositiveInt
    costs: Costs
    default: Costs
    replaced: Replaced | None = None
    error: FiniteFloat | None = None
    failure: str | None = None


class WholeModel(BaseModel):
    """A whole model, timed in turns with the newest package's records and with the contributed ones too.

    Attributes
    ----------
    name
        The model's name, or its file's without the folder.
    layers
        How many layers use a contributed record.
    before, after
        The median times of a run, in seconds.
    """

    model_config = _PLAIN

    name: str
    layers: int
    before: FiniteFloat
    after: FiniteFloat


class File(BaseModel):
    """A file of a bundle."""

    model_config = _PLAIN

    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What a bundle says of itself.

    Attributes
    ----------
    format
        1.
    tophub
        The version that wrote it.
    package
        The package that its records belong to.
    files
        The other files.
    """

    model_config = _PLAIN

    format: Literal[1]
    tophub: str
    package: str
    files: dict[str, File]


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files are intact.

    Attributes
    ----------
    path
        The bundle.
    digest
        Of the bundle as a whole.
    log
        A copy of its log, while the bundle is open.
    """

    path: Path
    digest: Digest
    manifest: Manifest
    environment: Environment
    pairs: tuple[Pair, ...]
    model: WholeModel | None
    log: Path

    def place(self, name: str) -> str:
        """Return how findings name one of its files."""
        return f"{self.path}/{name}"


def write_bundle(
    path: Path,
    package: str,
    version: str,
    log: bytes,
    environment: Environment,
    pairs: list[Pair],
    model: WholeModel | None = None,
) -> Digest:
    """Write a bundle, all or nothing, and return its digest.

    Parameters
    ----------
    version
        The version of this project.

    Raises
    ------
    UsageError
        The file exists.
    EnvironmentFailure
        It can't be written.
    """
    files = {LOG: log, ENVIRONMENT: _json(environment), PAIRS: _json(pairs)}
    if model is not None:
        files[MODEL] = _json(model)
    listed = {name: File(bytes=len(data), sha256=_digest(data).sha256) for name, data in files.items()}
    files[MANIFEST] = _json(Manifest(format=1, tophub=version, package=package, files=listed))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, _LONG_AGO), files[name])
    data = stream.getvalue()
    with atomic_write(path) as out:
        out.write(data)
    return _digest(data)


def _json(value: BaseModel | list[Pair]) -> bytes:
    plain = value.model_dump() if isinstance(value, BaseModel) else [each.model_dump() for each in value]
    return json.dumps(plain, indent=1, ensure_ascii=False).encode() + b"\n"


def _digest(data: bytes) -> Digest:
    meter = Meter()
    meter.add(data)
    return meter.digest


@contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """Read a bundle, and check that its files are what its manifest lists.

    Raises
    ------
    InputError
        It is missing, too large or damaged, or one of its files is not what it should be.
    EnvironmentFailure
        It can't be read.
    """
    check_kind(path, "bundle")
    data = _read(path)
    files = _unpacked(path, data)
    manifest = _parsed(Manifest, files.pop(MANIFEST, None), path, MANIFEST)
    _check_files(path, manifest, files)
    environment = _parsed(Environment, files.get(ENVIRONMENT), path, ENVIRONMENT)
    pairs = _parsed(list[Pair], files.get(PAIRS), path, PAIRS)
    model = _parsed(WholeModel, files[MODEL], path, MODEL) if MODEL in files else None
    if LOG not in files:
        raise InputError("the bundle has no records.log", file=path, remedy=_AGAIN)
    with tempfile.TemporaryDirectory(prefix="tophub-bundle-") as scratch:
        log = Path(scratch) / LOG
        log.write_bytes(files[LOG])
        yield Bundle(path, _digest(data), manifest, environment, tuple(pairs), model, log)


_AGAIN = "write it again with `tophub contribute`"


def records_of(bundle: Bundle) -> dict[int, Record]:
    """Return a bundle's records by line.

    Raises
    ------
    InputError
        A line is not a record.
    """
    try:
        return {row.line: row.record for row in read_rows(bundle.log) if row.record is not None}
    except InputError as error:
        raise InputError(error.message, file=bundle.place(LOG), line=error.line, remedy=error.remedy) from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BUNDLE + 1)
    except FileNotFoundError as error:
        raise InputError("no such file", file=path) from error
    except OSError as error:
        raise EnvironmentFailure(f"can't be read: {error.strerror or error}", file=path) from error
    if len(data) > MAX_BUNDLE:
        raise InputError(f"larger than {MAX_BUNDLE} bytes", file=path, remedy="contribute fewer records at once")
    return data


def _unpacked(path: Path, data: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            unknown = set(names) - {MANIFEST, LOG, ENVIRONMENT, PAIRS, MODEL}
            if unknown or len(set(names)) < len(names) or any(member.compress_type for member in members):
                raise InputError("not a bundle: a zip of other files, or compressed", file=path, remedy=_AGAIN)
            return {member.filename: archive.read(member) for member in members}
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        raise InputError(f"not a bundle, or damaged: {error}", file=path, remedy=_AGAIN) from error


_Model = TypeVar("_Model")


def _parsed(model: type[_Model], data: bytes | None, path: Path, name: str) -> _Model:
    if data is None:
        raise InputError(f"the bundle has no {name}", file=path, remedy=_AGAIN)
    return parse_json(model, data, f"{path}/{name}", remedy=_AGAIN)


def parse_json(model: type[_Model], data: bytes, file: str | Path, *, remedy: str, what: str | None = None) -> _Model:
    """Parse JSON strictly into a model.

    Parameters
    ----------
    what
        What the file should be, as errors say it.

    Raises
    ------
    InputError
        It is something else.
    """
    try:
        return TypeAdapter(model).validate_json(data)
    except ValidationError as error:
        finding = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, finding["loc"]))
        reason = f"{place}: {finding['msg']}" if place else finding["msg"]
        if what is not None and finding["type"] in _OTHERWISE:
            reason = f"not {what}: {reason}"
        raise InputError(reason, file=file, remedy=remedy) from error


_OTHERWISE = ("json_invalid", "missing", "model_type")
"""Which of pydantic's errors say that a file is something else, rather than damaged."""


def _check_files(path: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Raise InputError unless the files are the listed ones, byte for byte."""
    if files.keys() != manifest.files.keys():
        differing = ", ".join(sorted(files.keys() ^ manifest.files.keys()))
        raise InputError(f"the list of files is wrong: {differing[:200]}", file=f"{path}/{MANIFEST}", remedy=_AGAIN)
    for name, listed in manifest.files.items():
        if _digest(files[name]) != (listed.bytes, listed.sha256):
            message = "changed after the bundle was written: its SHA-256 is another than bundle.json lists"
            raise InputError(message, file=f"{path}/{name}", remedy=_AGAIN)
