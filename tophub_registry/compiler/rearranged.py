"""A weight that is known only when the model runs, brought into a kernel's layout by the model itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import relax


@dataclass(frozen=True)
class Rearranged:
    """Stands where a template's `pack` takes an array; what `pack` does to it becomes Relax operators.

    Attributes
    ----------
    value
        The Relax expression.
    """

    value: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """As an array has it."""
        return tuple(map(int, relax.BlockBuilder.current().normalize(self.value).ty.shape))

    def reshape(self, *shape: int) -> Rearranged:
        """As an array does it."""
        return Rearranged(relax.op.reshape(self.value, shape))

    def transpose(self, *axes: int) -> Rearranged:
        """As an array does it."""
        return Rearranged(relax.op.permute_dims(self.value, axes))
