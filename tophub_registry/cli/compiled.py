"""The output of `tophub compile`: layers and their records, where those were measured, and what to do next."""

from __future__ import annotations

import shlex
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

from tophub_registry import spelling
from tophub_registry.cli import table, terminal
from tophub_registry.records.lookup import Answer, Match
from tophub_registry.records.task import describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tophub_registry.compiler.compiler import CompiledLayer, CompiledModel
    from tophub_registry.compiler.profile import KernelTime
    from tophub_registry.proof.compiled import LosingKernel
    from tophub_registry.records.record import Provenance, Record
    from tophub_registry.templates.neighbours import Neighbour

_NAMED = 5


def layers(compiled: CompiledModel, output: Path, lost: Sequence[LosingKernel] | None) -> None:
    """Print which layer got which record.

    Parameters
    ----------
    lost
        Kernels whose records lose against the default config; None if that was not measured.
    """
    columns = ["layer", "template", "blocks", "record", "match", ">cost"]
    table.show(columns, [_row(layer) for layer in compiled.layers], expendable=("blocks", "template"))
    for kernel, reason in lost or ():
        terminal.out(f"left out: {describe(kernel.template.task, kernel.template.args)}: {reason}\n")
    tuned = sum(layer.match.recorded for layer in compiled.layers)
    alike = sum(layer.match is Match.FALLBACK for layer in compiled.layers)
    borrow = f", {alike} {'borrows' if alike == 1 else 'borrow'} a similar layer's" if alike else ""
    inputs = " ".join(f"{name}={','.join(map(str, shape))}" for name, (shape, _) in compiled.model.inputs.items())
    said = f"{tuned} of {len(compiled.layers)} layers use tuned records{borrow}; for {compiled.target} with {inputs}"
    if lost is not None:
        said += f"; the records were timed, and {len(lost) or 'none'} left out"
    terminal.out(f"{output}: {said}\n")


def costs(compiled: CompiledModel, here: Provenance, runs: Sequence[float]) -> None:
    """Print where the records were measured, what is expected of foreign ones here, and the model's time here."""
    if measured := _places(_known(compiled)):
        elsewhere = f"; this machine is {here.where}" if runs and measured != [here.where] else ""
        terminal.out(f"The costs were measured on {'; '.join(measured)}{elsewhere}.\n")
    foreign = [layer for layer in compiled.layers if layer.evidence]
    if foreign:
        used = sum(layer.match.recorded for layer in foreign)
        have = "layer has" if len(foreign) == 1 else "layers have"
        records = (layer.evidence.record for layer in foreign if layer.evidence)
        terminal.out(
            f"{len(foreign)} {have} only records of other processors, measured on "
            f"{'; '.join(_places(records, processor=True))}: {named(foreign)}\n"
            f"{_expectation(used, len(foreign))}\n"
        )
    if fitting := [layer for layer in compiled.layers if layer.kernel and layer.kernel.is_for_layout]:
        have = (
            "layer gets the default config, as its record would cost more in changes of layout than it gains"
            if len(fitting) == 1
            else "layers get the default configs, as their records would cost more in changes of layout than they gain"
        )
        terminal.out(f"{len(fitting)} {have}: {named(fitting)}\n")
    if untried := [
        layer
        for layer in compiled.layers
        if layer.kernel and layer.kernel.instead_of and not layer.kernel.is_for_layout
    ]:
        have = "layer has a record" if len(untried) == 1 else "layers have records"
        terminal.out(
            f"{len(untried)} {have} of another template only, which the default config shown is expected to beat; "
            f"`tophub tune` finds a better one: {named(untried)}\n"
        )
    if beaten := [layer for layer in compiled.layers if layer.beaten]:
        have = (
            "layer gets the default config, as its records"
            if len(beaten) == 1
            else "layers get the default configs, as their records"
        )
        terminal.out(f"{len(beaten)} {have} were slower in the whole model when it was tuned: {named(beaten)}\n")
    if runs:
        threads = "" if here.threads is None else f" with {here.threads} thread{'' if here.threads == 1 else 's'}"
        fastest = f", at best {spelling.seconds(min(runs))}" if runs[1:] else ""
        terminal.out(
            f"A run takes {spelling.seconds(median(runs))} on this machine{threads}{fastest}."
            f"{_sum(compiled)}{_doubt(runs)}\n"
        )


_NOISY = 0.2
"""The interquartile range of times, relative to their median, from which other programs must have been running."""


