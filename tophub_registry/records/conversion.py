"""Log version 0.1 to 0.2 and back, as upstream converted its own logs in 2020.

`RULES` says which task and template of 0.1 is which task of 0.2, and the forms above it how their arguments
correspond, name by name. A row that no rule covers, or whose arguments say something that the other version has
no words for, is refused with the reason; nothing is guessed. What a converted record was before stands in its
provenance, so that converting back gives the very row.

Sources: the packages that upstream published in both versions, and the signatures of the TOPI functions of
TVM 0.6 and of TVM 0.7 to 0.16.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pydantic import ValidationError

from tophub_registry.errors import InputError
from tophub_registry.records.old_row import OLD_LOG_VERSION, OldRow
from tophub_registry.records.record import EARLIEST, LOG_VERSION, Config, Input, Provenance, Record
from tophub_registry.records.target import Target

if TYPE_CHECKING:
    from tophub_registry.records.record import Knob, Value

OLD_TVM = "0.6.0"
"""The `tvm_version` of a converted record: rows of 0.1 do not say theirs, and this TVM wrote the last of them."""

# The start of 2100, in seconds since 1970.
_LAST = 4102444800.0


class NoConversionError(InputError):
    """A sound row that can't be converted with certainty; the message says why."""


@dataclass(frozen=True)
class LeftOut:
    """A row that could not be converted.

    Attributes
    ----------
    file, line
        Where it stands.
    reason
        Why not.
    """

    file: str
    line: int
    reason: str


@dataclass(frozen=True)
class Form:
    """How the arguments of a task are spelled in both versions, by name.

    Attributes
    ----------
    old
        The spellings of log version 0.1, told apart by their number of arguments. The first one that can say
        what is to be said is written.
    new
        The same for 0.2, of which only the first one is written.
    workload
        What 0.1 repeats as the workload: its name, then arguments.
    """

    old: tuple[str, ...]
    new: tuple[str, ...]
    workload: str


CONV2D = Form(
    old=(
        "data kernel strides padding dilation layout out_dtype",
        "data kernel strides padding layout out_dtype",
    ),
    new=("data kernel strides padding dilation out_dtype",),
    workload="conv2d data kernel strides padding dilation layout out_dtype",
)

CONV2D_INT8 = Form(
    old=CONV2D.old,
    new=("data kernel strides padding dilation layout out_dtype",),
    workload=CONV2D.workload,
)

CONV2D_NCHWC = Form(
    old=(
        "data kernel strides padding dilation layout out_dtype",
        "data kernel strides padding dilation layout out_layout out_dtype",
        "data kernel in_channels kernel_size strides padding layout out_layout out_dtype",
    ),
    new=("data kernel strides padding dilation layout out_layout out_dtype",),
    workload="conv2d data kernel strides padding dilation layout out_dtype",
)

# The arguments that TVM 0.6's own package for x86 has.
CONV2D_X86 = Form(
    old=("data kernel in_channels kernel_size dilation strides padding layout out_dtype",),
    new=CONV2D_NCHWC.new,
    workload=CONV2D_NCHWC.workload,
)

CONV2D_INTEL = Form(
    old=tuple(reversed(CONV2D_NCHWC.old)),
    new=CONV2D_NCHWC.new,
    workload="conv2d_NCHWc data kernel strides padding layout out_dtype",
)

DEPTHWISE = Form(
    old=(
        "data kernel strides padding dilation out_dtype",
        "data kernel strides padding out_dtype",
    ),
    new=("data kernel strides padding dilation out_dtype",),
    workload="depthwise_conv2d_nchw data kernel strides padding dilation out_dtype",
)

DEPTHWISE_NCHWC = Form(
    old=DEPTHWISE.old,
    new=("data kernel strides padding dilation layout out_layout out_dtype",),
    workload=DEPTHWISE.workload,
)

GROUPED = Form(
    old=("data kernel strides padding dilation groups out_dtype",),
    new=("data kernel strides padding dilation groups out_dtype",),
    workload="group_conv2d_nchw data kernel strides padding dilation groups out_dtype",
)

# TVM 0.7 looks a transposed convolution up without the output's padding, later ones with it, and with groups.
TRANSPOSED = Form(
    old=(
        "data kernel strides padding out_dtype output_padding",
        "data kernel strides padding out_dtype",
    ),
    new=(
        "data kernel strides padding out_dtype",
        "data kernel strides padding out_dtype output_padding",
        "data kernel strides padding out_dtype output_padding groups",
    ),
    workload="conv2d_transpose_nchw data kernel strides padding out_dtype",
)

