"""`tophub merge`."""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tophub_registry.cli import log_argument, notes, terminal
from tophub_registry.errors import UsageError
from tophub_registry.packages.version import FileName
from tophub_registry.records.fitness import Policy
from tophub_registry.records.merge import MergeReport, merge_logs
from tophub_registry.templates.validation import check_space

_REASONS = {"worse": "slower", "duplicate": "duplicates", "small_gain": "too small a gain"}
"""Why records were dropped, in words, where the field's name does not say it."""


def command(
    old: Annotated[Path, typer.Argument(help=f"The base log: {log_argument.HELP}.", show_default=False)],
    new: Annotated[list[Path] | None, typer.Argument(help="The logs to merge into it.", show_default=False)] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The merged log.",
            show_default="PACKAGE's next version beside OLD, or here if OLD is a package or in a registry",
        ),
    ] = None,
    keep: Annotated[
        str, typer.Option(help="How many records of each target and workload: best, a number, or all.")
    ] = "best",
    min_gain: Annotated[
        float | None,
        typer.Option(
            help="By how many per cent, and by more than the repeats' spread, a new record must beat the old best.",
            show_default="any gain counts",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Merge logs: for each target and workload the record with the lowest mean cost.

    The result does not depend on the order of the logs, and every dropped row is counted. OLD and NEW are not
    changed; for an OLD named PACKAGE_vN.NN.log the default output is its next version.
    """
    paths = log_argument.find_all([old, *(new or [])])
    if output is None:
        output = log_argument.next_version(old, paths[0])
        if output.exists():
            raise UsageError("the next version already exists", file=output, remedy="merge that one, or give -o FILE")
    with _progress(paths) as progress:
        policy = Policy((check_space,))
        report = merge_logs(
            paths[0], paths[1:], output, keep=_number(keep), min_gain=min_gain, policy=policy, progress=progress
        )
    if as_json:
        terminal.out(json.dumps({"output": str(output), **dataclasses.asdict(report)}, indent=1) + "\n")
        return
    terminal.out(f"{_text(report)}\n{output}\n")
    notes.left_out(report.left_out)
    notes.then("tophub", "release", _package(output), output, "--registry", "FOLDER")


def _package(log: Path) -> str:
    name = FileName.parse(log.name)
    return "PACKAGE" if name is None else name.package


def _number(keep: str) -> int | None:
    if keep == "all":
        return None
    if keep == "best":
        return 1
    try:
        return int(keep)
    except ValueError:
        raise UsageError(f"can't keep {keep!r}", remedy="--keep takes best, a number, or all") from None


def _text(report: MergeReport) -> str:
    dropped = dataclasses.asdict(report.dropped)
    reasons = ", ".join(f"{count} {_REASONS.get(reason, reason)}" for reason, count in dropped.items() if count)
    written = f"{report.added} added, {report.improved} improved, {report.kept} kept"
    lines = [
        f"{report.written} of {report.read} records written: {written}",
        f"{report.dropped.total} dropped" + (f": {reasons}" if reasons else ""),
    ]
    gains = [change.before / change.after for change in report.changes if change.before is not None]
    if gains:
        why = " (below 1 where a record lost in a whole model, or was measured with weights in the cache)"
        times = f"{min(gains):.2f} to {max(gains):.2f} times as fast as before"
        lines.append(f"improved records are {times}{why if min(gains) < 1 else ''}")
    if not report.written:
        lines.append("note: the merged log has no records")
    if report.implausible_times:
        lines.append(f"note: {report.implausible_times} implausible timestamps")
    return "\n".join(lines)


@contextmanager
def _progress(paths: list[Path]) -> Iterator[Callable[[Path, int], None] | None]:
    """Show a bar for each long log, on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        tasks = {
            path: bars.add_task(path.name, total=path.stat().st_size, visible=False) for path in paths if path.is_file()
        }

        def show(path: Path, done: int) -> None:
            if path in tasks:
                bars.update(tasks[path], completed=done, visible=True)

        yield show
