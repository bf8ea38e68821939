"""`tophub release`."""

import json
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from tophub_registry.cli import notes, terminal
from tophub_registry.cli.model_options import Processor, Threads
from tophub_registry.cli.registry_option import Registry, find_registry
from tophub_registry.cli.signing_option import Sign, check_option, fields_of, sign_change
from tophub_registry.errors import InputError, UsageError
from tophub_registry.packages.folder import newest_log, read_index
from tophub_registry.publishing.release import Release, plan_release, release
from tophub_registry.records.fitness import Policy
from tophub_registry.records.log import read_records, read_rows, write_log
from tophub_registry.records.lookup import backend_of
from tophub_registry.templates.validation import check_space


def command(
    package: Annotated[str, typer.Argument(help="The package, for example llvm.", show_default=False)],
    logs: Annotated[list[Path], typer.Argument(help="The log to publish.", metavar="LOG", show_default=False)],
    registry: Registry = None,
    prove: Annotated[
        bool,
        typer.Option(
            "--prove",
            help="Time each new record on this machine against AutoTVM's default config and the previous version's "
            "record, and refuse the log if one loses (extra [tune]).",
        ),
    ] = False,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A cost model to publish with it, as `tophub learn` writes it.",
        ),
    ] = None,
    drop_others: Annotated[
        bool,
        typer.Option("--drop-others", help="Drop records that belong to other packages, and list their lines."),
    ] = False,
    sign: Sign = None,
    _threads: Threads = None,
    _processor: Processor = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Publish a log as a package's next version in a registry.

    A log named PACKAGE_vN.NN.log gets that version, any other the next one. Every row is checked; a published file
    is never rewritten. The registry is created if it is missing.
    """
    log = _only(logs, package)
    folder, policy = find_registry(registry), Policy((check_space,))
    check_option(folder, sign)
    if model is not None:
        from tophub_registry.cost_model.model import check_beside

        check_beside(model, log)
    with tempfile.TemporaryDirectory(prefix="tophub-release-") as scratch:
        part = _without_others(package, log, Path(scratch)) if drop_others else _Part(log, log, None)
        with part.named_in_errors():
            if prove:
                plan_release(
                    package, part.file, folder, model=model, policy=policy
                )  # other errors are reported before timing
                _refuse_unproven(package, part, folder)
            missing = _missing(package, part.file, folder)
            done = release(package, part.file, folder, model=model, policy=policy)
    if missing:
        plural = "s" if missing > 1 else ""
        terminal.err(
            f"tophub: warning: it lacks {missing} workload{plural} of {done.published.base}, and clients use only "
            "the newest version (`tophub merge` joins two logs; `tophub yank` takes a version back)\n"
        )
    signing = sign_change(folder, sign)
    terminal.out((json.dumps(_fields(done) | fields_of(signing), indent=1) if as_json else _text(done)) + "\n")
    if not as_json:
        notes.then("tophub", "fetch", package, "--location", folder)


def _only(logs: Sequence[Path], package: str) -> Path:
    if logs[1:]:
        merge = shlex.join(["tophub", "merge", *map(str, logs), "-o", f"{package}.log"])
        raise UsageError(f"a version is made of one log, and {len(logs)} are given", remedy=f"join them: `{merge}`")
    return logs[0]


class _Part(NamedTuple):
    """A log, or those of its rows that are published."""

    log: Path
    file: Path
    lines: Sequence[int] | None
    """The line in the log of each line of the file; None if they are the same."""

    def line(self, number: int) -> int:
        """Return the line in the log of a line of the file."""
        return number if self.lines is None else self.lines[number - 1]

    @contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """Report errors of the file, which is temporary, as errors of the log."""
        try:
            yield
        except InputError as error:
            if self.lines is None or error.file != str(self.file):
                raise
            line = None if error.line is None else self.line(error.line)
            raise InputError(error.message, file=self.log, line=line, remedy=error.remedy) from error


def _without_others(package: str, log: Path, scratch: Path) -> _Part:
    """Write a copy of a log without the records of other packages, and list their lines."""
    kept, lines, others = [], [], []
    for row in read_rows(log):
        if row.record is not None and backend_of(row.record.target) != package:
            others.append(row.line)
        elif (content := row.comment if row.record is None else row.record) is not None:
            kept.append(content)
            lines.append(row.line)
    if others:
        terminal.err(
            f"tophub: note: dropped from {log}: records that do not belong to {package} ({notes.lines_of(others)})\n"
        )
    mine = scratch / log.name
    write_log(mine, kept)
    return _Part(log, mine, lines)


def _missing(package: str, file: Path, folder: Path) -> int:
    """Return how many workloads of a package's newest version a log has no record for."""
    index = read_index(folder)
    before = None if index is None else newest_log(folder, index, package)
    if before is None:
        return 0
    known, new = ({(each.target, each.workload) for each in read_records(log)} for log in (before, file))
    return len(known - new)


def _refuse_unproven(package: str, part: _Part, folder: Path) -> None:
    """Refuse a log with a record that is slower than what users have without it."""
    from tophub_registry.devices.device import at_hand
    from tophub_registry.proof.claims import claims, prove

    index = read_index(folder)
    made = claims(part.file, None if index is None else newest_log(folder, index, package))
    lost = []
    for loss in prove(made):
        terminal.err(f"{part.log}:{part.line(loss.claim.line)}: {loss}\n")
        lost.append(loss)
    if made:
        count = f"{len(made)} new records were" if made[1:] else "1 new record was"
        terminal.err(f"{part.log}: {count} timed on {at_hand(made[0].record.target.kind).where}\n")
    if lost:
        raise InputError(
            f"{len(lost)} of {len(made)} new records {'lose' if len(lost) > 1 else 'loses'}: {lost[0].reason}",
            file=part.file,
            line=lost[0].claim.line,
            remedy="delete these rows, or tune again",
        )


def _fields(done: Release) -> dict[str, object]:
    return {
        "package": done.package,
        "version": str(done.version),
        "path": str(done.path),
        "serial": done.serial,
        **done.published.model_dump(),
    }


def _text(done: Release) -> str:
    from rich.filesize import decimal

    published = done.published
    records = f"{published.records} record{'s' if published.records > 1 else ''}"
    after = f", based on {published.base}" if published.base else ", the first version in this registry"
    model = "" if published.model is None else f", with a cost model of {decimal(published.model.bytes)}"
    return f"{done.package} {done.version}: {records}, {decimal(published.bytes)}{model}{after}\n{done.path}"