DEFORMABLE = Form(
    old=("data offset kernel strides padding dilation deformable_groups groups out_dtype",),
    new=("data offset kernel strides padding dilation deformable_groups groups out_dtype",),
    workload="deformable_conv2d_nchw data offset kernel strides padding dilation deformable_groups groups out_dtype",
)

DENSE = Form(
    old=(
        "data kernel bias out_dtype",
        "data kernel bias",
    ),
    new=("data kernel bias out_dtype",),
    workload="dense data kernel bias out_dtype",
)


@dataclass(frozen=True)
class Rule:
    """Which task of log version 0.1 is which of 0.2.

    Attributes
    ----------
    old, templates
        The task in 0.1 and the template's key. Of several keys the first one is written back; TVM 0.5 left it
        empty for some tasks.
    families
        The targets that it holds for, as `family` tells them.
    layout
        The data's layout, where the new task's name tells it; else None.
    new, form
        The task in 0.2, and how the arguments correspond.
    knobs
        Where one template key stood for two schedules: the knobs by which to recognise this one, with the
        number of parts if it is a split.
    """

    old: str
    templates: str
    families: str
    layout: str | None
    new: str
    form: Form
    knobs: str = ""

    def holds_for(self, kin: str | None) -> bool:
        """Whether the rule is about such targets."""
        return kin in self.families.split()

    def knows(self, entity: Sequence[Knob]) -> bool:
        """Whether a config has the knobs by which to recognise the schedule."""
        have = {knob.name: len(knob.value) if knob.kind == "sp" else 0 for knob in entity}
        for knob in self.knobs.split():
            name, _, parts = knob.partition("/")
            if name not in have or (parts and have[name] != int(parts)):
                return False
        return True


