"""The options `--location`, `--mirror` and `--root`: the registry, and the folder of this machine's copies."""

from pathlib import Path
from typing import Annotated

import typer

from tophub_registry.files import check_folder_place
from tophub_registry.packages.root import Root
from tophub_registry.packages.trust.policy import Trust

Location = Annotated[
    str | None,
    typer.Option(
        "--location",
        help="The registry: http(s)://…, a folder, or 'builtin'.",
        show_default="$TOPHUB_LOCATION, else builtin",
    ),
]

Mirrors = Annotated[
    list[str] | None,
    typer.Option(
        "--mirror",
        help="Where the same files are if the registry fails; repeatable, tried in order.",
        show_default="$TOPHUB_MIRRORS",
    ),
]

RootFolder = Annotated[
    Path | None, typer.Option("--root", help="The folder of this machine's copies.", show_default="~/.tvm/tophub")
]


def find_root(given: Path | None, trust: Trust | None = None) -> Root:
    """Return the root in the given folder, by default the one that AutoTVM clients use.

    Raises
    ------
    UsageError
        There is no folder around the given one, or it is a file.
    """
    root = Root.at(given, trust=trust)
    if given is not None:
        check_folder_place(root.path)
    return root
