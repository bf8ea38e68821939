"""Log version 0.1 to 0.2 and back, as upstream converted its own logs in 2020.

`conversion_rules` maps the tasks, and `arguments` their arguments. A row that no rule covers, or whose arguments
can't be expressed in the other version, is refused with the reason; nothing is guessed. A converted record's
provenance has its original form, so that converting back gives the original row.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from tophub_registry.records.arguments import read, say
from tophub_registry.records.conversion_rules import RULES, TaskRule, family
from tophub_registry.records.old_row import OLD_LOG_VERSION, OldRow
from tophub_registry.records.record import EARLIEST, LOG_VERSION, Config, Input, Provenance, Record
from tophub_registry.records.target import Target
from tophub_registry.records.unconvertible import NoConversionError

if TYPE_CHECKING:
    from tophub_registry.records.record import Value

OLD_TVM = "0.6.0"
"""The `tvm_version` of a converted record: rows of 0.1 have none, and this TVM was the last to write them."""

_TOPI = "topi_"
"""The prefix of TVM's own tasks in log version 0.1; a user's tasks may have any name."""

_VTA = "ext_dev"
"""The kind of target whose own tasks were named after operators, and are named differently in 0.2."""

# The start of 2100, in seconds since 1970.
_LAST = 4102444800.0


def to_new(row: OldRow) -> Record:
    """Convert a row of log version 0.1.

    Raises
    ------
    NoConversionError
        No rule covers it with certainty.
    InputError
        Its target is invalid.
    """
    task, args = _new_task(row)
    _check_keys(row.model_extra, Record, LOG_VERSION)
    told = row.model_dump(include={"tophub"}, exclude_unset=True)
    provenance = {**_completed(told, row.r.timestamp), "converted": {"log_version": OLD_LOG_VERSION}}
    if told and _told_by(provenance, row.r.timestamp) != told:
        provenance["converted"].update(told)
    record = Record.model_validate(
        {
            **(row.model_extra or {}),
            "input": Input(row.i.target, task, args, row.i.kwargs),
            "config": Config(index=row.i.config.i, code_hash=row.i.config.c, entity=row.i.config.e),
            "result": row.r,
            "version": LOG_VERSION,
            "tvm_version": OLD_TVM,
            "tophub": Provenance.model_validate(provenance),
        }
    )
    before = [row.i.task, row.i.args, row.i.kwargs, row.i.workload, row.i.config.t]
    if _is_written_back(before, record):
        return record
    provenance["converted"]["task"] = before
    return record.model_copy(update={"tophub": Provenance.model_validate(provenance)})


def _check_keys(extra: dict[str, Value] | None, model: type[BaseModel], version: float) -> None:
    """Check that no further key of a row means something in the other log version."""
    for key in extra or {}:
        if key in model.model_fields:
            raise NoConversionError(f"it has a key {key!r}, which means something else in log version {version}")


def _completed(told: dict[str, Value], timestamp: float) -> dict[str, Value]:
    """Return the provenance that a row of 0.1 tells, with the time of its measurement."""
    provenance, measured = {**(told.get("tophub") or {})}, _iso(timestamp)
    if measured is not None:
        provenance.setdefault("measured", measured)
    return provenance


def _told_by(provenance: dict[str, Value], timestamp: float) -> dict[str, Value]:
    """Return what a row of 0.1 tells of a provenance: its key and value, or nothing."""
    rest = {**provenance}
    converted = rest.pop("converted", None)
    if not converted:
        return {"tophub": rest} if rest else {}
    if "tophub" in converted:
        before = {"tophub": converted["tophub"]}
        if {**_completed(before, timestamp), "converted": None} == {**rest, "converted": None}:
            return before
    if rest.get("measured") == _iso(timestamp):
        rest.pop("measured", None)
    return {"tophub": rest} if rest else {}


def _new_task(row: OldRow) -> tuple[str, list[Value]]:
    """Return task and arguments in 0.2; those of a user's own template stay as they are."""
    if not row.i.task.startswith(_TOPI) and Target.parse(row.i.target).kind != _VTA:
        return row.i.task, row.i.args
    rule, values = _old_rule(row)
    return rule.new, say(rule.form.new[:1], values)


def _is_written_back(task: list[Value], record: Record) -> bool:
    """Whether converting back by the rules alone gives the same task."""
    try:
        return _old_task(record) == task
    except NoConversionError:
        return False


def to_old(record: Record) -> OldRow:
    """Convert a record to log version 0.1; one that was converted from it gets its original form.

    Raises
    ------
    NoConversionError
        No rule covers it with certainty, or 0.1 can't express it.
    InputError
        Its target is invalid.
    """
    _check_keys(record.model_extra, OldRow, OLD_LOG_VERSION)
    provenance = record.tophub.model_dump(exclude_unset=True) if record.tophub else {}
    converted = record.tophub.converted if record.tophub else None
    row = {
        **(record.model_extra or {}),
        "r": record.result,
        "v": OLD_LOG_VERSION,
        **_told_by(provenance, record.result.timestamp),
    }
    if record.config.model_extra:
        raise NoConversionError(f"log version 0.1 has no {next(iter(record.config.model_extra))!r} in a config")

    def old_row(task: str, args: list[Value], kwargs: Value, workload: Value, template: str) -> OldRow:
        config = {"i": record.config.index, "t": template, "c": record.config.code_hash, "e": record.config.entity}
        return OldRow.model_validate({**row, "i": (record.input.target, task, args, kwargs, workload, config)})

    if converted is not None and converted.task is not None:
        before = _as_it_was(record, converted.task, old_row)
        if before is not None:
            return before
    written = old_row(*_old_task(record))
    to_new(written)  # what can't be read again is refused
    return written


