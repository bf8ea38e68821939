"""A progress bar for each file that arrives."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tophub_registry.packages.download import ProgressCallback


@contextmanager
def bars() -> Iterator[ProgressCallback | None]:
    """Yield a function that shows the progress, on a terminal; else None."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        tasks: dict[str, TaskID] = {}

        def show(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = shown.add_task(file, total=total or None)
            shown.update(tasks[file], completed=done)

        yield show
