"""`tophub fetch`."""

import json
from typing import Annotated

import typer

from tophub_registry.cli import notes, terminal
from tophub_registry.cli.location_options import Location, Mirrors, RootFolder
from tophub_registry.cli.transfer import bars
from tophub_registry.packages.fetch import Fetch, fetch
from tophub_registry.packages.location import find_location
from tophub_registry.packages.root import Root
from tophub_registry.packages.version import Reference


def command(
    packages: Annotated[
        list[str] | None,
        typer.Argument(help="PACKAGE, or PACKAGE@VERSION; by default all packages.", show_default=False),
    ] = None,
    location: Location = None,
    mirror: Mirrors = None,
    root: RootFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Fetch packages into ~/.tvm/tophub, where TVM finds them.

    Every file is checked against the registry's index before it gets its name. Files that are there already are
    not fetched again. An interrupted download is resumed. If the registry does not respond, what is here is used.
    """
    references = [Reference.parse(text) for text in packages or []]
    with bars() as progress:
        done = fetch(references, find_location(location, mirrors=mirror or ()), Root.at(root), progress=progress)
    terminal.out((json.dumps(_fields(done), indent=1) if as_json else _text(done)) + "\n")
    if not as_json:
        notes.notices(done.notices)


def _fields(done: Fetch) -> dict[str, object]:
    return {
        "location": done.location,
        "root": str(done.root),
        "packages": [
            {
                "package": fetched.package,
                "version": str(fetched.version),
                "path": str(fetched.path),
                "bytes": fetched.digest.bytes,
                "sha256": fetched.digest.sha256,
                "status": fetched.status,
            }
            for fetched in done.packages
        ],
        "notices": [notice._asdict() for notice in done.notices],
    }


def _text(done: Fetch) -> str:
    from rich.filesize import decimal

    if not done.packages:
        return "nothing to fetch"
    width = max(len(fetched.package) for fetched in done.packages)
    lines = [
        f"{fetched.package:<{width}}  {fetched.version!s:>6}  {decimal(fetched.digest.bytes):>9}  {fetched.status}"
        for fetched in done.packages
    ]
    return "\n".join([*lines, f"from {done.location} into {done.root}"])
