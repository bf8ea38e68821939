"""`tophub list`."""

import json
import sys
from typing import Annotated

import typer

from tophub_registry.cli import notes, terminal
from tophub_registry.cli.location_options import Location, RootFolder, find_root
from tophub_registry.cli.trust_options import Insecure, TrustedRoot
from tophub_registry.packages.location import find_location
from tophub_registry.packages.overview import Overview, PackageState, survey
from tophub_registry.packages.trust.policy import Trust


def command(
    location: Location = None,
    root: RootFolder = None,
    trust: TrustedRoot = None,
    insecure: Insecure = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON, with every version.")] = False,
) -> None:
    """List the packages of a registry, and which of them are on this machine.

    The column `here`: cached (the newest version is on this machine), outdated (an older one is), damaged or missing.
    """
    seen = survey(find_location(location), find_root(root, Trust.of(trust, insecure=insecure)))
    if as_json:
        terminal.out(json.dumps(_fields(seen), indent=1) + "\n")
        return
    _print(seen)
    notes.notices(seen.notices)


def _fields(seen: Overview) -> dict[str, object]:
    return {
        "location": seen.location,
        "root": str(seen.root),
        "packages": {
            package.package: {
                "newest": str(package.newest.version) if package.newest else None,
                "state": package.state,
                "versions": {
                    str(state.version): {"state": state.state, **state.published.model_dump()}
                    for state in package.versions
                },
            }
            for package in seen.packages
        },
        "unlisted": [{"file": file.path.name, "registry": file.registry} for file in seen.unlisted],
        "notices": [notice._asdict() for notice in seen.notices],
    }


_COLOURS = {"cached": "green", "outdated": "yellow", "damaged": "red", "missing": "dim"}


def _print(seen: Overview) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Piped output is not wrapped: programs read it.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False, soft_wrap=True)
    if seen.packages:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("package", "version", "older", "records", "tasks", "size", "released"):
            table.add_column(name, justify="left" if name == "package" else "right", no_wrap=True)
        table.add_column("here", no_wrap=True)
        for package in seen.packages:
            table.add_row(*map(terminal.line, _row(package)), Text(_here(package), style=_COLOURS[package.state]))
        console.print(table)
        console.print(terminal.clean(f"location: {seen.location}, on this machine: {seen.root}"))
    elif seen.location is not None:
        console.print(f"{seen.location} has no packages yet")
    if seen.unlisted:
        names = ", ".join(file.path.name + (f" ({file.registry})" if file.registry else "") for file in seen.unlisted)
        also = "also " if seen.location else ""
        console.print(terminal.clean(f"{also}in {seen.root}: {names}"))


def _row(package: PackageState) -> tuple[str, ...]:
    from rich.filesize import decimal

    if package.newest is None:
        return (package.package, "yanked", str(len(package.versions)), "", "", "", "")
    published = package.newest.published
    return (
        package.package,
        str(package.newest.version),
        str(len(package.versions) - 1),
        str(published.records),
        str(len(published.tasks)),
        decimal(published.bytes),
        published.released.partition("T")[0],
    )


def _here(package: PackageState) -> str:
    return f"outdated ({package.here})" if package.state == "outdated" else package.state
