"""`tophub compile`: a whole model with the best records, as a shared library."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tophub_registry.cli import compiled as told
from tophub_registry.cli import interrupts, log_argument, notes, terminal, tuning
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
from tophub_registry.files import check_place
from tophub_registry.frontends import KINDS
from tophub_registry.tasks.rules import FLOAT32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tophub_registry.compiler.compiler import CompiledModel
    from tophub_registry.proof.compiled import LosingKernel

_TIMING = 0.5  # seconds
_MOST_RUNS = 30


@interrupts.at_once()
def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=KINDS)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The shared library to write.", show_default="MODEL.so")
    ] = None,
    target: CompileTarget = "llvm",
    params: Params = None,
    shape: Shape = None,
    log: Log = None,
    tune: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Tune the model on this machine first, for a time (90s, 3m, 1h) or a number of trials (500), earlier "
            "runs of the same model included; on a processor, then compare the best configs in the model. What is "
            "measured is kept in ~/.tvm/tophub/own, and used from then on (extra [tune]).",
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Time each record against the default config, and leave out those that lose."),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Fail unless every layer has a record tuned on the target's own processor or GPU."
        ),
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Run the model here, and show the time of each kernel.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing library.")] = False,
    precision: Precision = FLOAT32,
    _threads: Threads = None,
    _locked: Locked = False,
    _processor: Processor = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Compile a model with the best records for a target, and show which layer got which record.

    Records come from what --tune measured before, and from the target's package, which is fetched if needed. If this
    machine can run the model, the model is timed too. A gluoncv name without --params gets random weights, which are
    good for timing only.
    """
    _check_options(tune, log, verify=verify)
    from tophub_registry.compiler.compiler import check_linker, compile_model
    from tophub_registry.devices.device import at_hand
    from tophub_registry.misses import keep_misses

    output = output or Path(f"{re.sub('(-symbol)?[.](json|onnx|pt2)$', '', Path(model).name)}.so")
    check_place(output)
    if output.exists() and not force:
        raise UsageError("the library already exists", file=output, remedy="--force overwrites it")
    log = log and log_argument.find_all(log)
    check_linker()
    notes.progress(f"read and compile {model}")
    shapes = shapes_of(shape) or None
    how: Any = {"shapes": shapes, "params": params, "precision": precision}
    tuned = tune and tuning.tuned(model, target, tune, output, force=force, **how)
    compiled = tuned.compiled if tuned else compile_model(model, target, records=log, **how)
    if not log and (error := keep_misses(compiled, precision)) is not None:
        terminal.err(f"tophub: note: misses are not kept: {terminal.line(error)}\n")
    lost: list[LosingKernel] = []
    if verify:
        notes.progress("timing the records against the default configs")
        if lost := _losing(compiled):
            notes.progress(f"compile {model} without those that lose")
            left_out = [each.kernel for each in lost]
            compiled = compile_model(compiled.model, target, records=log, left_out=left_out, precision=precision)
    notes.progress("")
    _check(compiled, log or [], strict=strict)
    if not tuned:  # else the library was written before it was timed
        compiled.export(output, overwrite=force)
    notes.progress(f"time {model}")
    here = at_hand(compiled.target.kind)  # before TVM starts its threads, which binds this one
    runs = _timed(compiled)
    times = compiled.profile() if profile else []
    notes.progress("")
    if as_json:
        fields = told.as_json(compiled, output, lost, runs, times) | tuning.as_json(tuned or None)
        terminal.out(json.dumps(fields, indent=1) + "\n")
        return
    told.layers(compiled, output, lost if verify else None)
    told.costs(compiled, here, runs)
    if tuned:
        tuning.outcome(tuned)
    told.snippet(compiled, output)
    told.profile(times)
    if not tuned and told.wants_tuning(compiled, here, runs, own=bool(log)):
        given = [word for each in shape or () for word in ("--shape", each)]
        given += ["--precision", precision] * (precision != FLOAT32)
        told.improvement(compiled, model, given, output, runs_here=bool(runs))


def _check_options(tune: str | None, log: Sequence[Path] | None, *, verify: bool) -> None:
    if verify or tune is not None:
        require("tune")
    if tune is None:
        return
    tuning.check(tune)
    if log or verify:
        remedy = "`tophub tune` writes a log of your own, for --log and --verify"
        raise UsageError("--tune takes neither --log nor --verify", remedy=remedy)


def _losing(compiled: CompiledModel) -> list[LosingKernel]:
    from tophub_registry.proof.compiled import losing

    with interrupts.as_exception():  # which ends the processes that measure
        return losing(compiled)


def _check(compiled: CompiledModel, logs: Sequence[Path], *, strict: bool) -> None:
    """Print notes on a model's records, and raise InputError if they are not what was asked for."""
    from tophub_registry.compiler.own_logs import check_useful
    from tophub_registry.packages.root import Root
    from tophub_registry.packages.told import not_yet_told

    notes.notices(not_yet_told(compiled.notices, Root.at()))
    for record in compiled.left_out:
        terminal.err(f"tophub: note: left out: {record}\n")
    check_useful(compiled, logs)
    others = [layer for layer in compiled.layers if not layer.recorded]
    if strict and others:
        raise InputError(
            f"{len(others)} of {len(compiled.layers)} layers have no record tuned for {compiled.target}: "
            f"{told.named(others)}",
            remedy="tune them with `tophub tune`, or give a --log",
        )
    if not logs and not any(layer.recorded or layer.evidence for layer in compiled.layers):
        terminal.err(f"tophub: note: no package has a record for a layer of this model on {compiled.target}\n")
    if compiled.model.random_weights:
        notes.random_weights()


def _timed(compiled: CompiledModel) -> list[float]:
    """Return the times of some runs of the model, in seconds; none if this machine can't run it."""
    try:
        (once,) = compiled.benchmark(repeats=1)
    except EnvironmentFailure:
        return []
    return compiled.benchmark(repeats=min(_MOST_RUNS, max(1, int(_TIMING / once))))
