"""Level `replay` of validation: records are measured again on this machine, in turns with AutoTVM's default config.

A cost is a claim, and is tested here. `proof.comparison` decides whether a record is worth having.
"""

from __future__ import annotations

import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from tophub_registry import spelling
from tophub_registry.devices.device import check_runs_here
from tophub_registry.errors import InputError, UsageError
from tophub_registry.files import atomic_write, check_place
from tophub_registry.measurement.measure import Measurer
from tophub_registry.measurement.outcome import ErrorNo
from tophub_registry.proof.comparison import ROUNDS, TimedRecord, time_in_turns
from tophub_registry.records.appender import LogAppender
from tophub_registry.records.finding import Finding
from tophub_registry.records.log import parse_row, read_lines
from tophub_registry.records.lookup import Match, match_targets
from tophub_registry.records.record import Provenance, Record, Result
from tophub_registry.records.target import Target
from tophub_registry.records.validate import Validation
from tophub_registry.templates.registry import TEMPLATES, instantiate


@dataclass(frozen=True)
class Replayed:
    """A record, measured again.

    Attributes
    ----------
    timed
        The record as it was, and the new timings.
    record
        The record with the new costs; None if its kernel can't be measured.
    """

    timed: TimedRecord
    record: Record | None

    @property
    def claimed(self) -> Record:
        """The record as it was."""
        return self.timed.record

    @property
    def comparable(self) -> bool:
        """Whether the cost was claimed as it is measured now, with cold weights or without."""
        return self.record is None or self.claimed.weights == self.record.weights

    def holds(self, tolerance: float) -> bool:
        """Whether the claim holds: the new median is at most `tolerance` (0.1: 10 %) above the claimed cost."""
        return self.timed.seconds is not None and self.timed.seconds <= self.claimed.mean_cost * (1 + tolerance)


def replay(records: Iterable[Record], measurer: Measurer, *, rounds: int = ROUNDS) -> Iterator[Replayed]:
    """Measure records again, workload by workload.

    Parameters
    ----------
    records
        Valid records for the measurer's target, of tasks with a template.
    rounds
        How often each kernel is timed; the new record has all these costs.

    Raises
    ------
    EnvironmentFailure
        A workload's default config can't be measured.
    """
    by_workload: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_workload[record.workload].append(record)
    provenance = measurer.describe()
    for group in by_workload.values():
        template = instantiate(group[0].input.task, group[0].input.args)
        for timed in time_in_turns(template, group, measurer, rounds=rounds):
            yield Replayed(timed, _measured_again(timed, provenance) if timed.costs else None)


def _measured_again(timed: TimedRecord, provenance: Provenance) -> Record:
    record = timed.record
    # A rank is of the cost that was confirmed, on the machine where it was measured.
    history = (record.tophub or Provenance()).model_dump(exclude_unset=True, exclude={"rank", "machine"})
    today = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    update = {**history, **provenance.model_dump(exclude_unset=True), "revalidated": today}
    result = Result(list(timed.costs), int(ErrorNo.NO_ERROR), record.result.all_cost, time.time())
    return record.model_copy(update={"result": result, "tophub": Provenance(**update)})


def findings(replayed: Replayed, tolerance: float) -> Iterator[Finding]:
    """Yield the findings of a replay: the claim does not hold or can't be compared, or the record gains nothing."""
    timed = replayed.timed
    if timed.seconds is None:
        yield Finding("replay", timed.failure or "can't be measured", remedy="drop the row, or tune again")
        return
    claimed, measured = spelling.seconds(replayed.claimed.mean_cost), spelling.seconds(timed.seconds)
    remedy = "-o writes the log with the new costs"
    if not replayed.comparable:
        message = f"{claimed} claimed, perhaps with weights in the cache; {measured} measured with cold weights"
        yield Finding("cached", message, "warning", remedy)
    elif not replayed.holds(tolerance):
        yield Finding("replay", f"{claimed} claimed, {measured} measured", remedy=remedy)
    if (loss := timed.loss()) is not None:
        yield Finding("no-gain", loss, "warning", "a user is better off without the row")


def replay_logs(
    validations: Sequence[Validation],
    target: Target,
    *,
    rounds: int = ROUNDS,
    tolerance: float = 0.1,
    output: Path | None = None,
    begin: Callable[[Validation, int], None] = lambda *_: None,
) -> list[Validation]:
    """Measure the valid records of logs again, and add the findings to those of the other levels.

    Parameters
    ----------
    validations
        The findings of the other levels.
    target
        This machine's target; records for others are not measured.
    rounds, tolerance
        How often each kernel is timed, and by what fraction a claimed cost may be exceeded.
    output
        A file for the logs with the new costs, one after the other. Meanwhile it has what is measured so far, like a
        log during tuning.
    begin
        Called before each log with the number of records to measure.

    Raises
    ------
    UsageError
        The output exists.
    EnvironmentFailure
        This machine can't run code for the target, or a default config can't be measured.
    """
    check_runs_here(target)
    if output is not None:
        check_place(output)
        if output.exists():
            raise UsageError("the log already exists", file=output, remedy="choose another name")
    again: dict[tuple[str, int], Record] = {}
    done = []
    with ExitStack() as stack:
        log = None if output is None else stack.enter_context(LogAppender(output))
        measurer = stack.enter_context(Measurer(target))
        for validation in validations:
            lines = _measurable(validation, target)
            begin(validation, len(lines))
            more: list[Finding] = []
            for replayed in replay([record for _, record in lines.values()], measurer, rounds=rounds):
                line, _ = lines[id(replayed.claimed)]
                found = findings(replayed, tolerance)
                more += [dataclasses.replace(each, file=validation.file, line=line) for each in found]
                if replayed.record is not None:
                    again[validation.file, line] = replayed.record
                    if log is not None:
                        log.append([replayed.record])
            done.append(validation.plus(more))
    if output is not None:
        _write_again(output, [validation.file for validation in validations], again)
    return done


def _measurable(validation: Validation, target: Target) -> dict[int, tuple[int, Record]]:
    """Return the records of a log that can be measured here, each with its line, by `id`."""
    unfit = {finding.line for finding in validation.findings if finding.severity == "error"}
    found = {}
    for line in read_lines(validation.file):
        if line.number in unfit:
            continue
        with suppress(InputError):  # which the other levels report
            record = parse_row(line, file=validation.file).record
            if record is None or not record.valid or record.input.task not in TEMPLATES:
                continue
            if match_targets(target, record.target) is Match.DEVICE:
                found[id(record)] = line.number, record
    return found


def _write_again(output: Path, logs: Sequence[str], again: dict[tuple[str, int], Record]) -> None:
    """Write all rows and comments of logs, with new costs for the records that were measured."""
    with atomic_write(output, overwrite=True) as stream:
        for log in logs:
            for line in read_lines(log):
                measured = again.get((log, line.number))
                stream.write((line.text if measured is None else measured.to_json().encode()) + b"\n")
