"""A transposed convolution as small convolutions with stride 1, none of which multiplies by inserted zeros.

With stride s the output's rows y, y + s, y + 2s, … use every s-th row of the kernel; the same holds for columns. So the
output consists of s x s phases, each of which is a convolution of the data with a kernel of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tophub_registry.templates.convolution_workloads import TransposedConv2d


class Axis(NamedTuple):
    """Rows or columns: their numbers in data, output and kernel, the stride, and how many are cut off in front."""

    size: int
    out: int
    kernel: int
    stride: int
    cut: int

    @property
    def phases(self) -> int:
        """How many small convolutions interleave along this axis."""
        return min(self.stride, self.out)

    @property
    def length(self) -> int:
        """The outputs of the first phase, which has the most."""
        return -(-self.out // self.phases)

    @property
    def taps(self) -> int:
        """The taps of each phase; some are zero if the stride does not divide the kernel."""
        return -(-self.kernel // self.stride)

    def tiles(self, largest: int) -> range:
        """Return how many outputs of a phase a tile may have."""
        return range(1, min(largest, self.length) + 1)

    def first(self, phase: Any) -> Any:
        """Return where a phase, a `te` expression, starts to read the padded data."""
        from tvm import tirx

        wraps = self.stride - self.cut % self.stride
        # A division would say the same, but TVM simplifies it wrongly in an index with loops fused.
        return tirx.Select(phase >= wraps, 1, 0) if wraps < self.phases else 0

    def padding(self, outputs: int) -> tuple[int, int]:
        """Return the zeros before and after the data, for so many outputs of each phase; negative if data is unused."""
        before = self.taps - 1 - self.cut // self.stride
        read = outputs + (self.phases - 1 + self.cut % self.stride) // self.stride + self.taps - 1
        return before, read - before - self.size

    def taps_of(self, phase: int) -> list[int]:
        """Return which of the kernel's rows or columns a phase uses, in the order of the data that they multiply."""
        first = (phase + self.cut) % self.stride
        return [first + self.stride * tap for tap in reversed(range(self.taps))]


def axes(w: TransposedConv2d) -> tuple[Axis, Axis]:
    """Return the rows and the columns of a transposed convolution."""
    top, left, *_ = w.padding
    rows = Axis(w.height, w.out_height, w.kernel_height, w.strides[0], top)
    return rows, Axis(w.width, w.out_width, w.kernel_width, w.strides[1], left)


def kernels_of_phases(w: TransposedConv2d, kernel: NDArray[Any]) -> NDArray[Any]:
    """Return the kernels of all phases, `[in, out, phases, taps, phases, taps]`: of the rows, then of the columns."""
    import numpy as np

    rows, columns = axes(w)
    beyond = [(0, axis.taps * axis.stride - axis.kernel) for axis in (rows, columns)]
    whole = np.pad(kernel, [(0, 0), (0, 0), *beyond])
    y, x = (np.array([axis.taps_of(phase) for phase in range(axis.phases)]) for axis in (rows, columns))
    return whole[:, :, y[:, :, None, None], x]
