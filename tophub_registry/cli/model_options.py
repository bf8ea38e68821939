"""Options that several commands share: target, weights, input shapes, logs, processor, threads."""

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from tophub_registry.devices.threads import settle_threads, thread_count
from tophub_registry.errors import UsageError

CompileTarget = Annotated[
    str, typer.Option("--target", help="The target to compile for; `llvm` means this machine's processor.")
]

Params = Annotated[
    Path | None,
    typer.Option("--params", help="A file with weights. Weights beside a symbol file are found without it."),
]

Shape = Annotated[
    list[str] | None,
    typer.Option("--shape", metavar="NAME=N,C,H,W", help="An input's shape, batch included (repeatable)."),
]

Log = Annotated[
    list[Path] | None,
    typer.Option(
        "-l",
        "--log",
        help="Take records from this log (a path or a package) instead (repeatable).",
        show_default="what --tune measured here, then the newest package",
    ),
]


def _stand_in(name: str | None) -> str | None:
    if name is not None:
        os.environ["TOPHUB_PROCESSOR"] = name
    return name


Processor = Annotated[
    str | None,
    typer.Option(
        "--processor",
        metavar="NAME",
        envvar="TOPHUB_PROCESSOR",
        callback=_stand_in,
        help="Treat this machine's processor as a lesser one, such as x86-64-v3.",
        show_default="this machine's",
    ),
]
"""The option sets the environment variable, which subprocesses inherit."""


def _settled(threads: int | None) -> int | None:
    if threads is not None:
        settle_threads(threads)
    else:
        thread_count()  # a wrong variable is reported before the work
    return threads


Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        callback=_settled,
        help="Number of CPU threads.",
        show_default="TVM_NUM_THREADS, OMP_NUM_THREADS, else one for each physical core",
    ),
]
"""The option sets TVM's environment variable, which subprocesses inherit."""


Precision = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="How convolutions are computed: float32; or on a GPU's tensor cores 3xtf32, nearly as exact as that, "
        "tf32, with factors rounded to ten bits, or float16.",
    ),
]


def shapes_of(texts: list[str] | None) -> dict[str, tuple[int, ...]]:
    """Parse input shapes such as `data=1,3,224,224`."""
    shapes = {}
    for text in texts or []:
        match = re.fullmatch(r"([^=]+)=(\d+(?:,\d+)*)", text)
        if match is None:
            raise UsageError(f"not a shape: {text!r}", remedy="write --shape data=1,3,224,224")
        shapes[match[1]] = tuple(map(int, match[2].split(",")))
    return shapes
