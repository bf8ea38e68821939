"""Transposed convolutions as plain ones, none of which multiplies by inserted zeros.

With stride s every s-th row of the output uses the same rows of the kernel, and so do columns. So the output consists
of s x s phases, each a convolution of the data with a kernel of its own, with stride 1. The phases' kernels are the
filters of one convolution. What it computes is then put in its place, which reads and writes the output once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from tvm import relax
from tvm.ir import GenericConst as Constant

from tophub_registry.tasks.reading import shape_of
from tophub_registry.tasks.substitution import Rebuilding

_FEWEST_CHANNELS = 16
"""With fewer input channels there is too little to compute beside the moving of pixels."""

_MANY_PHASES = 64
"""More phases are put together by rows, then by columns: code that copies each of them by itself is fast, and long."""

_Part = dict[int, tuple[int, int]]
"""The begin and end of what is taken along some axes."""


class _Axis(NamedTuple):
    """Rows or columns: their numbers in data, kernel and output, the stride, and how many are cut off in front."""

    size: int
    kernel: int
    out: int
    stride: int
    cut: int

    @property
    def taps(self) -> int:
        """The taps of each phase; some are zero if the stride does not divide the kernel."""
        return -(-self.kernel // self.stride)

    @property
    def length(self) -> int:
        """The outputs of each phase, of which the last phases may have one to spare."""
        return -(-self.out // self.stride)

    def later(self, phase: int) -> int:
        """Return by how many pixels a phase begins after the first one."""
        return (phase + self.cut % self.stride) // self.stride

    def part(self, phase: int, place: int) -> _Part:
        """Return where one phase's outputs are, if the phases are in this place and their outputs three axes behind."""
        begin = self.later(phase)
        return {place: (phase, phase + 1), place + 3: (begin, begin + self.length)}

    @property
    def computed(self) -> int:
        """How many outputs the convolution has, so that there are enough for each phase."""
        return self.length + self.later(self.stride - 1)

    @property
    def padding(self) -> tuple[int, int]:
        """The zeros before and after the data; negative if data is not read."""
        before = self.taps - 1 - self.cut // self.stride
        return before, self.computed + self.taps - 1 - before - self.size

    @property
    def places(self) -> list[list[int]]:
        """The kernel's rows or columns that each phase uses, in the order of the data that they multiply."""
        firsts = [(phase + self.cut) % self.stride for phase in range(self.stride)]
        return [[first + self.stride * tap for tap in reversed(range(self.taps))] for first in firsts]


def interleaved(function: relax.Function) -> relax.Function:
    """Return a function in normal form with its transposed convolutions as plain ones; the same if it has none.

    Those with groups stay.
    """
    return _rewritten(function, _is_large)


def interleaved_in_groups(function: relax.Function) -> relax.Function:
    """Return a function in normal form with its transposed convolutions in groups as plain ones in groups."""
    return _rewritten(function, _is_grouped)


def _rewritten(function: relax.Function, gains: Callable[[Any], bool]) -> relax.Function:
    calls = [binding.value for block in function.body.blocks for binding in block.bindings]
    return _Interleaving(function, gains).result() if any(map(gains, calls)) else function


def _is_large(call: Any) -> bool:
    """Return whether a call is a transposed convolution whose phases are convolutions of some size."""
    return (
        _is_transposed(call)
        and int(call.attrs.groups) == 1
        and max(map(int, call.attrs.strides)) > 1
        and shape_of(call.args[1])[0] >= _FEWEST_CHANNELS
    )


def _is_grouped(call: Any) -> bool:
    """Return whether a call is a transposed convolution in groups, for which a processor has no template."""
    return _is_transposed(call) and int(call.attrs.groups) > 1


def _is_transposed(call: Any) -> bool:
    if not isinstance(call, relax.Call) or getattr(call.op, "name", "") != "relax.nn.conv2d_transpose":
        return False
    data, weight = call.args
    attrs = call.attrs
    return (
        (attrs.data_layout, attrs.kernel_layout) == ("NCHW", "IOHW")
        and isinstance(weight, Constant)
        and {str(value.ty.dtype) for value in (data, weight, call)} == {"float32"}
        and {*map(int, attrs.dilation)} == {1}
    )


