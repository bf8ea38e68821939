"""The options `--location`, `--mirror` and `--root`: the registry, and the folder of this machine's copies."""

from pathlib import Path
from typing import Annotated

import typer

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