def _as_it_was(record: Record, task: list[Value], old_row: Callable[..., OldRow]) -> OldRow | None:
    """Return the row that the provenance describes, None if that is not this record's."""
    try:
        before = old_row(*task)
        return before if to_new(before).input == record.input else None
    except (TypeError, ValidationError, NoConversionError):
        return None


def _old_rule(row: OldRow) -> tuple[TaskRule, dict[str, Value]]:
    """Find the rule for a row of 0.1, and its arguments by name."""
    task, key = row.i.task, row.i.config.t or "-"
    kin = family(Target.parse(row.i.target))
    rules = [rule for rule in RULES if rule.old == task and key in rule.templates.split() and rule.holds_for(kin)]
    if not rules:
        raise NoConversionError(f"no rule for {task!r} with the template {key!r} on {kin or row.i.target!r}")
    if row.i.kwargs:
        raise NoConversionError(f"no rule for keyword arguments of {task!r}")
    values = read(rules[0].form.old, row.i.args)
    for rule in rules:
        if rule.layout in (None, values.get("layout")) and rule.knows(row.i.config.e):
            if rule.layout is not None:
                del values["layout"]
            _check_workload(row.i.workload, rule, values)
            return rule, values
    raise NoConversionError(f"no rule for {task!r} with this layout or these knobs on {kin}")


def _new_rule(record: Record) -> tuple[TaskRule, dict[str, Value]]:
    """Find the rule for a record of 0.2, and its arguments by name."""
    task, kin = record.input.task, family(record.target)
    for rule in RULES:
        if rule.new == task and rule.holds_for(kin) and rule.knows(record.config.entity):
            if record.input.kwargs:
                raise NoConversionError(f"no rule for keyword arguments of {task!r}")
            return rule, read(rule.form.new, record.input.args)
    raise NoConversionError(f"no rule for {task!r} on {kin or record.input.target!r}")


def _old_task(record: Record) -> list[Value]:
    """Return task, arguments, keyword arguments, workload and template key of 0.1."""
    _, task, args, kwargs = record.input
    if "." not in task:  # TOPI's tasks are named after a target, as in conv2d_nchw.cuda
        return [task, args, kwargs, [task, *map(_in_workload, args)], ""]
    rule, values = _new_rule(record)
    values = _old_values(rule, values)
    template = rule.templates.split()[0].removeprefix("-")
    return [rule.old, say(rule.form.old, values), {}, _workload(rule, values), template]


def _workload(rule: TaskRule, values: dict[str, Value]) -> list[Value]:
    """Return the workload of 0.1."""
    name, _, names = rule.form.workload.partition(" ")
    return [name, *map(_in_workload, say((names,), values))]


def _old_values(rule: TaskRule, values: dict[str, Value]) -> dict[str, Value]:
    """Return the arguments as 0.1 has them: with the layout, and with two numbers for a padding if these suffice.

    After TVM learned about uneven paddings, and before log version 0.2, it wrote four.
    """
    if rule.layout is not None:
        values = {**values, "layout": rule.layout}
    padding = values.get("padding")
    if padding is not None and padding[:2] == padding[2:]:
        values = {**values, "padding": padding[:2]}
    return values


def _in_workload(value: Value) -> Value:
    """Spell an argument as 0.1's workloads do: a tensor as its shape followed by its type, None as 0."""
    if value is None:
        return 0
    match value:
        case ["TENSOR", list(shape), dtype]:
            return [*shape, dtype]
    return value  # or what looks like a tensor, in a task of somebody's own


def _check_workload(workload: list[Value] | None, rule: TaskRule, values: dict[str, Value]) -> None:
    """Check that a row's workload agrees with its arguments, or at least the tensors if it has another form."""
    if workload is None:
        return
    said = _workload(rule, _old_values(rule, values))
    if "padding" in values and values["padding"] in workload:  # four numbers where two would do
        said = _workload(rule, {**_old_values(rule, values), "padding": values["padding"]})
    whole = len(workload) == len(said) and workload[:1] == said[:1]
    if workload[1:] != said[1:] if whole else workload[1:3] != said[1:3]:
        raise NoConversionError("the workload and the arguments disagree")


def _iso(timestamp: float) -> str | None:
    """Return a time of measurement in ISO 8601, None if the timestamp is not plausible."""
    if not EARLIEST <= timestamp < _LAST:
        return None
    return datetime.fromtimestamp(timestamp, timezone.utc).isoformat(timespec="seconds")
