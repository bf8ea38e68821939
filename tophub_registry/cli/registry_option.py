"""The option `--registry`: the registry that a command changes."""

import re
from pathlib import Path
from typing import Annotated

import typer

from tophub_registry.errors import UsageError
from tophub_registry.files import check_folder_place

_HERE = Path("registry_data")

Registry = Annotated[
    Path | None, typer.Option("--registry", help="The registry's folder.", show_default="./registry_data, if it exists")
]


def find_registry(given: Path | None) -> Path:
    """Return the given folder, else `registry_data`.

    Raises
    ------
    UsageError
        It is a file or an address, or there is no folder around it; or none is given, and there is no `registry_data`
        here.
    """
    if given is not None:
        if re.match(r"[a-z]{2,}:/", str(given)):
            raise UsageError(
                "this is an address; a registry is a folder here",
                file=str(given),
                remedy="`tophub mirror --location ADDRESS DIR` makes a copy of it in a folder",
            )
        if given.is_file():
            raise UsageError("this is a file; a registry is a folder", file=given)
        check_folder_place(given)
        return given
    if not _HERE.is_dir():
        raise UsageError("no registry is given, and there is no registry_data here", remedy="give --registry DIR")
    return _HERE
