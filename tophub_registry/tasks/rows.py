"""Transposed convolutions over one axis as those of images of height 1, for which there are templates."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax
from tvm.ir import GenericConst as Constant

from tophub_registry.tasks.reading import shape_of
from tophub_registry.tasks.substitution import Rebuilding


def heightened(function: relax.Function) -> relax.Function:
    """Return a function in normal form without transposed convolutions of rows; the same if it has none."""
    calls = [binding.value for block in function.body.blocks for binding in block.bindings]
    return _Heightening(function).result() if any(map(_is_of_rows, calls)) else function


def _is_of_rows(call: Any) -> bool:
    if not isinstance(call, relax.Call) or getattr(call.op, "name", "") != "relax.nn.conv1d_transpose":
        return False
    layouts = (call.attrs.data_layout, call.attrs.kernel_layout)
    return layouts == ("NCW", "IOW") and {str(each.ty.dtype) for each in (*call.args, call)} == {"float32"}


class _Heightening(Rebuilding):
    """Rewrites a function."""

    def rewrite(self, var: Any, value: Any) -> None:
        if not _is_of_rows(value):
            self.new[var] = self.emit(self.renewed(value), var.name)
            return
        a = value.attrs
        data, weight = (self._image(each) for each in value.args)
        left, right = map(int, a.padding)
        image = relax.op.nn.conv2d_transpose(
            data,
            weight,
            strides=(1, int(a.strides[0])),
            padding=(0, left, 0, right),
            output_padding=(0, int(a.output_padding[0])),
            dilation=(1, int(a.dilation[0])),
            groups=int(a.groups),
            data_layout="NCHW",
            kernel_layout="IOHW",
        )
        self.new[var] = self.emit(relax.op.reshape(self.emit(image, var.name), shape_of(value)))

    def _image(self, value: Any) -> Any:
        first, second, width = shape_of(value)
        if isinstance(value, Constant):
            return relax.const(np.ascontiguousarray(value.value.numpy().reshape(first, second, 1, width)))
        return self.emit(relax.op.reshape(self.renewed(value), (first, second, 1, width)))
