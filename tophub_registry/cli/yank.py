"""`tophub yank`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from tophub_registry.cli import terminal
from tophub_registry.cli.registry_option import Registry, find_registry
from tophub_registry.cli.signing_option import Sign, check_option, fields_of, sign_change
from tophub_registry.errors import UsageError
from tophub_registry.packages.version import Reference
from tophub_registry.publishing.yank import Yank, yank


def command(
    version: Annotated[
        str, typer.Argument(help="PACKAGE@VERSION, such as cuda@v0.11.", metavar="VERSION", show_default=False)
    ],
    reason: Annotated[
        str | None, typer.Option(help="Why this version must not be used any more, in one line.", show_default=False)
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Restore it.")] = False,
    registry: Registry = None,
    sign: Sign = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Mark a published version as not to be used, with the reason; or undo that.

    The file stays as it is. A package without a version means its newest version that is not yanked; PACKAGE@VERSION
    still gets a yanked one, with a warning.
    """
    if undo == (reason is not None):
        raise UsageError("give --reason TEXT to yank it, or --undo to restore it")
    folder = find_registry(registry)
    check_option(folder, sign)
    done = yank(Reference.parse(version), reason, folder)
    signing = sign_change(folder, sign) if done.changed or sign else None
    terminal.out((json.dumps(_fields(done) | fields_of(signing), indent=1) if as_json else _text(done, folder)) + "\n")


def _fields(done: Yank) -> dict[str, object]:
    return {
        "package": done.package,
        "version": str(done.version),
        "yanked": done.reason,
        "changed": done.changed,
        "newest": None if done.newest is None else str(done.newest),
        "serial": done.serial,
    }


def _text(done: Yank, folder: Path) -> str:
    name = f"{done.package} {done.version} in {folder}"
    if done.reason is None and not done.changed:
        return f"{name} is not yanked; nothing to undo"
    state = "restored" if done.reason is None else f"{'' if done.changed else 'already '}yanked: {done.reason}"
    newest = f"the newest version is {done.newest}" if done.newest else "every version is yanked"
    return f"{name} is {state}; {newest}"
