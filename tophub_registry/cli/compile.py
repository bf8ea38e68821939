"""`tophub compile`: a whole model with the best records, as a shared library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tophub_registry.cli import notes, table, terminal
from tophub_registry.cli.model_options import CompileTarget, Log, Params, Processor, Shape, shapes_of
from tophub_registry.errors import InputError, UsageError
from tophub_registry.extras import require
from tophub_registry.records.lookup import Answer, Match
from tophub_registry.records.task import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tophub_registry.compiler.choice import Kernel
    from tophub_registry.compiler.compiler import CompiledLayer, CompiledModel
    from tophub_registry.compiler.profile import KernelTime
    from tophub_registry.records.record import Record
    from tophub_registry.templates.neighbours import Neighbour

_NAMED = 5


def command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A gluoncv model's name, or an MXNet symbol file (NAME-symbol.json).")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The shared library.", show_default="MODEL.so")
    ] = None,
    target: CompileTarget = "llvm",
    params: Params = None,
    shape: Shape = None,
    log: Log = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Time each record against the default config, and leave out what loses.")
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Fail where a layer has no record, or only one of another family of processors."),
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Run the model here, and show what each kernel takes.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the library.")] = False,
    _processor: Processor = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the layers as JSON.")] = False,
) -> None:
    """Compile a model with the best records for a target, and say which layer got which.

    Records come from the target's package, which is fetched if it is not here. A gluoncv name without --params
    gets random weights: enough to time it, not to use it.
    """
    if verify:
        require("tune")
    from tophub_registry.compiler.compiler import check_linker, compile_model

    output = output or Path(f"{Path(model).name.removesuffix('.json').removesuffix('-symbol')}.so")
    if output.is_dir():
        raise UsageError("that is a folder", file=output, remedy="-o names the library's file")
    if output.exists() and not force:
        raise UsageError("the library is already there", file=output, remedy="--force overwrites it")
    check_linker()
    source = Path(model) if model.endswith(".json") else model
    notes.progress(f"read and compile {model}")
    compiled = compile_model(source, target, records=log, shapes=shapes_of(shape) or None, params=params)
    lost: list[Kernel] = []
    if verify:
        from tophub_registry.proof.proof import losing

        notes.progress("time the records against the default configs")
        if lost := losing(compiled):
            notes.progress(f"compile {model} without those that lose")
            compiled = compile_model(compiled.imported, target, records=log, left_out=lost)
    notes.progress("")
    notes.notices(compiled.notices)
    for record in compiled.left_out:
        terminal.err(f"tophub: note: left out: {record}\n")
    bare = [layer for layer in compiled.layers if not layer.recorded]
    if strict and bare:
        raise InputError(
            f"{len(bare)} of {len(compiled.layers)} layers have no record for {compiled.target}: {_named(bare)}",
            remedy="tune them with `tophub tune`, or give a --log",
        )
    if not any(layer.match.recorded or (layer.kernel and layer.kernel.evidence) for layer in compiled.layers):
        nothing = "none of the logs has" if log else "no package has"
        terminal.err(f"tophub: note: {nothing} a record for a layer of this model on {compiled.target}\n")
    compiled.export(output, overwrite=force)
    times = compiled.profile() if profile else []
    if as_json:
        terminal.out(json.dumps(_as_json(compiled, output, lost, times), indent=1) + "\n")
    else:
        _print(compiled, output, lost if verify else None)
        _print_evidence(compiled, model, shape, output)
        _print_profile(times)


def _print(compiled: CompiledModel, output: Path, lost: Sequence[Kernel] | None) -> None:
    table.show(["layer", "template", "blocks", "record", "match", ">cost"], [_row(layer) for layer in compiled.layers])
    for kernel in lost or ():
        terminal.out(f"slower than the default config, left out: {kernel.template.task} {kernel.template.args}\n")
    recorded = [layer for layer in compiled.layers if layer.kernel is not None and layer.match.recorded]
    foreign = sum(layer.kernel is not None and layer.kernel.evidence is not None for layer in recorded)
    alike = sum(layer.match is Match.FALLBACK for layer in compiled.layers)
    others = f", {alike} by those of similar layers" if alike else ""
    inputs = " ".join(f"{name}={','.join(map(str, shape))}" for name, (shape, _) in compiled.imported.inputs.items())
    by = f"by records ({foreign} of them other processors')" if foreign else "by records"
    said = f"{len(recorded)} of {len(compiled.layers)} layers {by}{others}, for {compiled.target} with {inputs}"
    if lost is not None:
        said += f"; the records were timed, and {len(lost) or 'none'} left out"
    terminal.out(f"{output}: {said}\n")


def _print_evidence(compiled: CompiledModel, model: str, shape: Sequence[str] | None, output: Path) -> None:
    """Say which layers have other processors' records only, and how to tune them here."""
    found = [
        (layer, layer.kernel.evidence)
        for layer in compiled.layers
        if layer.kernel is not None and layer.kernel.evidence is not None
    ]
    if not found:
        return
    used = sum(layer.match.recorded for layer, _ in found)
    where = sorted({_where(answer.record) for _, answer in found if answer.record is not None})
    names = _named([layer for layer, _ in found])
    shapes = "".join(f" --shape {each}" for each in shape or ())
    options = f"--target '{compiled.target}'"
    commands = [
        f"tophub extract {model}{shapes} {options} -o tasks.json" if shapes else "",
        f"tophub tune tasks.json --target '{compiled.target}'" if shapes else f"tophub tune {model} {options}",
        f"tophub compile {model}{shapes} --target '{compiled.target}' --log new.log -o {output} --force",
    ]
    commands[1] += " --total-trials 500 -o new.log"
    have, are = "layer has" if len(found) == 1 else "layers have", "is" if used == 1 else "are"
    terminal.out(
        f"{len(found)} {have} records of other processors only, measured on {'; '.join(where)}: {names}\n"
        f"{used or 'None'} of these records {are} used, as likely to gain here; other layers get the default config. "
        "To tune them here:\n" + "".join(f"  {command}\n" for command in commands if command)
    )


