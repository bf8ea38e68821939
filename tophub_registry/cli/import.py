"""`tophub import`."""  # noqa: N999  # named after its command, and imported only by name

import json
from pathlib import Path
from typing import Annotated

import typer

from tophub_registry.cli import notes, terminal
from tophub_registry.cli.registry_option import Registry, find_registry
from tophub_registry.cli.signing_option import Sign, check_option, fields_of, sign_change
from tophub_registry.cli.transfer import bars
from tophub_registry.cli.trust_options import Insecure, TrustedRoot
from tophub_registry.errors import UsageError
from tophub_registry.packages.location import find_location
from tophub_registry.packages.root import Root
from tophub_registry.packages.trust.policy import Trust
from tophub_registry.packages.version import Reference
from tophub_registry.publishing.imports import Import, import_packages


def command(
    source: Annotated[str, typer.Argument(help="A registry, or plain files like upstream's: a folder or http(s)://…")],
    packages: Annotated[
        list[str] | None,
        typer.Argument(help="PACKAGE, or PACKAGE@VERSION; by default everything that SOURCE has."),
    ] = None,
    registry: Registry = None,
    trust: TrustedRoot = None,
    insecure: Insecure = False,
    sign: Sign = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Import packages into a registry, byte for byte and with their version numbers.

    Every row is checked; log version 0.1 is kept as it is. The index records where each version comes from. From a
    web server without index.json, packages must be given with versions: cuda@v0.10 llvm@v0.04.
    """
    if Path(source).is_file():
        remedy = "`tophub release PACKAGE LOG` publishes a single log"
        raise UsageError(
            "this is a file; packages are imported from a folder or an address", file=source, remedy=remedy
        )
    references = [Reference.parse(text) for text in packages or []]
    location = find_location(source)
    if location is None:
        raise UsageError("nothing can be imported from NONE", remedy="give a folder or an address")
    folder = find_registry(registry)
    check_option(folder, sign)
    with bars() as progress:
        root = Root.at(trust=Trust.of(trust, insecure=insecure))
        done = import_packages(references, location, folder, progress=progress, root=root)
    imported = any(one.status == "imported" for one in done.versions)
    signing = sign_change(folder, sign) if imported or sign else None
    terminal.out((json.dumps(_fields(done) | fields_of(signing), indent=1) if as_json else _text(done)) + "\n")
    if not as_json:
        notes.notices(done.notices)


def _fields(done: Import) -> dict[str, object]:
    return {
        "source": done.source,
        "registry": str(done.registry),
        "versions": [
            {
                "package": one.package,
                "version": str(one.version),
                "path": str(one.path),
                "status": one.status,
                **one.published.model_dump(),
            }
            for one in done.versions
        ],
        "serial": done.serial,
        "notices": [notice._asdict() for notice in done.notices],
    }


def _text(done: Import) -> str:
    from rich.filesize import decimal

    if not done.versions:
        return "nothing to import"
    width = max(len(one.package) for one in done.versions)
    lines = [
        f"{one.package:<{width}}  {one.version!s:>6}  {one.published.records:>6} records  "
        f"{decimal(one.published.bytes):>9}  {one.status}"
        for one in done.versions
    ]
    return "\n".join([*lines, f"from {done.source} into {done.registry}"])