def _doubt(runs: Sequence[float]) -> str:
    """Say so if runs differ by too much to be compared with other times."""
    if len(runs) < 4:  # noqa: PLR2004  # quartiles
        return ""
    first, _, last = quantiles(runs)
    spread = (last - first) / median(runs)
    if spread < _NOISY:
        return ""
    return f" Runs differ by {spelling.percent(spread)}: while other programs are running, these times mean little."


def _sum(compiled: CompiledModel) -> str:
    """Return what the records of the layers add up to."""
    records = compiled.records
    if not records:
        return ""
    whose = f"the layers' {len(records)} records add" if records[1:] else "the one layer's record adds"
    cached = sum(record.cost.cached for record in records) if compiled.target.kind == "llvm" else 0
    how = f", {cached} of them measured with weights in the cache" if cached else ""
    return f" Timed alone, {whose} up to {spelling.seconds(sum(record.mean_cost for record in records))}{how}."


def _expectation(used: int, count: int) -> str:
    """Return what is expected of other processors' records, of which `used` of `count` are used."""
    if not used:
        return "None of these is expected to beat the default config here, which these layers get."
    who = "is used, as it is" if used == 1 else "are used, as they are"
    others = "; the other layers get the default config" if used < count else ""
    return f"{used} of these {who} expected to beat the default config here{others}."


def wants_tuning(compiled: CompiledModel, here: Provenance, runs: Sequence[float], *, own: bool) -> bool:
    """Return whether tuning may gain: records are from elsewhere or, unless they are the user's own, missing."""
    covered = [layer for layer in compiled.layers if layer.kernel is not None]
    elsewhere = bool(runs) and _places(_known(compiled)) not in ([], [here.where])
    return elsewhere or any(layer.evidence or not (own or layer.recorded) for layer in covered)


def improvement(compiled: CompiledModel, model: str, options: Sequence[str], output: Path, *, runs_here: bool) -> None:
    """Print what tuning is expected to bring, and the commands that tune a model for its target.

    Parameters
    ----------
    model, options, output
        MODEL, the options that `tune` has too, and the library.
    """
    given = [model, *options, "--target", str(compiled.target)]
    commands = [
        ["tune", *given, "--total-trials", "500", "-o", "new.log"],
        ["compile", *given, "--log", "new.log", "-o", str(output), "--force"],
    ]
    from tophub_registry.compiler.expectation import expectation

    expected = expectation(compiled)
    if expected.without:
        covered = sum(layer.kernel is not None for layer in compiled.layers)
        have, them = ("has", "it") if expected.without == 1 else ("have", "them")
        terminal.out(
            f"{expected.without} of {covered} layers {have} no record of such hardware; tuning {them} is expected to "
            f"save {_share(expected.gain)} of a run.\n"
        )
    where = "here, into a log of your own" if runs_here else "on such a machine"
    terminal.out(f"To tune the model {where}:\n")
    terminal.out("".join(f"  tophub {shlex.join(command)}\n" for command in commands))
    if runs_here:
        once = shlex.join(["compile", *given, "-o", str(output), "--force", "--tune", "3m"])
        terminal.out(f"To tune the model here, for three minutes, and use that from then on:\n  tophub {once}\n")


def _share(gain: float) -> str:
    return "less than 1 %" if gain < 0.01 else f"about {round(100 * gain)} %"  # noqa: PLR2004  # a percent


def snippet(compiled: CompiledModel, output: Path) -> None:
    """Print how to run the library without this package."""
    gpu = compiled.target.kind == "cuda"
    inputs = ", ".join(
        f"tvm.runtime.tensor(numpy.zeros({tuple(shape)}, {dtype!r}), device)"
        for shape, dtype in compiled.model.inputs.values()
    )
    lines = [
        "import numpy, tvm",
        "from tvm import relax",
        f"device = {'tvm.cuda()' if gpu else 'tvm.cpu()'}",
        f"machine = relax.VirtualMachine(tvm.runtime.load_module({str(output)!r}), device)",
        f'output = machine["main"]({inputs})',
    ]
    threads = "" if gpu else "; TVM_NUM_THREADS sets the threads, by default half of the CPUs"
    terminal.out(
        f"To run it with apache-tvm {version('apache-tvm')} alone (the weights are inside{threads}):\n"
        + "".join(f"  {line}\n" for line in lines)
    )


