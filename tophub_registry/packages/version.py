"""Names and numbers: packages, versions, and the files they are published as.

A package name can't lead out of its folder, a version has one spelling only, and `{package}_{version}.log` is
parsed back to what it was made from. Source of the form: `tvm.autotvm.tophub` of
TVM 0.7 to 0.19, which asks a location for exactly these files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from packaging.version import Version as Number

from tophub_registry.errors import UsageError
from tophub_registry.records.target import PACKAGE

VERSION = r"v(?:0|[1-9][0-9]{0,5})\.(?:[0-9]{2}|[1-9][0-9]{2,5})"
"""A version as a regular expression: at least two digits after the dot, and no superfluous zeros."""

_MINORS = 100  # two digits, as upstream numbers

_FILE = re.compile(rf"(?P<package>{PACKAGE})_(?P<version>{VERSION})\.log")


@dataclass(frozen=True, order=True)
class Version:
    """The version of a package: `v0.05`. Ordered as numbers: v0.99 < v1.00 < v1.100.

    Attributes
    ----------
    number
        The version as `packaging.version` has it, which does the comparing.
    """

    number: Number

    @staticmethod
    def parse(text: str) -> Version:
        """Parse `v0.05`.

        Raises
        ------
        UsageError
            The text is not a version, or is spelled differently (`0.5`, `v0.5`, `v0.005`).
        """
        if not re.fullmatch(VERSION, text):
            raise UsageError(f"not a version: {text[:80]!r}", remedy="write it like v0.05")
        return Version(Number(text))

    def next(self) -> Version:
        """Return the next version: v0.06 after v0.05, v1.00 after v0.99."""
        major, minor = self.number.major, self.number.minor + 1
        return Version.parse(f"v{major}.{minor:02}" if minor < _MINORS else f"v{major + 1}.00")

    def __str__(self) -> str:
        return f"v{self.number.major}.{self.number.minor:02}"


FIRST = Version.parse("v0.01")
"""The first version of a new package."""


class FileName(NamedTuple):
    """The name of a published file, parsed."""

    package: str
    version: Version

    @staticmethod
    def parse(name: str) -> FileName | None:
        """Read `{package}_{version}.log`; None if the name has another form."""
        match = _FILE.fullmatch(name)
        return None if match is None else FileName(match["package"], Version.parse(match["version"]))

    def __str__(self) -> str:
        return f"{self.package}_{self.version}.log"

    @property
    def model(self) -> str:
        """The name of the cost model that is published beside it."""
        return model_beside(str(self))


def model_beside(log: str) -> str:
    """Return the name of the cost model beside a log: `cuda_v0.13.model.json` beside `cuda_v0.13.log`."""
    return f"{log.removesuffix('.log')}.model.json"


def next_file(path: str | Path) -> Path | None:
    """Return the file of the next version, in the same folder: `llvm_v0.06.log` beside `llvm_v0.05.log`.

    None if the name is not of the form `{package}_{version}.log`.
    """
    path = Path(path)
    name = FileName.parse(path.name)
    return None if name is None else path.with_name(str(FileName(name.package, name.version.next())))


def check_package(name: str) -> str:
    """Return the name if it is a valid package name.

    Raises
    ------
    UsageError
        It is not.
    """
    if not re.fullmatch(PACKAGE, name):
        raise UsageError(
            f"not a package name: {name[:80]!r}",
            remedy="a lower-case letter, then lower-case letters, digits, _ and -, at most 64 in all",
        )
    return name


class Reference(NamedTuple):
    """What a user asks for: a package, at its newest version or at a given one (a pin)."""

    package: str
    version: Version | None

    @staticmethod
    def parse(text: str) -> Reference:
        """Parse `cuda` or `cuda@v0.11`.

        Raises
        ------
        UsageError
            The package name or the version is malformed.
        """
        package, at, version = text.partition("@")
        return Reference(check_package(package), Version.parse(version) if at else None)

    def __str__(self) -> str:
        return self.package if self.version is None else f"{self.package}@{self.version}"
