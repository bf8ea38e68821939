"""`tophub learn`: a cost model from the trials of tuning."""

import json
from pathlib import Path
from typing import Annotated

import typer

from tophub_registry.cli import log_argument, notes, terminal
from tophub_registry.errors import UsageError


def command(
    log: Annotated[
        list[Path],
        typer.Argument(
            help=f"Logs with all trials of tuning, gzipped or not: {log_argument.HELP}.", show_default=False
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The cost model to write, such as mine.model.json.")],
    target: Annotated[str, typer.Option(help="The kind of target to learn for: llvm or cuda.")] = "llvm",
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing cost model.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Learn a cost model from trials: it predicts how fast a config is for a layer that nobody tuned.

    All trials count, the slow and the failed ones too; those of many different layers teach most. `tophub compile`
    uses the model beside a log: mine.model.json beside mine.log. `tophub release --model` publishes it with a package.
    """
    from tophub_registry.cost_model.learning import learn
    from tophub_registry.records.log import read_records
    from tophub_registry.records.target import Target

    if output.exists() and not force:
        raise UsageError("the cost model already exists", file=output, remedy="--force overwrites it")
    paths = log_argument.find_all(log)
    notes.progress("read the trials")
    records = [record for path in paths for record in read_records(path)]
    notes.progress(f"learn from {len(records)} trials")
    model = learn(records, Target.parse(target).kind)
    model.write(output, overwrite=force)
    notes.progress("")
    if as_json:
        counts = {task: {"workloads": its.workloads, "trials": its.trials} for task, its in model.tasks.items()}
        terminal.out(json.dumps({"output": str(output), "kind": model.kind, "tasks": counts}, indent=1) + "\n")
        return
    for task, its in sorted(model.tasks.items()):
        terminal.out(f"{task}: {its.trials} trials of {its.workloads} workloads\n")
    terminal.out(f"{output}\n")
