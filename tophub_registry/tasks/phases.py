"""Dilated convolutions without dilation: each phase of the image, every d-th row and column, is convolved by itself.

A convolution with dilation d never adds up pixels of different phases. So its d x d phases are images of a batch, which
Winograd's algorithm can convolve, and any other without fetching what lies between the pixels. To take an image apart
and to put it together again each reads and writes it once.
"""

from __future__ import annotations

from typing import Any

from tvm import relax

from tophub_registry.tasks.reading import shape_of
from tophub_registry.tasks.substitution import Rebuilding

_FEWEST_CHANNELS = 64
"""With fewer input or output channels there is too little to compute beside the moving of pixels."""


def undilated(function: relax.Function) -> relax.Function:
    """Return a function in normal form, with convolutions of phases where that pays; the same if it does nowhere."""
    calls = [binding.value for block in function.body.blocks for binding in block.bindings]
    return _Undilating(function).result() if any(map(_gains, calls)) else function


def _gains(call: Any) -> bool:
    """Return whether a call is a convolution to take apart: Winograd's algorithm suits it but for its dilation."""
    if not isinstance(call, relax.Call) or getattr(call.op, "name", "") != "relax.nn.conv2d":
        return False
    if (call.attrs.data_layout, call.attrs.kernel_layout) != ("NCHW", "OIHW") or call.ty.dtype != "float32":
        return False
    filters, channels, height, width = shape_of(call.args[1])
    dilation = [*map(int, call.attrs.dilation)]
    return (
        int(call.attrs.groups) == 1
        and {*map(int, call.attrs.strides)} == {1}
        and dilation[0] == dilation[1] > 1
        and height == width > 1
        and min(filters, channels) >= _FEWEST_CHANNELS
    )


class _Undilating(Rebuilding):
    """Rewrites a function."""

    def rewrite(self, var: Any, value: Any) -> None:
        new = self.renewed(value)
        self.new[var] = self._convolved(new, var.name) if _gains(value) else self.emit(new, var.name)

    def _convolved(self, call: relax.Call, name: str) -> Any:
        """Return a convolution's output, computed phase by phase; the layer keeps its name."""
        data, weight = call.args
        step, padding = int(call.attrs.dilation[0]), [*map(int, call.attrs.padding)]
        batch, channels, *size = shape_of(data)
        filters, _, taps, _ = shape_of(weight)
        wanted = shape_of(self.normalized(call))[2:]
        rows, columns = (-(-length // step) + taps - 1 for length in wanted)
        after = [there * step - pad - given for there, pad, given in zip((rows, columns), padding, size, strict=False)]
        if min(after) < 0:  # the last rows or columns are not read
            data = relax.op.strided_slice(
                data, [2, 3], [0, 0], [min(n, n + out) for n, out in zip(size, after, strict=True)]
            )
        padded = relax.op.nn.pad(data, [0, 0, 0, 0, padding[0], max(0, after[0]), padding[1], max(0, after[1])])
        apart = relax.op.permute_dims(
            relax.op.reshape(padded, (batch, channels, rows, step, columns, step)), (0, 3, 5, 1, 2, 4)
        )
        phases = self.emit(relax.op.reshape(apart, (batch * step * step, channels, rows, columns)))
        convolved = self.emit(relax.op.nn.conv2d(phases, weight), name)
        *_, high, wide = shape_of(convolved)
        parts = relax.op.reshape(convolved, (batch, step, step, filters, high, wide))
        whole = relax.op.reshape(
            relax.op.permute_dims(parts, (0, 3, 4, 1, 5, 2)), (batch, filters, high * step, wide * step)
        )
        if (high * step, wide * step) == tuple(wanted):
            return self.emit(whole)
        return self.emit(relax.op.strided_slice(whole, [2, 3], [0, 0], [*wanted]))
