"""A record's kernel as text: CUDA source, TVM script or assembly."""

from __future__ import annotations

from typing import Any

from tophub_registry.devices.gpu import architecture_of, in_full
from tophub_registry.errors import UsageError
from tophub_registry.records.record import Record
from tophub_registry.templates.registry import instantiate, template_class

_ANY_GPU = "sm_70"
"""The architecture to compile for if the target names none and this machine has no GPU."""

# TVM writes the same types and macros in front of every CUDA kernel.
_FIRST_KERNEL = 'extern "C"'


def kernel_source(record: Record) -> str:
    """Return a record's kernel: CUDA source for a GPU, the scheduled TVM script for a processor.

    The device is not needed.

    Raises
    ------
    InputError
        No template knows the task, or its space does not have the config.
    """
    scheduled = _scheduled(record)
    if record.target.kind != "cuda":
        return str(scheduled.script()).strip() + "\n"
    source = str(_compiled(record, scheduled).mod.imports[0].inspect_source())
    _, kernel, rest = source.partition(_FIRST_KERNEL)
    return (kernel + rest if kernel else source).strip() + "\n"


def assembly(record: Record) -> str:
    """Return the assembly of a record's kernel for a processor.

    Raises
    ------
    InputError
        No template knows the task, or its space does not have the config.
    UsageError
        The record is not for a processor.
    """
    if record.target.kind != "llvm":
        raise UsageError(
            f"no assembly for {record.target}: only for processors", remedy="--source prints the CUDA kernel"
        )
    return str(_compiled(record, _scheduled(record)).mod.inspect_source("asm")).strip() + "\n"


def _scheduled(record: Record) -> Any:
    template = instantiate(record.input.task, record.input.args)
    template.space.find(record.config.entity)
    return template.kernel(record.config)


def _compiled(record: Record, scheduled: Any) -> Any:
    import tvm

    description = record.target.as_dict()
    if record.target.kind == "cuda":
        here = tvm.cuda(0)
        otherwise = architecture_of(here) if here.exist else _ANY_GPU
        description["arch"] = in_full(str(description.get("arch") or otherwise))
    with tvm.transform.PassContext(opt_level=3, config=dict(template_class(record.input.task).pass_config)):
        return tvm.compile(scheduled, target=tvm.target.Target(description))