def _named(layers: Sequence[CompiledLayer]) -> str:
    more = f" and {len(layers) - _NAMED} more" if layers[_NAMED:] else ""
    return ", ".join(layer.layer.name for layer in layers[:_NAMED]) + more


def _where(record: Record) -> str:
    device = record.tophub.device if record.tophub and record.tophub.device else "a device unnamed"
    return f"{device} ({record.target.attributes.get('mcpu', record.input.target)})"


def _print_profile(times: Sequence[KernelTime]) -> None:
    if not times:
        return
    total = sum(kernel.seconds for kernel in times)
    terminal.out("\n")
    table.show(
        ["kernel", ">calls", ">all calls", ">share", "arguments"],
        [
            [
                kernel.name,
                str(kernel.calls),
                table.seconds(kernel.seconds),
                f"{kernel.seconds / total:.1%}",
                " ".join("x".join(map(str, shape)) for shape in kernel.shapes),
            ]
            for kernel in times
        ],
    )
    terminal.out(f"all kernels: {table.seconds(total)}, each timed by itself, which adds some µs a call\n")


def _row(layer: CompiledLayer) -> list[str]:
    kernel = layer.kernel
    if kernel is None:
        return [layer.layer.name, "none: TVM's own", "", "", "", ""]
    blocks = f"{kernel.blocks[0]} to {kernel.blocks[1]}" if any(kernel.blocks) else ""
    start = [layer.layer.name, kernel.template.task, blocks]
    if kernel.neighbour is not None:
        return [*start, _origin(kernel.neighbour), str(layer.match), f"about {table.seconds(kernel.cost)}"]
    if kernel.answer.record is None:
        return [*start, "none: the default config", "none", ""]
    cost = "" if kernel.evidence is not None else table.seconds(kernel.cost)
    return [*start, str(kernel.answer.source), str(layer.match), cost]


def _origin(neighbour: Neighbour) -> str:
    """Name the record of another workload: `cuda v0.11, 1x64x56x56 64x64x3x3`."""
    return f"{neighbour.answer.source}, {describe(neighbour.task, neighbour.args).partition(' ')[2]}"


def _as_json(
    compiled: CompiledModel, output: Path, lost: Sequence[Kernel], times: Sequence[KernelTime]
) -> dict[str, object]:
    return {
        "library": str(output),
        "target": str(compiled.target),
        "inputs": {name: list(shape) for name, (shape, _) in compiled.imported.inputs.items()},
        "layers": [
            {
                "layer": layer.layer.name,
                "task": layer.kernel and layer.kernel.template.task,
                "args": layer.kernel and layer.kernel.template.args,
                "entity": layer.kernel and [list(knob) for knob in layer.kernel.config.entity],
                "source": layer.kernel and layer.kernel.answer.source,
                "match": str(layer.match),
                "recorded": layer.recorded,
                "evidence": layer.kernel and layer.kernel.evidence and _evidence_as_json(layer.kernel.evidence),
                "neighbour": layer.kernel and layer.kernel.neighbour and layer.kernel.neighbour.args,
            }
            for layer in compiled.layers
        ],
        "left_out": [
            *(
                {"task": each.task, "args": each.args, "source": each.source, "reason": each.reason}
                for each in compiled.left_out
            ),
            *(
                {
                    "task": kernel.template.task,
                    "args": kernel.template.args,
                    "source": kernel.answer.source,
                    "reason": "slower than the default config",
                }
                for kernel in lost
            ),
        ],
        "profile": [
            {"kernel": each.name, "shapes": each.shapes, "calls": each.calls, "seconds": each.seconds} for each in times
        ],
    }


def _evidence_as_json(answer: Answer) -> dict[str, object]:
    record = answer.record
    return {
        "source": answer.source,
        "target": record and record.input.target,
        "device": record and record.tophub and record.tophub.device,
    }
