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
        if tasks_argument.is_task_file(Path(model)):
            command = f"tophub tune MODEL -o {terminal.line(log)} --resume"
            terminal.err(
                f"tophub: note: {terminal.line(model)} is not a whole model to compare the best configs in: "
                f"`{command}` does it, with the same limits\n"
            )
        else:
            terminal.err(f"tophub: {terminal.clean(model)}: {_told(_confirm(model, shapes, target, log))}\n")


def _confirm(model: str, shapes: Mapping[str, Sequence[int]], target: Target, log: Path) -> Confirmation:
    from rich.console import Console

    from tophub_registry.frontends import read_for_timing
    from tophub_registry.proof.confirmation import confirm

    doing = f"comparing the best configs in {terminal.clean(model)}"
    status = Console(stderr=True).status(doing)
    with interrupts.at_once(), status:  # until all is compared, the log is as it was

        def progress(done: int, count: int) -> None:
            status.update(f"{doing}: {done} of {count} variants compiled")

        return confirm(read_for_timing(model, shapes=shapes), str(target), log, progress=progress)


_FASTEST = {
    "lowest costs": "the configs of the lowest costs are the fastest in it, too",
    "winners": "some layers' second best configs are faster in it",
    "some defaults": "some layers' default configs are faster in it: more trials may help",
    "default blocks": "it is faster if all layers keep the default configs' blocks of channels",
    "default configs": "it is faster with the default configs: more trials may help",
    "no records": "it is faster without these records, so that `compile` leaves them aside: more trials may help",
}


def _told(found: Confirmation) -> str:
    """Say what a comparison found."""
    took, without = spelling.seconds(found.seconds), spelling.seconds(found.without)
    with_records = "" if found.choice == "no records" else f"{took}, and "
    return f"{_FASTEST[found.choice]}; a run takes {with_records}{without} without records"