# fmt: off
RULES = (
    # Graphics processors: cuda, and whatever uses its templates.
    Rule("topi_nn_conv2d", "direct", "gpu", "NCHW", "conv2d_nchw.cuda", CONV2D),
    Rule("topi_nn_conv2d", "winograd", "gpu", "NCHW", "conv2d_nchw_winograd.cuda", CONV2D),
    Rule("topi_nn_conv2d", "int8", "gpu", None, "conv2d_NCHWc_int8.cuda", CONV2D_INT8),
    Rule("topi_nn_depthwise_conv2d_nchw", "direct", "gpu", None, "depthwise_conv2d_nchw.cuda", DEPTHWISE),
    Rule("topi_nn_conv2d_transpose_nchw", "direct", "gpu", None, "conv2d_transpose_nchw.cuda", TRANSPOSED),
    Rule("topi_nn_group_conv2d_nchw", "direct", "gpu", None, "group_conv2d_nchw.cuda", GROUPED),
    Rule("topi_nn_group_conv2d_nchw", "int8", "gpu", None, "group_conv2d_NCHWc_int8.cuda", GROUPED),
    Rule("topi_nn_deformable_conv2d_nchw", "direct", "gpu", None, "deformable_conv2d_nchw.cuda", DEFORMABLE),
    Rule("topi_nn_dense", "direct", "gpu", None, "dense_large_batch.gpu", DENSE, "tile_x tile_y tile_k"),
    Rule("topi_nn_dense", "direct", "gpu", None, "dense_small_batch.gpu", DENSE, "tile_k"),
    Rule("topi_nn_dense", "int8", "gpu", None, "dense_int8.cuda", DENSE),
    # ARM processors.
    Rule("topi_nn_conv2d", "direct", "arm_cpu", "NCHW", "conv2d_nchw_spatial_pack.arm_cpu", CONV2D),
    Rule("topi_nn_conv2d", "direct", "arm_cpu", "NHWC", "conv2d_nhwc_spatial_pack.arm_cpu", CONV2D),
    Rule("topi_nn_conv2d", "winograd", "arm_cpu", "NCHW", "conv2d_nchw_winograd.arm_cpu", CONV2D),
    Rule("topi_nn_depthwise_conv2d_nchw", "direct", "arm_cpu", None, "depthwise_conv2d_nchw.arm_cpu", DEPTHWISE),
    Rule("topi_nn_depthwise_conv2d_nchw", "contrib_spatial_pack", "arm_cpu", None,
         "depthwise_conv2d_nchw_spatial_pack.arm_cpu", DEPTHWISE),
    Rule("topi_nn_conv2d_transpose_nchw", "direct", "arm_cpu", None, "conv2d_transpose_nchw.arm_cpu", TRANSPOSED),
    # Mali and Bifrost.
    Rule("topi_nn_conv2d", "direct", "mali", "NCHW", "conv2d_nchw_spatial_pack.mali", CONV2D),
    Rule("topi_nn_conv2d", "winograd", "mali", "NCHW", "conv2d_nchw_winograd.mali", CONV2D),
    Rule("topi_nn_depthwise_conv2d_nchw", "direct", "mali", None, "depthwise_conv2d_nchw.mali", DEPTHWISE),
    Rule("topi_nn_dense", "direct", "mali", None, "dense.mali", DENSE),
    Rule("topi_nn_conv2d", "direct", "bifrost", "NCHW", "conv2d_nchw_spatial_pack.bifrost", CONV2D),
    Rule("topi_nn_conv2d", "winograd", "bifrost", "NCHW", "conv2d_nchw_winograd.bifrost", CONV2D),
    Rule("topi_nn_dense", "direct", "bifrost", None, "dense.bifrost", DENSE),
    # Intel's graphics processors, which had no template key.
    Rule("topi_intel_graphics_conv2d_NCHWc", "- direct", "intel_graphics", None,
         "conv2d_NCHWc.intel_graphics", CONV2D_INTEL),
    Rule("topi_nn_depthwise_conv2d_nchw", "direct", "intel_graphics", None,
         "depthwise_conv2d_nchw.intel_graphics", DEPTHWISE),
    # x86 processors, and dense layers on any processor.
    Rule("topi_x86_conv2d", "direct -", "x86", None, "conv2d_NCHWc.x86", CONV2D_X86),
    Rule("topi_x86_conv2d_NCHWc", "direct -", "x86", None, "conv2d_NCHWc.x86", CONV2D_NCHWC),
    Rule("topi_x86_conv2d_NCHWc_int8", "direct -", "x86", None, "conv2d_NCHWc_int8.x86", CONV2D_NCHWC),
    Rule("topi_x86_depthwise_conv2d_NCHWc_from_nchw", "direct -", "x86", None,
         "depthwise_conv2d_NCHWc.x86", DEPTHWISE_NCHWC),
    Rule("topi_nn_dense", "direct_pack", "x86 arm_cpu", None, "dense_pack.x86", DENSE),
    Rule("topi_nn_dense", "direct_nopack", "x86 arm_cpu", None, "dense_nopack.x86", DENSE),
    Rule("topi_nn_dense", "direct", "x86 arm_cpu", None, "dense_pack.x86", DENSE, "tile_x/3 tile_y/3 tile_k/2"),
    Rule("topi_nn_dense", "direct", "x86 arm_cpu", None, "dense_nopack.x86", DENSE, "tile_x/2 tile_y/2 tile_k/2"),
)
"""All that is known; the first rule that fits a row is taken, in both directions. A template key `-` is empty."""
# fmt: on

_GPUS = frozenset({"cuda", "nvptx", "rocm", "opencl", "vulkan", "metal", "opengl"})
_DEVICES = frozenset({"arm_cpu", "mali", "bifrost", "intel_graphics"})


def family(target: Target) -> str | None:
    """Tell whose templates TVM 0.6 used for a target; None where that is not known."""
    device = target.attributes.get("device")
    if device is not None:
        return device if device in _DEVICES else None
    if target.kind in _GPUS:
        return "gpu"
    return "x86" if target.kind == "llvm" else None


def to_new(row: OldRow) -> Record:
    """Convert a row of log version 0.1.

    Raises
    ------
    NoConversionError
        No rule is certain about it.
    InputError
        Its target is none.
    """
    rule, values = _old_rule(row)
    provenance = row.tophub.model_dump(exclude_unset=True) if row.tophub else {}
    measured = _iso(row.r.timestamp)
    if measured is not None:
        provenance.setdefault("measured", measured)
    provenance["converted"] = {"log_version": OLD_LOG_VERSION}
    record = Record.model_validate(
        {
            **(row.model_extra or {}),
            "input": Input(row.i.target, rule.new, _say(rule.form.new[:1], values), {}),
            "config": Config(index=row.i.config.i, code_hash=row.i.config.c, entity=row.i.config.e),
            "result": row.r,
            "version": LOG_VERSION,
            "tvm_version": OLD_TVM,
            "tophub": Provenance.model_validate(provenance),
        }
    )
    task = [row.i.task, row.i.args, row.i.kwargs, row.i.workload, row.i.config.t]
    if _is_written_back(task, record):
        return record
    provenance["converted"]["task"] = task
    return record.model_copy(update={"tophub": Provenance.model_validate(provenance)})


