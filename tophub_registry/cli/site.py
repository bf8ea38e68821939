"""`tophub site`: a registry's catalogue as static pages."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from tophub_registry import spelling
from tophub_registry.cli import notes, terminal
from tophub_registry.cli.registry_option import Registry, find_registry

_NAMED = 5


def command(
    registry: Registry = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The site's folder. An earlier catalogue in it is replaced.")
    ] = Path("site"),
    model: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            metavar="FILE",
            help="Show a model too (repeatable): its tasks, as `tophub extract -o` writes them, with the layers that "
            "have records; or its times, as `tophub bench -o` writes them.",
            show_default=False,
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="The registry's name, for the pages' headings.")] = "Tuning records",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write a registry's catalogue: static pages with packages, versions, changes, devices and every record.

    Search finds a layer by its shape (64x56x56, 512 3x3), its task or its device. Open index.html from the folder, or
    put the folder on any static host: the pages need no server and no network. They are complete or not there: a crash
    leaves the old ones. Logs do not name models; --model adds a page about them.

    Needs the extra [report].
    """
    from tophub_registry.catalogue.site import write_site

    site = write_site(find_registry(registry), output, models=model or (), title=title, progress=notes.progress)
    if as_json:
        fields = {**dataclasses.asdict(site), "folder": str(site.folder), "missing": list(site.missing)}
        terminal.out(json.dumps(fields, indent=1) + "\n")
        return
    for name in site.missing[:_NAMED]:
        terminal.err(f"tophub: note: {name}.log is not in the registry's folder as it was published\n")
    if len(site.missing) > _NAMED:
        terminal.err(f"tophub: note: nor are {len(site.missing) - _NAMED} more\n")
    terminal.out(
        f"{site.records:,} records of {site.versions} versions in {site.files} files ({spelling.size(site.bytes)}): "
        f"{site.folder / 'index.html'}\n"
    )
