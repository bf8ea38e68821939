"""Images of one pixel as the rows of a matrix: a convolution over one is a dense layer.

The classifiers of some networks and the gates of others convolve images that were averaged to a pixel. Templates of
convolutions have whole images to divide among a GPU's blocks, and tensor cores would compute mostly padding and round
the factors; those of dense layers read the weights as fast as memory allows. Elementwise operators in between work on
the rows too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax
from tvm.ir import GenericConst as Constant

from tophub_registry.tasks.reading import ELEMENTWISE, shape_of
from tophub_registry.tasks.substitution import Rebuilding

_IMAGE = 4  # axes of a value: batch, channels, height, width
_VIEWS = {f"relax.{name}" for name in ("reshape", "flatten", "squeeze", "expand_dims", "nn.batch_flatten")}


def is_pixel(value: Any) -> bool:
    """Return whether a value is images of one pixel, `[N, C, 1, 1]`."""
    return isinstance(value.ty, relax.TensorType) and value.ty.ndim == _IMAGE and shape_of(value)[2:] == (1, 1)


def flattened(function: relax.Function) -> relax.Function:
    """Return a function in normal form without convolutions over one pixel; the same if it has none."""
    calls = [binding.value for block in function.body.blocks for binding in block.bindings]
    return _Flattening(function).result() if any(map(_is_dense, calls)) else function


def _is_dense(call: Any) -> bool:
    """Return whether a call is a convolution of one pixel with constant weights, which yields one."""
    return (
        isinstance(call, relax.Call)
        and getattr(call.op, "name", "") == "relax.nn.conv2d"
        and (call.attrs.data_layout, call.attrs.kernel_layout) == ("NCHW", "OIHW")
        and int(call.attrs.groups) == 1
        and isinstance(call.args[1], Constant)
        and {str(value.ty.dtype) for value in (*call.args, call)} == {"float32"}
        and is_pixel(call.args[0])
        and is_pixel(call)
    )


class _Flattening(Rebuilding):
    """Rewrites a function: `new` are the values as they were, `_rows` those of one pixel as `[N, C]`."""

    def __init__(self, function: relax.Function) -> None:
        super().__init__(function)
        self._rows: dict[Any, Any] = {}

    def rewrite(self, var: Any, value: Any) -> None:
        is_call = isinstance(value, relax.Call)
        if is_call and (rows := self._as_rows(value)) is not None:
            self._rows[var] = self.emit(rows, var.name)
        elif is_call and self._is_view(value):
            rows, shape = self._rows[value.args[0]], shape_of(var)
            self.new[var] = rows if shape == shape_of(rows) else self.emit(relax.op.reshape(rows, shape), var.name)
        else:
            self.new[var] = self.emit(self.renewed(value), var.name)

    def _as_rows(self, call: relax.Call) -> Any | None:
        """Return what computes a call's result as rows; None if it stays an image."""
        if _is_dense(call):
            return relax.op.matmul(self._of(call.args[0]), relax.const(np.ascontiguousarray(_tap(call).T)))
        if getattr(call.op, "name", "") not in ELEMENTWISE or not is_pixel(call):
            return None
        values = [each for each in call.args if isinstance(each, relax.Var)]
        if not values or not all(each in self._rows for each in values):
            return None
        return relax.Call(
            call.op, [self._rows[each] if each in values else _row(each) for each in call.args], call.attrs
        )

    def _of(self, data: Any) -> Any:
        """Return the rows of a value."""
        if data not in self._rows:
            self._rows[data] = self.emit(relax.op.reshape(self.renewed(data), shape_of(data)[:2]))
        return self._rows[data]

    def _is_view(self, call: relax.Call) -> bool:
        """Return whether a call only gives rows another shape."""
        name = getattr(call.op, "name", "")
        if name == "relax.permute_dims" and call.args[0] in self._rows:
            axes = [*map(int, call.attrs.axes)] if call.attrs.axes is not None else [3, 2, 1, 0]
            return axes.index(0) < axes.index(1) or 1 in shape_of(call.args[0])[:2]
        return name in _VIEWS and call.args[0] in self._rows

    def renewed(self, expression: Any) -> Any:
        """Return an expression with its images as they were."""
        for var in relax.analysis.free_vars(expression):
            if var not in self.new:
                self.new[var] = self.emit(relax.op.reshape(self._rows[var], shape_of(var)))
        return super().renewed(expression)


def _tap(call: relax.Call) -> np.ndarray[Any, Any]:
    """Return the weights `[out, in]` that meet the pixel; the others meet padding."""
    weight = call.args[1].value.numpy()
    places = [(int(pad), int(step)) for pad, step in zip(call.attrs.padding[:2], call.attrs.dilation, strict=True)]
    if any(pad % step for pad, step in places):
        return np.zeros(weight.shape[:2], weight.dtype)
    (top, down), (left, across) = places
    return weight[:, :, top // down, left // across]  # type: ignore[no-any-return]


def _row(argument: Any) -> Any:
    """Return a constant of an elementwise operator for rows: without height and width, if it has them."""
    if not isinstance(argument, Constant):
        return argument
    numbers = argument.value.numpy()
    return relax.const(numbers.reshape(numbers.shape[:-2] if numbers.ndim > 1 else ()))
