"""`tophub bench`: a whole model compiled with records, timed against other frameworks."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tophub_registry import spelling
from tophub_registry.cli import interrupts, log_argument, notes, table, terminal
from tophub_registry.cli.lock_option import Locked
from tophub_registry.cli.model_options import (
    CompileTarget,
    Log,
    Params,
    Precision,
    Processor,
    Shape,
    Threads,
    shapes_of,
)
from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.extras import require
from tophub_registry.files import atomic_write, check_folder_place, check_place
from tophub_registry.frontends import KINDS
from tophub_registry.tasks.rules import FLOAT32

if TYPE_CHECKING:
    from tophub_registry.bench.comparison import Comparison, FrameworkResult


def command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help=f"{KINDS}; or a folder from --prepare.",
        ),
    ],
    target: CompileTarget = "llvm",
    against: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: no-records (tophub without any), gluoncv, pytorch, onnxruntime, openvino, ncnn, "
            "tvm (untuned), metaschedule, pytorch-compile (torch.compile).",
            show_default="no-records, the model's own framework, and those that are installed",
        ),
    ] = None,
    threads: Threads = None,
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds; in each, every framework takes a turn.")] = 15,
    params: Params = None,
    shape: Shape = None,
    log: Log = None,
    precision: Precision = FLOAT32,
    python: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FRAMEWORK=PATH",
            help="The Python interpreter of an environment with this framework and tophub-registry (repeatable).",
        ),
    ] = None,
    database: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The folder of MetaSchedule's database, for metaschedule.")
    ] = None,
    prepare: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Only write the model to this folder, to be measured on another machine."),
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option("-o", "--output", help="Write the results as .json, or as a chart in .html (repeatable)."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    _locked: Locked = False,
    _processor: Processor = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Time a model compiled with records against none and other frameworks, in turns, and compare their outputs.

    Each framework runs in its own process, with the same network, weights and number of threads. Its outputs are
    checked against those of the model's own framework. The time relative to tophub is the median over the rounds: a
    framework above 1 is slower.
    """
    require("compile")
    from tophub_registry.bench.comparison import check, compare, default_peers
    from tophub_registry.bench.prepared import read_or_prepare

    shapes = shapes_of(shape) or None
    if prepare is not None:
        if output or log or as_json:
            raise UsageError("--prepare only writes the model", remedy="use --output, --log and --json with its folder")
        _prepare(model, prepare, params, shapes, force=force)
        return
    log = log and log_argument.find_all(log)
    outputs = output or []
    _check_outputs(outputs, force=force)
    peers = None if against is None else [name.strip() for name in against.split(",") if name.strip()]
    pythons = _pythons(python or [])
    check(target, [*(peers or ()), *pythons], database)
    with tempfile.TemporaryDirectory(prefix="tophub-model-") as folder:
        notes.progress(f"import {model}")
        with interrupts.at_once():
            prepared = read_or_prepare(model, Path(folder), params=params, shapes=shapes)
        comparison = compare(
            prepared,
            target,
            peers if peers is not None else default_peers(prepared, pythons, target=target),
            threads=threads,
            records=log,
            rounds=rounds,
            pythons=pythons,
            database=database,
            precision=precision,
            progress=notes.progress,
        )
    notes.progress("")
    if prepared.random_weights:
        notes.random_weights()
    for path in outputs:
        _write(comparison, path, force=force)
    if as_json:
        terminal.out(json.dumps(comparison.as_json(), indent=1) + "\n")
    else:
        _print(comparison)
    _judge(comparison)


def _prepare(
    model: str, folder: Path, params: Path | None, shapes: dict[str, tuple[int, ...]] | None, *, force: bool
) -> None:
    from tophub_registry.bench.prepared import prepare

    check_folder_place(folder)
    if folder.exists() and not force:
        raise UsageError("the folder already exists", file=folder, remedy="--force writes into it")
    if prepare(model, folder, params=params, shapes=shapes).random_weights:
        notes.random_weights()
    terminal.out(f"{folder}: {model}, with inputs and outputs\n")


def _judge(comparison: Comparison) -> None:
    """Raise if the results are not a valid comparison."""
    from tophub_registry.bench.comparison import OURS

    wrong = [row.framework for row in comparison.rows if row.times and not row.agrees]
    if wrong:
        raise InputError(f"outputs differ from those of the model's own framework: {', '.join(wrong)}")
    for row in comparison.rows:
        if row.framework == OURS and row.failure is not None:
            raise EnvironmentFailure(f"tophub itself failed: {row.failure}")


def _check_outputs(outputs: list[Path], *, force: bool) -> None:
    from tophub_registry.report.html import check_installed

    for path in outputs:
        if path.suffix not in {".json", ".html"}:
            raise UsageError("neither .json nor .html", file=path, remedy="the suffix selects the format")
        check_place(path)
        if path.exists() and not force:
            raise UsageError("the file already exists", file=path, remedy="--force overwrites it")
        if path.suffix == ".html":
            check_installed()


def _pythons(options: list[str]) -> dict[str, str]:
    found = {}
    for option in options:
        framework, equals, path = option.partition("=")
        if not equals or not path:
            raise UsageError(f"--python {option} is not FRAMEWORK=PATH")
        if shutil.which(path) is None:
            raise UsageError("there is no such program", file=path, remedy="--python takes an environment's bin/python")
        found[framework] = path
    return found


def _write(comparison: Comparison, path: Path, *, force: bool) -> None:
    from tophub_registry.bench.plot import render

    text = render(comparison) if path.suffix == ".html" else json.dumps(comparison.as_json(), indent=1) + "\n"
    with atomic_write(path, overwrite=force) as stream:
        stream.write(text.encode())


_NOISY = 0.2
"""Half the interquartile range of times, relative to their median, from which they are not to be trusted."""


def _print(comparison: Comparison) -> None:
    table.show(
        [
            "framework",
            "version",
            ">median",
            ">spread",
            ">time relative to tophub",
            f"agrees with {comparison.reference}",
            "note",
        ],
        [_row(comparison, row) for row in comparison.rows],
        expendable=("version", "note"),
    )
    bound = "1" if comparison.bind_threads else "0"
    said = f"{comparison.model}, {comparison.target}, {comparison.device}"
    if comparison.target.startswith("llvm"):
        each = f"{comparison.threads} thread{'' if comparison.threads == 1 else 's'} each"
        said += f"; {each}, TVM_BIND_THREADS={bound}"
    terminal.out(said + "\n")
    spread = max((row.spread for row in comparison.rows if row.times), default=0.0)
    if spread > _NOISY:
        varied = f"times varied by up to {spelling.percent(spread)}"
        terminal.out(f"{varied}: other programs were running, and small differences mean nothing\n")
    for row in comparison.rows:
        if row.failure is not None:
            terminal.out(f"{row.framework}: {row.failure}\n")


def _row(comparison: Comparison, row: FrameworkResult) -> list[str]:
    agrees = "-" if row.difference is None else f"{'yes' if row.agrees else 'NO'} ({row.difference:.0e})"
    if not row.times:
        return [row.framework, row.version, "failed", "", "", agrees, row.note]
    ratio = comparison.ratio(row)
    spelled = "-" if ratio is None else f"{ratio:.2f}"
    median = f"{row.median * 1e3:.2f} ms"
    return [row.framework, row.version, median, spelling.percent(row.spread), spelled, agrees, row.note]
