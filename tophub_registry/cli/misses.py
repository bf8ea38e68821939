"""`tophub misses`: layers without a record of their own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tophub_registry import spelling
from tophub_registry.cli import table, terminal
from tophub_registry.cli.location_options import RootFolder, find_root
from tophub_registry.errors import UsageError
from tophub_registry.files import check_place
from tophub_registry.packages import misses as kept
from tophub_registry.records.task import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tophub_registry.packages.misses import Miss, Misses


def command(
    on: Annotated[bool | None, typer.Option("--on/--off", help="Keep misses from now on, or no longer.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write them as tasks, for `tophub tune` or to send.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Only those of a target, or of a kind of target: `llvm`, `cuda`.")
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Forget all misses.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file of -o if it exists.")] = False,
    root: RootFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the misses as JSON.")] = False,
) -> None:
    """List the layers of your models that were compiled without a record of their own, to tune them or to send them.

    Nothing is kept unless you switch it on: with --on, or with TOPHUB_MISSES=1 in the environment (0 for off). From
    then on `tophub compile` and `tophub.compile` add to ~/.tvm/tophub/own/misses.json, unless you give them logs.

    Kept are for each miss the target, the task with its arguments (shapes, strides, padding, layout, type) and how many
    layers had it. There are no names of models or layers, no weights and no times, neither in this file nor in what -o
    writes. Nothing is sent anywhere.
    """
    place = find_root(root)
    if output is not None:
        check_place(output)
    if sum((on is not None, output is not None, clear)) > 1:
        raise UsageError("--on, --off, --clear and -o exclude each other", remedy="give one of them")
    if on is not None:
        found = kept.switch(place, on=on)
    elif clear:
        found = kept.clear(place)
    else:
        found = kept.read_misses(place)
    if output is not None:
        tasks = found.tasks(target)
        tasks.write(output, overwrite=force)
    shown = found.misses if target is None else found.for_target(target)
    shown = sorted(shown, key=lambda miss: -miss.count)
    is_on = kept.are_kept(place)
    if as_json:
        fields = {
            "file": str(kept.misses_file(place)),
            "on": is_on,
            "output": None if output is None else str(output),
            "misses": [miss.model_dump() for miss in shown],
        }
        terminal.out(json.dumps(fields, indent=1) + "\n")
    elif output is not None:
        count = spelling.counted(len(tasks.tasks), "task")
        terminal.out(f"{count} in {output}: `tophub tune {output} --target {tasks.kind}` tunes them\n")
    elif on is not None:
        _tell_switched(found, is_on)
    elif clear:
        terminal.out(f"all misses are forgotten; from now on {_state(is_on)}\n")
    else:
        _print(shown, is_on)


def _print(shown: Sequence[Miss], is_on: bool) -> None:
    if shown:
        rows = [(str(miss.count), miss.target, describe(miss.task, miss.args)) for miss in shown]
        table.show((">layers", "target", "task"), rows)
        count = spelling.counted(len(shown), "task")
        terminal.out(f"{count}; {_state(is_on)}. `tophub misses -o tasks.json` writes them, to be tuned\n")
    else:
        terminal.out(f"no misses; {_state(is_on)}" + ("" if is_on else ": `tophub misses --on`") + "\n")


def _tell_switched(found: Misses, is_on: bool) -> None:
    if found.on != is_on:
        variable = f"{kept.VARIABLE}={os.environ[kept.VARIABLE]}"
        terminal.err(f"tophub: note: {variable} in the environment comes first\n")
    terminal.out(_state(is_on) + "\n")


def _state(is_on: bool) -> str:
    return "misses are kept" if is_on else "misses are not kept"