class _Interleaving(Rebuilding):
    """Rewrites a function."""

    def __init__(self, function: relax.Function, gains: Callable[[Any], bool]) -> None:
        super().__init__(function)
        self._gains = gains

    def rewrite(self, var: Any, value: Any) -> None:
        new = self.renewed(value)
        self.new[var] = self._interleaved(new, var.name) if self._gains(value) else self.emit(new, var.name)

    def _interleaved(self, call: relax.Call, name: str) -> Any:
        """Return a transposed convolution's output, computed by a plain one; the layer keeps its name."""
        data, weight = call.args
        batch, _, *size = shape_of(data)
        _, filters, *kernel = shape_of(weight)
        wanted = shape_of(self.normalized(call))[2:]
        strides, cut = [*map(int, call.attrs.strides)], [*map(int, call.attrs.padding)][:2]
        rows, columns = (_Axis(*axis) for axis in zip(size, kernel, wanted, strides, cut, strict=True))
        window = [axis.padding for axis in (rows, columns)]
        if min(map(min, window)) < 0:
            begin = [max(0, -before) for before, _ in window]
            end = [length - max(0, -after) for length, (_, after) in zip(size, window, strict=True)]
            data = relax.op.strided_slice(data, [2, 3], begin, end)
        (top, bottom), (left, right) = ([max(0, zeros) for zeros in both] for both in window)
        groups = int(call.attrs.groups)
        kernels = [_kernels(each, rows, columns) for each in np.split(weight.value.numpy(), groups)]
        plain = relax.op.nn.conv2d(
            data, relax.const(np.concatenate(kernels)), padding=[top, left, bottom, right], groups=groups
        )
        # Each group of an image is taken for an image.
        shape = batch * groups, rows.stride, columns.stride, filters, rows.computed, columns.computed
        apart = self.emit(relax.op.reshape(self.emit(plain, name), shape))
        together = relax.op.permute_dims(_phases(apart, rows, columns), (0, 3, 4, 1, 5, 2))
        full = batch, groups * filters, rows.length * rows.stride, columns.length * columns.stride
        whole = relax.op.reshape(together, full)
        if (rows.length * rows.stride, columns.length * columns.stride) == tuple(wanted):
            return self.emit(whole)
        return self.emit(relax.op.strided_slice(whole, [2, 3], [0, 0], [*wanted]))


def _phases(apart: Any, rows: _Axis, columns: _Axis) -> Any:
    """Return the outputs of all phases, `[batch, row, column, filters, …]`, without those that some have to spare."""
    if rows.stride * columns.stride > _MANY_PHASES:
        return _along(_along(apart, rows, 1), columns, 2)
    return relax.op.concat([_along(apart, columns, 2, rows.part(row, 1)) for row in range(rows.stride)], axis=1)


def _along(apart: Any, axis: _Axis, place: int, others: _Part | None = None) -> Any:
    """Return the outputs of all phases of rows or columns, whose axis is in this place, of all the others or a part."""
    parts = [{**(others or {}), **axis.part(phase, place)} for phase in range(axis.stride)]
    each = [relax.op.strided_slice(apart, [*part], *map(list, zip(*part.values(), strict=True))) for part in parts]
    return relax.op.concat(each, axis=place)


def _kernels(kernel: Any, rows: _Axis, columns: _Axis) -> Any:
    """Return the filters of all phases, `[phases * filters, channels, taps, taps]`, of `[channels, filters, …]`."""
    beyond = [(0, axis.taps * axis.stride - axis.kernel) for axis in (rows, columns)]
    whole = np.pad(kernel, [(0, 0), (0, 0), *beyond])
    y, x = (np.array(axis.places) for axis in (rows, columns))
    phases = whole[:, :, y[:, :, None, None], x].transpose(2, 4, 1, 0, 3, 5)
    return np.ascontiguousarray(phases.reshape(-1, kernel.shape[0], rows.taps, columns.taps))
