"""Tasks that had other names before: the dense layers of a GPU, `dense_small_batch.cuda` until TVM 0.8.

Records are read with today's names. For TVM 0.7 they are written with the names and arguments by which it looks them
up. Source: `tvm.topi.cuda.dense` and `tvm.topi.cuda.conv2d_transpose_nchw` of TVM 0.7 and 0.8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tophub_registry.records.unconvertible import NoConversionError

if TYPE_CHECKING:
    from tophub_registry.records.record import Record

_TODAY = {
    "dense_small_batch.cuda": "dense_small_batch.gpu",
    "dense_large_batch.cuda": "dense_large_batch.gpu",
}
_IN_0_7 = {today: before for before, today in _TODAY.items()}

_TRANSPOSED = "conv2d_transpose_nchw."
_OF_0_7 = 5
"""Number of arguments of a transposed convolution in TVM 0.7: without output padding and groups."""
_UNSAID = ([0, 0], 1)


def with_todays_name(record: Record) -> Record:
    """Return a record with its task's name since TVM 0.8."""
    task = _TODAY.get(record.input.task)
    return record if task is None else _with_input(record, task, record.input.args)


def for_tvm_0_7(record: Record) -> Record:
    """Return a record as TVM 0.7 looks it up.

    Raises
    ------
    NoConversionError
        TVM 0.7 has no such workload.
    """
    task, args = record.input.task, record.input.args
    if task.startswith(_TRANSPOSED) and len(args) > _OF_0_7:
        if any(value != unsaid for value, unsaid in zip(args[_OF_0_7:], _UNSAID, strict=False)):
            raise NoConversionError("TVM 0.7 has no transposed convolution with groups or output padding")
        args = args[:_OF_0_7]
    return _with_input(record, _IN_0_7.get(task, task), args)


def _with_input(record: Record, task: str, args: list[object]) -> Record:
    if (task, args) == (record.input.task, record.input.args):
        return record
    return record.model_copy(update={"input": record.input._replace(task=task, args=args)})
