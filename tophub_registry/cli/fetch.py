"""`tophub fetch`."""

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from tophub_registry.cli import notes, terminal
from tophub_registry.cli.location_options import Location, Mirrors, RootFolder, find_root
from tophub_registry.cli.lock_option import Locked
from tophub_registry.cli.transfer import bars
from tophub_registry.cli.trust_options import Insecure, TrustedRoot
from tophub_registry.errors import UsageError
from tophub_registry.packages.fetch import Fetch, fetch
from tophub_registry.packages.location import find_location
from tophub_registry.packages.lock import Lock, known_lock, lock_in_effect
from tophub_registry.packages.locked import fetch_locked
from tophub_registry.packages.trust.policy import Trust
from tophub_registry.packages.version import Reference
from tophub_registry.records.target import PACKAGE


def command(
    packages: Annotated[
        list[str] | None,
        typer.Argument(
            help="PACKAGE, or PACKAGE@VERSION; by default all packages. With --locked also the lock's FILE.",
            show_default=False,
        ),
    ] = None,
    locked: Locked = False,
    location: Location = None,
    mirror: Mirrors = None,
    root: RootFolder = None,
    trust: TrustedRoot = None,
    insecure: Insecure = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Fetch packages into ~/.tvm/tophub, where TVM finds them.

    Every file is checked against the registry's index, and a signed registry's signatures, before it gets its name.
    Files that are there already are not fetched again. An interrupted download is resumed. If the registry does not
    respond, what is here is used.

    With --locked, only the versions in the lock that `tophub lock` wrote, with the same bytes, from whichever location
    has them; what is there already needs no location.
    """
    where, place = find_location(location, mirrors=mirror or ()), find_root(root, Trust.of(trust, insecure=insecure))
    lock, names = _lock(packages or [], locked=locked)
    references = [Reference.parse(text) for text in names]
    with bars() as progress:
        if lock is None:
            done = fetch(references, where, place, progress=progress)
        else:
            done = fetch_locked(lock.only(references), where, place, progress=progress)
    terminal.out((json.dumps(_fields(done), indent=1) if as_json else _text(done)) + "\n")
    if not as_json:
        notes.notices(done.notices)


def _lock(arguments: list[str], *, locked: bool) -> tuple[Lock | None, list[str]]:
    """Return the lock in effect, if any, and the packages that are asked for; a file can't be named like a package."""
    files = [text for text in arguments if locked and re.fullmatch(PACKAGE, text.partition("@")[0]) is None]
    if not files:
        return lock_in_effect(), arguments
    if files[1:]:
        raise UsageError("several files, and there is one lock", remedy="name one of them")
    return known_lock(Path(files[0])), [text for text in arguments if text not in files]


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
