"""A weight that is only known at run time, which the model converts to the kernel's layout itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import relax


@dataclass(frozen=True)
class Rearranged:
    """Replaces an array in a template's `pack`, turning array operations into Relax operators.

    Attributes
    ----------
    value
        The Relax expression.
    """

    value: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""
        return tuple(map(int, relax.BlockBuilder.current().normalize(self.value).ty.shape))

    def reshape(self, *shape: int) -> Rearranged:
        """As of an array."""
        return Rearranged(relax.op.reshape(self.value, shape))

    def astype(self, dtype: str) -> Rearranged:
        """As of an array."""
        same = relax.BlockBuilder.current().normalize(self.value).ty.dtype == dtype
        return self if same else Rearranged(relax.op.astype(self.value, dtype))

    def transpose(self, *axes: int) -> Rearranged:
        """As of an array; transposed back, a value is what it was."""
        call = self.value
        if isinstance(call, relax.Call) and call.op.name == "relax.permute_dims":
            before = tuple(map(int, call.attrs.axes))
            if tuple(before[axis] for axis in axes) == tuple(range(len(axes))):
                return Rearranged(call.args[0])
        return Rearranged(relax.op.permute_dims(self.value, axes))
