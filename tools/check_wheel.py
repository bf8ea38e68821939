"""Check a wheel before it is uploaded: its contents, its metadata, its size.

python tools/check_wheel.py                 build one and check it
python tools/check_wheel.py dist/*.whl      check this one

Exit code 1 and a line for each problem if it is not fit.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser
from pathlib import Path, PurePosixPath

from tophub_registry._version import __version__
from tophub_registry.errors import InputError
from tophub_registry.packages.digest import Digest, Meter
from tophub_registry.packages.index import INDEX_FILE, Index

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "tophub_registry"
DATA = f"{PACKAGE}/registry_data"

MAX_WHEEL = 16 << 20
"""The largest wheel, in bytes. It has all published logs, and each package's newest cost model."""

SUFFIXES = {".py", ".typed", ".jinja", ".css", ".js", ".cuh"}
"""What the package's own files may be."""

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
NEEDED = {
    *("filelock", "packaging", "pydantic", "requests", "rich", "securesystemslib", "tuf", "typer", "urllib3"),
}
"""What the base install depends on: a new dependency is a decision."""


def main() -> None:
    """Parse, call, print."""
    parser = argparse.ArgumentParser(description="Check a wheel: contents, metadata, size.")
    parser.add_argument("wheel", type=Path, nargs="?", help="the wheel; by default one is built")
    given = parser.parse_args().wheel
    with tempfile.TemporaryDirectory(prefix="tophub-wheel-") as scratch:
        wheel = given or build(Path(scratch))
        found = list(problems(wheel))
        size = wheel.stat().st_size
    for problem in found:
        print(f"{wheel.name}: {problem}")
    if found:
        sys.exit(1)
    print(f"{wheel.name}: {size / 1e6:.1f} MB, contents and metadata are right")


def build(folder: Path) -> Path:
    """Build this repository's wheel."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*command, "--wheel-dir", folder, REPOSITORY], check=True)
    return next(folder.glob("*.whl"))


def problems(wheel: Path) -> Iterator[str]:
    """Yield what is wrong with a wheel."""
    if wheel.name != f"{PACKAGE}-{__version__}-py3-none-any.whl":
        yield f"its name should be {PACKAGE}-{__version__}-py3-none-any.whl"
    if (size := wheel.stat().st_size) > MAX_WHEEL:
        yield f"{size / 1e6:.1f} MB are more than {MAX_WHEEL / 1e6:.1f}"
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        about = f"{PACKAGE}-{__version__}.dist-info/"
        yield from of_code({name for name in names if not name.startswith((about, f"{DATA}/"))})
        yield from of_data(archive, {name for name in names if name.startswith(f"{DATA}/")})
        for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"):
            if about + name not in names:
                yield f"no {name}"
        if about + "METADATA" in names:
            yield from of_metadata(BytesParser().parsebytes(archive.read(about + "METADATA")))
        if about + "entry_points.txt" in names and b"tophub = tophub_registry.cli:main" not in archive.read(
            about + "entry_points.txt"
        ):
            yield "it does not install the command `tophub`"


def of_code(names: set[str]) -> Iterator[str]:
    """Yield in what the package's files differ from the source's."""
    paths = (path for path in (REPOSITORY / PACKAGE).rglob("*") if path.is_file())
    source = {path.relative_to(REPOSITORY).as_posix() for path in paths if path.suffix in SUFFIXES}
    yield from (f"{name} is missing" for name in sorted(source - names))
    yield from (f"{name} does not belong into it" for name in sorted(names - source))


def of_data(archive: zipfile.ZipFile, names: set[str]) -> Iterator[str]:
    """Yield in what the packages differ from their index."""
    if f"{DATA}/{INDEX_FILE}" not in names:
        yield f"no {INDEX_FILE}"
        return
    try:
        index = Index.parse(archive.read(f"{DATA}/{INDEX_FILE}"), file=f"{DATA}/{INDEX_FILE}")
    except InputError as error:
        yield str(error)
        return
    listed: dict[str, Digest] = {}
    superseded = set()
    for package in index.packages:
        versions = index.versions(package).values()
        models = [published.model for published in versions if published.model is not None]
        superseded |= {model.file for model in models[:-1]}
        listed |= {published.file: published.digest for published in versions}
        listed |= {model.file: model.digest for model in models[-1:]}
    found = {PurePosixPath(name).name for name in names} - {INDEX_FILE}
    for name in sorted(superseded & found):
        yield f"{name} is superseded: exclude it in pyproject.toml"
    found -= superseded
    yield from (f"{name}, which the index lists, is missing" for name in sorted(listed.keys() - found))
    yield from (f"{name} is not in the index" for name in sorted(found - listed.keys()))
    for name in sorted(listed.keys() & found):
        meter = Meter()
        with archive.open(f"{DATA}/{name}") as stream:
            for _ in meter.passing(stream):
                pass
        if meter.digest != listed[name]:
            yield f"{name} is not what was published"


def of_metadata(metadata: Message) -> Iterator[str]:
    """Yield what is wrong with the metadata, which an index of packages shows and pip obeys."""
    wanted = {
        "Name": "tophub-registry",
        "Version": __version__,
        "License-Expression": "Apache-2.0",
        "Requires-Python": ">=3.10",
        "Description-Content-Type": "text/markdown",
    }
    for name, value in wanted.items():
        if metadata[name] != value:
            yield f"{name} is {metadata[name]!r}, not {value!r}"
    if not metadata["Summary"] or not str(metadata.get_payload()).startswith("# "):
        yield "the summary or the README is missing"
    classifiers = metadata.get_all("Classifier", [])
    for python in PYTHONS:
        if f"Programming Language :: Python :: {python}" not in classifiers:
            yield f"no classifier for Python {python}"
    if differing := set(metadata.get_all("Provides-Extra", [])) ^ set(extras()):
        yield f"the extras differ from pyproject.toml's: {', '.join(sorted(differing))}"
    needed = {each for each in metadata.get_all("Requires-Dist", []) if "extra ==" not in each}
    names = {name_of(each) for each in needed}
    if names != NEEDED:
        yield f"what the base install needs differs: {', '.join(sorted(names ^ NEEDED))}"


def extras() -> list[str]:
    """Return the extras in pyproject.toml; Python 3.10 can't parse it."""
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    table = text.partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    return re.findall(r"^([a-z0-9-]+) = \[", table, re.MULTILINE)


def name_of(requirement: str) -> str:
    """Return the name of what is required."""
    from packaging.requirements import Requirement

    return Requirement(requirement).name


if __name__ == "__main__":
    main()
