"""`tophub verify`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from tophub_registry import spelling
from tophub_registry.cli import terminal
from tophub_registry.cli.location_options import Location, RootFolder
from tophub_registry.cli.transfer import bars
from tophub_registry.packages.location import find_location
from tophub_registry.packages.repair import repair
from tophub_registry.packages.root import Root
from tophub_registry.packages.verification import verify

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tophub_registry.packages.repair import Repair
    from tophub_registry.packages.verification import Checked, Verification

_SHOWN = 5


def command(
    mend: Annotated[bool, typer.Option("--repair", help="Fetch damaged files anew; no log is deleted.")] = False,
    location: Location = None,
    root: RootFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every file's state as JSON.")] = False,
) -> None:
    """Hash everything in ~/.tvm/tophub again, and compare it with what the registries have published.

    Each file is good; damaged (a registry has published other bytes under its name); unknown (no registry that was seen
    from here has published it); or left over by a process that was killed. Then it says which of the good files are
    signed, and until when the signatures that were verified last hold. Your own logs are left alone: `tophub validate`
    checks these. Exit code 1 if a file is damaged.
    """
    place = Root.at(root)
    with bars() as progress:
        found = verify(place, progress=progress)
    repairs: Sequence[Repair] = ()
    if mend and (damaged := found.in_state("damaged")):
        with bars() as progress:
            repairs = repair(damaged, find_location(location), place, progress=progress)
            found = verify(place)
    if as_json:
        terminal.out(json.dumps(_fields(found, repairs), indent=1) + "\n")
    else:
        _print(found, repairs)
    if found.in_state("damaged"):
        raise typer.Exit(1)


def _fields(found: Verification, repairs: Sequence[Repair]) -> dict[str, object]:
    return {
        "root": str(found.root),
        "registries": found.registries,
        "signatures": [each._asdict() for each in found.signatures],
        "files": [
            {
                "file": str(checked.path),
                "state": checked.state,
                "package": checked.reference and checked.reference.package,
                "version": checked.reference and str(checked.reference.version),
                "registry": checked.registry,
                "confirmed_by": _confirmed_by(checked),
                "signed_by": checked.signed_by,
                "message": checked.message or None,
                "remedy": checked.remedy,
            }
            for checked in found.files
        ],
        "repairs": [
            {"file": str(each.checked.path), "error": None if each.error is None else str(each.error)}
            for each in repairs
        ],
    }


def _print(found: Verification, repairs: Sequence[Repair]) -> None:
    for each in repairs:
        outcome = "fetched anew" if each.error is None else f"not repaired: {each.error}"
        terminal.out(f"{_shown(each.checked.path, found.root)}: {terminal.line(outcome)}\n")
    for checked in found.files:
        if checked.message:
            terminal.out(f"{_shown(checked.path, found.root)}: {_said(checked)}\n")
    counts = {state: len(found.in_state(state)) for state in ("good", "damaged", "unknown", "leftover")}
    said = [f"{count} {state.replace('leftover', 'left over')}" for state, count in counts.items() if count]
    total = spelling.counted(len(found.files), "file")
    terminal.out(f"{found.root}: {total}" + (f": {', '.join(said)}" if said else "") + "\n")
    for line in _signatures(found):
        terminal.out(f"{terminal.line(line)}\n")


def _signatures(found: Verification) -> Iterator[str]:
    """Yield what is signed of the good files, and what is in an index only, by registry."""
    good = found.in_state("good")
    for each in found.signatures:
        day = each.expires.partition("T")[0]
        holds = (
            f"valid until {day}"
            if each.valid
            else f"expired on {day} (`tophub list --location {each.registry}` asks for new ones)"
        )
        files = [checked for checked in good if each.registry in checked.signed_by]
        yield f"signed by {each.registry}, signatures {holds}: {_names(files, found.root)}"
    unsigned = [checked for checked in good if not checked.signed_by]
    for registry in dict.fromkeys(checked.registry for checked in unsigned):
        files = [checked for checked in unsigned if checked.registry == registry]
        yield f"not signed, confirmed by the index of {registry} only: {_names(files, found.root)}"


def _names(files: Sequence[Checked], root: Path) -> str:
    more = f" and {len(files) - _SHOWN} more" if files[_SHOWN:] else ""
    return ", ".join(str(checked.path.relative_to(root)) for checked in files[:_SHOWN]) + more or "none of these files"


def _confirmed_by(checked: Checked) -> str | None:
    if checked.state != "good":
        return None
    return "signatures" if checked.signed_by else "index"


def _shown(path: Path, root: Path) -> str:
    return terminal.line(path.relative_to(root) if path.is_relative_to(root) else path)


def _said(checked: Checked) -> str:
    state = "" if checked.state == "good" else f"{checked.state.replace('leftover', 'left over')}: "
    return terminal.line(f"{state}{checked.message}" + (f" ({checked.remedy})" if checked.remedy else ""))
