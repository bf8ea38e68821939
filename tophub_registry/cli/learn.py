"""`tophub learn`: a cost model from the trials of tuning."""

import json
from pathlib import Path
from typing import Annotated

import typer

from tophub_registry.cli import log_argument, notes, terminal
from tophub_registry.errors import UsageError
from tophub_registry.files import check_place


def command(
    log: Annotated[
        list[Path],
        typer.Argument(help="Logs with all trials, as `tophub tune` writes them, gzipped or not.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The cost model to write, such as mine.model.json.")],
    target: Annotated[
        str | None,
        typer.Option(help="The kind of target to learn for: llvm or cuda.", show_default="that of the first trial"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing cost model.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Learn a cost model from trials: it predicts how fast a config is for a layer that nobody tuned.

    All trials count, the slow and the failed ones too; those of many different layers teach most. A package's log has
    one record for each layer, and teaches nothing. `tophub compile` uses the model beside a log, mine.model.json
    beside mine.log, to choose among similar layers' configs, and tuning begins with it. `tophub release --model`
    publishes it.
    """
    from tophub_registry.cost_model.learning import learn
    from tophub_registry.records.log import read_records
    from tophub_registry.records.target import Target

    check_place(output)
    if output.exists() and not force:
        raise UsageError("the cost model already exists", file=output, remedy="--force overwrites it")
    notes.progress("read the trials")
    records = [record for path in log_argument.find_all(log) for record in read_records(path)]
    notes.progress(f"learn from {len(records)} trials")
    first = records[0].target if records else Target.parse("llvm")
    model = learn(records, first.kind if target is None else Target.parse(target).kind)
    model.write(output, overwrite=force)
    notes.progress("")
    if as_json:
        counts = {task: {"workloads": its.workloads, "trials": its.trials} for task, its in model.tasks.items()}
        terminal.out(json.dumps({"output": str(output), "kind": model.kind, "tasks": counts}, indent=1) + "\n")
        return
    for task, its in sorted(model.tasks.items()):
        terminal.out(f"{task}: {its.trials} trials of {its.workloads} workloads\n")
    terminal.out(f"{output}\n")
