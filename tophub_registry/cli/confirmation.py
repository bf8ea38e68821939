"""After tuning: each layer's best few configs, compared in the whole model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tophub_registry import spelling
from tophub_registry.cli import interrupts, tasks_argument, terminal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tophub_registry.proof.confirmation import Confirmation
    from tophub_registry.records.target import Target


def confirm_all(models: Sequence[str], shapes: Mapping[str, Sequence[int]], target: Target, log: Path) -> None:
    """Compare the finalists of models' layers in the models, as far as these are not task files, and say what changed.

    On a GPU nothing is done: its kernels take as long in a model as by themselves.
    """
    if target.kind != "llvm":
        return
    for model in models:
        if not tasks_argument.is_task_file(Path(model)):
            found = _confirm(model, shapes, target, log)
            if found.compared:
                terminal.err(f"tophub: {terminal.clean(model)}: {_told(found)}\n")


def _confirm(model: str, shapes: Mapping[str, Sequence[int]], target: Target, log: Path) -> Confirmation:
    from rich.console import Console

    from tophub_registry.frontends import read_model
    from tophub_registry.proof.confirmation import confirm

    doing = f"comparing the best configs in {terminal.clean(model)}"
    status = Console(stderr=True).status(doing)
    with interrupts.at_once(), status:  # until all is compared, the log is as it was

        def progress(done: int, count: int) -> None:
            status.update(f"{doing}: {done} of {count} variants compiled")

        return confirm(read_model(model, shapes=shapes), str(target), log, progress=progress)


def _told(found: Confirmation) -> str:
    """Say what a comparison found."""
    compared = f"the best configs of {found.compared} workload{'' if found.compared == 1 else 's'} were compared in it"
    if not found.changed:
        return f"{compared}, and none changed places; a run takes {spelling.seconds(found.before)}"
    before, after = spelling.seconds(found.before), spelling.seconds(found.after)
    return f"{compared}, and {found.changed} changed places; a run takes {after} instead of {before}"
