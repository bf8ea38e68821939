"""The options `--trust` and `--insecure`: whose signatures are demanded."""

from pathlib import Path
from typing import Annotated

import typer

TrustedRoot = Annotated[
    Path | None,
    typer.Option(
        "--trust",
        metavar="FILE",
        help="A root.json of the registry; without valid signatures from there, nothing is taken.",
        show_default="$TOPHUB_TRUST, else what is known of the registry",
    ),
]

Insecure = Annotated[bool, typer.Option("--insecure", help="Take what the registry serves without verifying it.")]
