"""`tophub mirror`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from tophub_registry.cli import notes, terminal
from tophub_registry.cli.location_options import Location, RootFolder
from tophub_registry.cli.transfer import bars
from tophub_registry.cli.trust_options import Insecure, TrustedRoot
from tophub_registry.errors import UsageError
from tophub_registry.packages.location import find_location
from tophub_registry.packages.mirror import Mirror, mirror
from tophub_registry.packages.root import Root
from tophub_registry.packages.trust.policy import Trust


def command(
    folder: Annotated[Path, typer.Argument(help="The mirror's folder.", metavar="DIR", show_default=False)],
    location: Location = None,
    root: RootFolder = None,
    trust: TrustedRoot = None,
    insecure: Insecure = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Keep a verified copy of a registry in a folder: all versions, with their signatures.

    AutoTVM clients do not verify: serve them a mirror. Run it again to update it; only what is new is fetched, and at
    every moment the folder is a complete registry.
    """
    source = find_location(location)
    if source is None:
        raise UsageError("nothing can be mirrored from NONE", remedy="give --location")
    with bars() as progress:
        done = mirror(
            source, folder.absolute(), Root.at(root, trust=Trust.of(trust, insecure=insecure)), progress=progress
        )
    terminal.out((json.dumps(_fields(done), indent=1) if as_json else terminal.clean(_text(done))) + "\n")
    if not as_json:
        notes.notices(done.notices)


def _fields(done: Mirror) -> dict[str, object]:
    return {
        "location": done.location,
        "folder": str(done.folder),
        "signed": done.signed,
        "files": [vars(file) for file in done.files],
        "notices": [notice._asdict() for notice in done.notices],
    }


def _text(done: Mirror) -> str:
    fetched = [file.file for file in done.files if file.status == "downloaded"]
    how = "verified with its signatures" if done.signed else "not signed: checked against its index only"
    return "\n".join([*fetched, f"{len(done.files)} files of {done.location} in {done.folder}, {how}"])
