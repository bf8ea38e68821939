"""`tophub fetch`."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tophub_registry.packages.fetch import Fetch, Progress, fetch
from tophub_registry.packages.location import find_location
from tophub_registry.packages.root import Root
from tophub_registry.packages.version import Reference


def command(
    packages: Annotated[
        list[str] | None,
        typer.Argument(
            help="PACKAGE, or PACKAGE@VERSION for a given one; all packages by default.", show_default=False
        ),
    ] = None,
    location: Annotated[
        str | None,
        typer.Option(
            help="Where from: http(s)://…, a folder, or 'builtin'.", show_default="$TOPHUB_LOCATION, else builtin"
        ),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Where to.", show_default="~/.tvm/tophub")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Bring packages into ~/.tvm/tophub, where TVM finds them.

    Every file is checked against the registry's index before it gets its name; what is there already is not
    fetched again.
    """
    references = [Reference.parse(text) for text in packages or []]
    with _progress() as progress:
        done = fetch(references, find_location(location), Root.at(root), progress=progress)
    sys.stdout.write((json.dumps(_fields(done), indent=1) if as_json else _text(done)) + "\n")
    if not as_json:
        for notice in done.notices:
            sys.stderr.write(f"tophub: note: {notice}\n")


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """Show a bar for each file that arrives, where somebody is looking."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file, total=total)
            bars.update(tasks[file], completed=done)

        yield show


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
