"""The devices that a registry's records were measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tophub_registry.catalogue.tables import place
from tophub_registry.records.record import EARLIEST
from tophub_registry.records.summary import tool

if TYPE_CHECKING:
    from tophub_registry.catalogue.reading import Catalogue, ListedRecord, ListedVersion


@dataclass
class CataloguedDevice:
    """A device and its records of one target.

    Attributes
    ----------
    device
        Its own name, with the number of threads; '' if the records do not name it.
    package, target
        The package, and the target without a family among its keys.
    versions
        The number of its records in each version that has any, oldest first.
    newest
        The number of its records in the version that stands for the package.
    peaks
        The peaks measured on it, in 10^9 operations a second.
    tools
        What made the records.
    oldest, latest
        When they were measured, in seconds since 1970; None if no record says so.
    """

    device: str
    package: str
    target: str
    versions: dict[str, int] = field(default_factory=dict)
    newest: int = 0
    peaks: set[float] = field(default_factory=set)
    tools: set[str] = field(default_factory=set)
    oldest: float | None = None
    latest: float | None = None

    def add(self, version: ListedVersion, listed: ListedRecord) -> None:
        """Count a record."""
        record = listed.record
        self.versions[str(version.version)] = self.versions.get(str(version.version), 0) + 1
        self.tools.add(tool(record))
        if record.tophub is not None and record.tophub.peak_gflops is not None:
            self.peaks.add(record.tophub.peak_gflops)
        measured = record.result.timestamp
        if measured >= EARLIEST:
            self.oldest = measured if self.oldest is None else min(self.oldest, measured)
            self.latest = measured if self.latest is None else max(self.latest, measured)


def devices(catalogue: Catalogue) -> Sequence[CataloguedDevice]:
    """Return all devices of all versions; within a package those with the most records in its newest version first."""
    found: list[CataloguedDevice] = []
    for package in catalogue.packages:
        here: dict[tuple[str, str], CataloguedDevice] = {}
        for version in package.versions:
            for listed in version.records:
                key = (place(listed.record), str(listed.device_target))
                device = here.setdefault(key, CataloguedDevice(key[0], package.name, key[1]))
                device.add(version, listed)
        for device in here.values():
            device.newest = device.versions.get(str(package.shown.version), 0)
        found += sorted(here.values(), key=lambda device: (-device.newest, device.device, device.target))
    return found