def profile(times: Sequence[KernelTime]) -> None:
    """Print the time of each kernel, if that was measured."""
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
                spelling.seconds(kernel.seconds),
                f"{kernel.seconds / total:.1%}",
                " ".join("x".join(map(str, shape)) for shape in kernel.shapes),
            ]
            for kernel in times
        ],
        expendable=("calls", "arguments"),
    )
    terminal.out(f"all kernels: {spelling.seconds(total)}, each timed separately, which adds a few µs to a call\n")


def named(found: Sequence[CompiledLayer]) -> str:
    """Name layers, the first few if there are many."""
    more = f" and {len(found) - _NAMED} more" if found[_NAMED:] else ""
    return ", ".join(layer.layer.name for layer in found[:_NAMED]) + more


def _known(compiled: CompiledModel) -> list[Record | None]:
    """Return the records whose costs the table shows, a layer's own or another's."""
    kernels = [layer.kernel for layer in compiled.layers if layer.kernel is not None and not layer.evidence]
    return [(each.answer if each.neighbour is None else each.neighbour.answer).record for each in kernels]


def _places(records: Iterable[Record | None], *, processor: bool = False) -> list[str]:
    """Return the devices on which records were measured; with `processor`, also their processors' names in LLVM."""
    places = set()
    for record in filter(None, records):
        where = (record.tophub and record.tophub.where) or "a device that the log does not name"
        name = record.target.attributes.get("mcpu", record.input.target)
        places.add(f"{where} ({name})" if processor else where)
    return sorted(places)


def _row(layer: CompiledLayer) -> list[str]:
    kernel = layer.kernel
    if kernel is None:
        return [layer.layer.name, "none: TVM's own", "", "", "", ""]
    blocks = f"{kernel.blocks[0]} to {kernel.blocks[1]}" if any(kernel.blocks) else ""
    if kernel.template.channels_last:
        blocks = "last"
    start = [layer.layer.name, kernel.template.task, blocks]
    if kernel.neighbour is not None:
        return [*start, _origin(kernel.neighbour), str(layer.match), f"about {spelling.seconds(kernel.cost)}"]
    if kernel.answer.record is None:
        instead = "" if kernel.instead_of is None else f", expected to beat {kernel.instead_of.source}"
        return [*start, f"none: the default config{instead}", "none", ""]
    cost = "" if kernel.evidence is not None else spelling.seconds(kernel.cost)
    return [*start, str(kernel.answer.source), str(layer.match), cost]


def _origin(neighbour: Neighbour) -> str:
    """Name the record of another workload: `cuda v0.11, 1x64x56x56 64x64x3x3`."""
    by = ", by its cost model" if neighbour.predicted else ""
    return f"{neighbour.answer.source}, {describe(neighbour.task, neighbour.args).partition(' ')[2]}{by}"


def as_json(
    compiled: CompiledModel,
    output: Path,
    lost: Sequence[LosingKernel],
    runs: Sequence[float],
    times: Sequence[KernelTime],
) -> dict[str, object]:
    """Return all of it as JSON has it; times in seconds."""
    from tophub_registry.compiler.expectation import expectation

    return {
        "library": str(output),
        "target": str(compiled.target),
        "random_weights": compiled.model.random_weights,
        "threads": compiled.threads,
        "runs": list(runs),
        "records": {
            "layers": len(compiled.records),
            "cached": sum(record.cost.cached for record in compiled.records),
            "seconds": sum(record.mean_cost for record in compiled.records),
        },
        "inputs": {name: list(shape) for name, (shape, _) in compiled.model.inputs.items()},
        "tuning": expectation(compiled)._asdict(),
        "layers": [
            {
                "layer": layer.layer.name,
                "task": layer.kernel and layer.kernel.template.task,
                "args": layer.kernel and layer.kernel.template.args,
                "entity": layer.kernel and [list(knob) for knob in layer.kernel.config.entity],
                "source": layer.kernel and layer.kernel.answer.source,
                "match": str(layer.match),
                "recorded": layer.recorded,
                "evidence": layer.evidence and _evidence_as_json(layer.evidence),
                "neighbour": layer.kernel and layer.kernel.neighbour and layer.kernel.neighbour.args,
                "predicted": bool(layer.kernel and layer.kernel.neighbour and layer.kernel.neighbour.predicted),
                "beaten": layer.beaten and layer.beaten.source,
                "instead_of": layer.kernel and layer.kernel.instead_of and layer.kernel.instead_of.source,
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
                    "reason": reason,
                }
                for kernel, reason in lost
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