def _is_written_back(task: list[Value], record: Record) -> bool:
    """Whether converting back by the rules alone gives the same task."""
    try:
        return _old_task(*_new_rule(record)) == task
    except NoConversionError:
        return False


def to_old(record: Record) -> OldRow:
    """Convert a record to log version 0.1; one that was converted from it becomes what it was.

    Raises
    ------
    NoConversionError
        No rule is certain about it, or 0.1 has no words for what it says.
    InputError
        Its target is none.
    """
    provenance = record.tophub.model_dump(exclude_unset=True) if record.tophub else {}
    converted = record.tophub.converted if record.tophub else None
    if provenance.pop("converted", None) and provenance.get("measured") == _iso(record.result.timestamp):
        provenance.pop("measured", None)
    row = {
        **(record.model_extra or {}),
        "r": record.result,
        "v": OLD_LOG_VERSION,
        **({"tophub": provenance} if provenance else {}),
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
    return old_row(*_old_task(*_new_rule(record)))


def _as_it_was(record: Record, task: list[Value], old_row: Callable[..., OldRow]) -> OldRow | None:
    """Return the row that the provenance describes, unless it is not this record's."""
    try:
        before = old_row(*task)
        return before if to_new(before).input == record.input else None
    except (TypeError, ValidationError, NoConversionError):
        return None


def _old_rule(row: OldRow) -> tuple[Rule, dict[str, Value]]:
    """Find the rule for a row of 0.1, and its arguments by name."""
    task, key = row.i.task, row.i.config.t or "-"
    kin = family(Target.parse(row.i.target))
    rules = [rule for rule in RULES if rule.old == task and key in rule.templates.split() and rule.holds_for(kin)]
    if not rules:
        raise NoConversionError(f"no rule for {task!r} with the template {key!r} on {kin or row.i.target!r}")
    if row.i.kwargs:
        raise NoConversionError(f"no rule for keyword arguments of {task!r}")
    values = _read(rules[0].form.old, row.i.args)
    for rule in rules:
        if rule.layout in (None, values.get("layout")) and rule.knows(row.i.config.e):
            if rule.layout is not None:
                del values["layout"]
            _check_workload(row.i.workload, rule, values)
            return rule, values
    raise NoConversionError(f"no rule for {task!r} with this layout or these knobs on {kin}")


def _new_rule(record: Record) -> tuple[Rule, dict[str, Value]]:
    """Find the rule for a record of 0.2, and its arguments by name."""
    task, kin = record.input.task, family(record.target)
    for rule in RULES:
        if rule.new == task and rule.holds_for(kin) and rule.knows(record.config.entity):
            if record.input.kwargs:
                raise NoConversionError(f"no rule for keyword arguments of {task!r}")
            return rule, _read(rule.form.new, record.input.args)
    raise NoConversionError(f"no rule for {task!r} on {kin or record.input.target!r}")


def _old_task(rule: Rule, values: dict[str, Value]) -> list[Value]:
    """Return task, arguments, keyword arguments, workload and template key of 0.1."""
    values = _old_values(rule, values)
    template = rule.templates.split()[0].removeprefix("-")
    return [rule.old, _say(rule.form.old, values), {}, _workload(rule, values), template]


def _workload(rule: Rule, values: dict[str, Value]) -> list[Value]:
    """Return the workload of 0.1."""
    name, _, names = rule.form.workload.partition(" ")
    return [name, *map(_in_workload, _say((names,), values))]


def _old_values(rule: Rule, values: dict[str, Value]) -> dict[str, Value]:
    """Return the arguments as 0.1 gives them: the layout among them, and the padding with two numbers."""
    if rule.layout is not None:
        values = {**values, "layout": rule.layout}
    if "padding" in values:
        values = {**values, "padding": _symmetric(values["padding"])}
    return values


def _in_workload(value: Value) -> Value:
    """Spell an argument as 0.1's workloads do: a tensor is its shape with the type at the end, nothing is 0."""
    if value is None:
        return 0
    return [*value[1], value[2]] if isinstance(value, list) and value[:1] == ["TENSOR"] else value


def _check_workload(workload: list[Value] | None, rule: Rule, values: dict[str, Value]) -> None:
    """See that a row's workload says what its arguments say, the tensors at the least where it has another form."""
    if workload is None:
        return
    said = _workload(rule, _old_values(rule, values))
    whole = len(workload) == len(said) and workload[:1] == said[:1]
    if workload[1:] != said[1:] if whole else workload[1:3] != said[1:3]:
        raise NoConversionError("the workload and the arguments disagree")


def _read(spellings: tuple[str, ...], args: list[Value]) -> dict[str, Value]:
    """Take arguments apart by name, each in the form that 0.2 gives it."""
    names = next((names for names in map(str.split, spellings) if len(names) == len(args)), None)
    if names is None:
        raise NoConversionError(f"no rule for {len(args)} arguments")
    values: dict[str, Value] = {}
    for name, value in zip(names, args, strict=True):
        values[name] = _read_one(name, value)
    for name in ("in_channels", "kernel_size"):
        if name in values and values.pop(name) != _default(name, values):
            raise NoConversionError(f"{name} and the tensors disagree")
    return values


def _say(spellings: tuple[str, ...], values: dict[str, Value]) -> list[Value]:
    """Put arguments together in the first spelling that leaves out nothing but what goes without saying."""
    unsaid: list[str] = []
    for names in map(str.split, spellings):
        unsaid = [name for name in values if name not in names and values[name] != _default(name, values)]
        if not unsaid:
            return [values[name] if name in values else _default(name, values) for name in names]
    raise NoConversionError(f"no words for {unsaid[0]} {json.dumps(values[unsaid[0]])[:80]} in the other log version")


def _read_one(name: str, value: Value) -> Value:
    try:
        return _READERS[name](value)
    except ValueError:
        raise NoConversionError(f"no rule for {json.dumps(value)[:80]} as {name}") from None


def _default(name: str, values: dict[str, Value]) -> Value:
    """Return what an argument is where it is left out."""
    return _DEFAULTS[name](values) if name in _DEFAULTS else None


_DEFAULTS: dict[str, Callable[[dict[str, Value]], Value]] = {
    "dilation": lambda _: [1, 1],
    "output_padding": lambda _: [0, 0],
    "groups": lambda _: 1,
    "layout": lambda _: "NCHW",
    "out_layout": lambda values: values.get("layout", "NCHW"),
    "out_dtype": lambda values: values["data"][2],
    "in_channels": lambda values: next(iter(values["data"][1][1:]), None),
    "kernel_size": lambda values: values["kernel"][1][2:4],
}


def _tensor(value: Value) -> Value:
    if isinstance(value, list) and value[:1] == ["TENSOR"] and len(value) == len(["TENSOR", "shape", "dtype"]):
        _integers(value[1])
        _word(value[2])
        return value
    raise ValueError


def _integers(value: Value) -> list[int]:
    if isinstance(value, list) and all(type(item) is int for item in value):
        return value
    raise ValueError


def _pair(value: Value) -> list[int]:
    """Read one number for both dimensions, or two."""
    if type(value) is int:
        return [value, value]
    if len(_integers(value)) == len("hw"):
        return list(value)
    raise ValueError


def _padding(value: Value) -> list[int]:
    """Read a padding of one, two or four numbers: top, left, bottom, right."""
    if isinstance(value, list) and len(value) == len("tlbr"):
        return _integers(value)
    return _pair(value) * 2


def _symmetric(padding: list[int]) -> list[int]:
    if padding[:2] != padding[2:]:
        raise NoConversionError(f"no words for the padding {padding} in log version 0.1")
    return padding[:2]


def _word(value: Value) -> str:
    if isinstance(value, str):
        return value
    raise ValueError


def _type(value: Value) -> str | None:
    return None if value is None else _word(value)


def _tensor_or_nothing(value: Value) -> Value:
    return None if value is None else _tensor(value)


def _integer(value: Value) -> int:
    if type(value) is int:
        return value
    raise ValueError


_READERS: dict[str, Callable[[Value], Value]] = {
    "data": _tensor,
    "offset": _tensor,
    "kernel": _tensor,
    "bias": _tensor_or_nothing,
    "strides": _pair,
    "padding": _padding,
    "dilation": _pair,
    "output_padding": _pair,
    "kernel_size": _pair,
    "in_channels": _integer,
    "groups": _integer,
    "deformable_groups": _integer,
    "layout": _word,
    "out_layout": _word,
    "out_dtype": _type,
}


def _iso(timestamp: float) -> str | None:
    """Return a time of measurement in ISO 8601; None where the timestamp is no time."""
    if not EARLIEST <= timestamp < _LAST:
        return None
    return datetime.fromtimestamp(timestamp, timezone.utc).isoformat(timespec="seconds")
