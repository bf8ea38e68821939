"""`tophub extract`: a model's tuning tasks."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tophub_registry import spelling
from tophub_registry.cli import interrupts, notes, tasks_argument, terminal
from tophub_registry.cli.model_options import Precision, Shape, shapes_of
from tophub_registry.errors import UsageError
from tophub_registry.files import check_place
from tophub_registry.frontends import KINDS
from tophub_registry.records.target import Target
from tophub_registry.tasks.rules import FLOAT32, check_precision, rules_for

if TYPE_CHECKING:
    from tophub_registry.records.task import TaskFile
    from tophub_registry.tasks.layers import Layer


@interrupts.at_once()
def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=KINDS)],
    target: Annotated[str, typer.Option(help="The kind of target: `llvm` or `cuda`.")] = "llvm",
    batch: Annotated[
        int | None, typer.Option(min=1, help="Batch size of the model's default input.", show_default="1")
    ] = None,
    shape: Shape = None,
    precision: Precision = FLOAT32,
    autotvm_only: tasks_argument.AutotvmOnly = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where to write the tasks.")] = None,
    _own_templates: tasks_argument.OwnTemplates = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the tasks as -o writes them.")] = False,
) -> None:
    """List the tuning tasks of a model: each distinct workload of its convolutions and dense layers.

    With -o the tasks are written to a file, which `tophub tune` accepts on machines that can't read the model. A layer
    with two templates (direct and Winograd, packed or not) has two tasks. AutoTVM's tasks come first, then our own, so
    that task numbers are the same with --autotvm-only.

    At the end it says whether `tophub compile` will refuse the model, and why: tuning is then of use to AutoTVM only.
    """
    from tophub_registry.frontends import read_model
    from tophub_registry.tasks.extract import untuned

    if shape and batch is not None:
        raise UsageError("--batch and --shape can't be combined", remedy="include the batch in the shape")
    if output is not None:
        check_place(output)
    kind = Target.parse(target).kind
    rules_for(kind)
    check_precision(precision, kind)
    read = read_model(model, batch=batch or 1, shapes=shapes_of(shape), weightless=True)
    if batch is not None and all(batch not in sizes[:1] for sizes, _ in read.inputs.values()):
        raise UsageError(f"this model has no input of batch size {batch}", remedy="export the model for other sizes")
    tasks = read.tasks(kind, own=not autotvm_only, precision=precision)
    if output is not None:
        tasks.write(output)
    if as_json:
        terminal.out(tasks.as_json())
    else:
        _print(tasks)
    listed = {name for task in tasks.tasks for name in task.layers}  # some as they are computed
    _note_untuned([layer for layer in untuned(read.layers, kind) if layer.name not in listed])
    notes.refused(tasks)
    if output is not None and not as_json and not tasks.untranslated:
        notes.then("tophub", "tune", output, "--target", kind, "-o", "new.log")


def _print(tasks: TaskFile) -> None:
    from rich.console import Console
    from rich.table import Table

    # Output to a pipe is read by programs, which need unwrapped lines.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("no.", justify="right")
    table.add_column("layers", justify="right")
    table.add_column("task")
    for number, task in enumerate(tasks.tasks, 1):
        table.add_row(str(number), str(task.count), terminal.line(task))
    console.print(table)
    inputs = " ".join(f"{name}={','.join(map(str, shape))}" for name, shape in tasks.shapes.items())
    console.print(f"{tasks.model} with {inputs}: {spelling.counted(len(tasks.tasks), 'task')} for {tasks.kind}")


def _note_untuned(layers: list[Layer]) -> None:
    """Note the layers that have no tasks."""
    for operator, count in Counter(layer.operator for layer in layers).items():
        first = next(layer.name for layer in layers if layer.operator == operator)
        what = f"{count} layers, the first is {first}" if count > 1 else first
        terminal.err(f"tophub: note: no template covers this {operator}: {what}\n")
