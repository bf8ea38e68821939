"""`tophub contribute`: a log and the evidence for it in one bundle, and the answer to a maintainer's challenge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tophub_registry import spelling
from tophub_registry.cli import interrupts, log_argument, notes, terminal
from tophub_registry.cli.model_options import Processor, Threads
from tophub_registry.errors import UsageError
from tophub_registry.extras import require
from tophub_registry.files import check_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tophub_registry.packages.digest import Digest
    from tophub_registry.proof.contribution import Contribution, Sample
    from tophub_registry.publishing.bundle import WholeModel


def command(
    log: Annotated[
        Path | None, typer.Argument(help=f"The log to contribute: {log_argument.HELP}.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The file to write.", show_default="LOG.zip, or CHALLENGE-answer.json"),
    ] = None,
    answer: Annotated[
        Path | None,
        typer.Option("--answer", metavar="CHALLENGE", help="Measure the records of a challenge again, and no log."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="LOG",
            help=f"What the records replace: {log_argument.HELP}.",
            show_default="the newest package, fetched if needed",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Time this model as a whole too, without and with the records.")
    ] = None,
    records: Annotated[
        int | None,
        typer.Option("--records", min=1, metavar="N", help="Time a sample of N records.", show_default="all"),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--time", min=0, metavar="MINUTES", help="Time no more records after this.", show_default="no limit"
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=3, help="Number of timings of each kernel.")] = 9,
    _threads: Threads = None,
    _processor: Processor = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Make one file of a log's new records and the evidence for them, to send to a registry's maintainer.

    Of each workload the best record counts. It is timed on this machine, in turns with AutoTVM's default config and
    with the record that it replaces; what loses, or does not hold, is left out. The bundle also says what the machine
    is: processor or GPU, driver, compiler, threads, clocks, and an anonymous number. With --answer, the few records
    that the maintainer drew are timed again.
    """
    if (log is None) == (answer is None):
        raise UsageError("give either a LOG or --answer CHALLENGE", remedy="see `tophub contribute --help`")
    if answer is not None and (against is not None or model is not None or records is not None or minutes is not None):
        raise UsageError("--answer takes only -o and --rounds", remedy="the challenge says what to measure")
    require("tune")
    if answer is not None:
        _answer(answer, output, rounds, as_json=as_json)
    elif log is not None:
        from tophub_registry.proof.contribution import Sample
        from tophub_registry.publishing.exchanged import check_kind

        found = log_argument.find(log)
        check_kind(found, "log")
        to = output or Path(f"{found.stem}.zip")

        sample = Sample(records, None if minutes is None else 60 * minutes, rounds)
        _contribute(found, to, against, model, sample, as_json=as_json)


def _answer(file: Path, output: Path | None, rounds: int, *, as_json: bool) -> None:
    from tophub_registry.proof.contribution import answer
    from tophub_registry.publishing.challenge import read_challenge, write

    asked = read_challenge(file)
    output = output or file.with_name(f"{file.stem}-answer.json")
    _check_new(output)
    done = answer(asked, file, rounds=rounds, progress=_progress)
    notes.progress("")
    write(output, done)
    if as_json:
        terminal.out(json.dumps({"answer": str(output), **done.model_dump()}, indent=1) + "\n")
        return
    records = f"{len(done.pairs)} record{'' if len(done.pairs) == 1 else 's'}"
    said = f"{output}: {records} timed again on {done.environment.device}; send it to the maintainer"
    terminal.out(f"{terminal.line(said)}\n")


def _check_new(output: Path) -> None:
    """Raise UsageError if a file exists, before anything is measured for it."""
    check_place(output)
    if output.exists():
        raise UsageError(
            "the file already exists", file=output, remedy="send it to the maintainer, or name another with -o"
        )


def _contribute(
    log: Path, output: Path, against: Path | None, model: str | None, sample: Sample, *, as_json: bool
) -> None:
    from tophub_registry.proof.contribution import contribute, whole_model
    from tophub_registry.records.task import describe

    _check_new(output)
    before = log_argument.find(against) if against is not None else _newest(log)
    done = contribute(log, against=before, sample=sample, progress=_progress)
    whole = None
    if model is not None:
        notes.progress(f"timing {model} without and with the records")
        with interrupts.at_once():  # nothing is written yet
            whole = whole_model(done, model)
    notes.progress("")
    digest = done.write(output, whole)
    for each in done.left_out:
        what = f"{describe(each.record.input.task, each.record.input.args)}: {each.reason}"
        terminal.err(f"tophub: note: left out: {terminal.line(what)}\n")
    if as_json:
        terminal.out(json.dumps(_fields(done, output, digest, whole), indent=1) + "\n")
    else:
        terminal.out("".join(f"{terminal.line(line)}\n" for line in _lines(done, output, digest, whole)))


def _newest(log: Path) -> Path | None:
    """Return the newest package of a log's records, fetched if needed; None if there is none."""
    from tophub_registry.compiler.search import own_log, sources_of
    from tophub_registry.packages.root import Root
    from tophub_registry.packages.told import not_yet_told
    from tophub_registry.records.log import read_records

    first = next(read_records(log), None)
    if first is None:
        return None
    target = first.target
    notes.progress("looking for the newest package")
    sources = sources_of(target, None)
    notes.notices(not_yet_told(sources.notices, Root.at()))
    return next((source.path for source in sources.logs if source.path != own_log(target)), None)


def _progress(done: int, count: int) -> None:
    notes.progress(f"timing record {done + 1} of {count}")


def _fields(done: Contribution, output: Path, digest: Digest, model: WholeModel | None) -> dict[str, object]:
    left_out = [{"record": each.record.model_dump(exclude_unset=True), "reason": each.reason} for each in done.left_out]
    return {
        "bundle": str(output),
        "bytes": digest.bytes,
        "sha256": digest.sha256,
        "package": done.package,
        "records": len(done.records),
        "timed": [pair.model_dump() for pair in done.pairs],
        "left_out": left_out,
        "environment": done.environment.model_dump(),
        "model": None if model is None else model.model_dump(),
    }


def _lines(done: Contribution, output: Path, digest: Digest, model: WholeModel | None) -> Iterator[str]:
    from statistics import geometric_mean, median

    from rich.filesize import decimal

    records = f"{len(done.records)} record{'' if len(done.records) == 1 else 's'} for {done.package}"
    yield f"{output}: {records}, {len(done.pairs)} timed on {done.environment.device}, {decimal(digest.bytes)}"
    gain = geometric_mean(median(pair.default) / median(pair.costs) for pair in done.pairs)
    yield f"on average {gain:.2f} times as fast as AutoTVM's default configs"
    if model is not None:
        before, after = spelling.seconds(model.before), spelling.seconds(model.after)
        yield f"{model.name}: {before} without these records, {after} with them, in {model.layers} layers"
    yield f"SHA-256 {digest.sha256}; send the file to the maintainer"
