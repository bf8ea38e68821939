"""What the templates for tensor cores share: a matrix product, tile by tile.

Our own templates, for compute capability 8.0 and later. Rows times columns are summed up over steps, each of which has
`tile_k` channels of one tap of a kernel. A block of threads computes a tile of `tile_m` rows and `tile_n` columns; its
warps divide that between them. Data and weights of a step are copied into shared memory while earlier steps are
computed (`stages`). `split_k` parts of the steps can be summed up by blocks of their own, whose sums a second kernel
adds.

Weights are `[steps, columns, tile_k]`, with columns and channels padded with zeros. There can be several products of
the same shape, such as a convolution's groups or a transposed one's phases; their weights lie one after the other. The
output is float32, so that what follows is computed in it; a model converts it to float16 where the next layer wants
that.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from tophub_registry.records.tensor_cores import TILE
from tophub_registry.templates import cuda
from tophub_registry.templates.mma import PASS_CONFIG
from tophub_registry.templates.mma_schedule import PAD, SUMS_PAD, THREADS, Schedule
from tophub_registry.templates.space import ConfigSpace, knob
from tophub_registry.templates.template import Tensor
from tophub_registry.templates.tensor_intrinsics import WARP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target
    from tophub_registry.templates.mma import Precision

_CAPABILITY = 80
"""The compute capability, in tenths, from which `mma` takes TF32, and copies go on beside the computation."""

MAX_SHARED = 227 * 1024
"""Dynamic shared memory of a block, in bytes, on compute capability 9.0."""

_MAX_SUMS = 128
"""The most sums of a thread that are worth trying: with twice as many, registers are spilled."""

_FEWEST_BLOCKS, _MOST_BLOCKS = 16, 2048
"""Grids outside of this leave a GPU idle, or tile too finely."""

_USUAL_BLOCKS, _USUAL_ROW = 132, 64
"""The blocks of a grid, and the bytes of a row in shared memory, that default configs come near to."""


class Product(NamedTuple):
    """A layer as a matrix product, or as several of the same shape.

    Attributes
    ----------
    rows, columns
        The numbers of outputs along both sides: pixels and channels.
    channels
        The input channels.
    taps
        How many times the channels are summed up: the numbers of the convolution's kernel.
    batch
        How many products there are.
    """

    rows: int
    columns: int
    channels: int
    taps: int = 1
    batch: int = 1


class MmaTemplate(cuda.CudaTemplate):
    """A layer on tensor cores, in one precision."""

    precision: ClassVar[Precision]
    pass_config = PASS_CONFIG
    packs_late = False
    packs_weights: ClassVar[bool] = True
    """Whether the other factor is packed before the kernel runs."""

    @property
    @abstractmethod
    def product(self) -> Product:
        """The layer as a matrix product."""

    @property
    @abstractmethod
    def data(self) -> tuple[int, ...]:
        """The shape of the data, in the kernel's layout."""

    @property
    def taken(self) -> str:
        """The type of the data."""
        return self.precision.dtype

    @property
    @abstractmethod
    def written(self) -> tuple[int, ...]:
        """The shape of the output, in the kernel's layout: rows, in several axes, then columns."""

    @abstractmethod
    def seen(self, batch: Any, row: Any, tap: Any, channel: Any) -> tuple[list[Any], list[Any]]:
        """Return where in the gathered data a row's channel lies for a tap, and the conditions for it to be there.

        `batch` is the product's number.
        """

    @property
    def writes_all(self) -> bool:
        """Whether every row of the product is written to the output."""
        return True

    @abstractmethod
    def output_at(self, at: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Return the product's number, the row and the column of an output."""

    @property
    def gathers(self) -> Sequence[str]:
        """The blocks that copy what can't be read as it lies, 16 bytes at once; each is a kernel of its own."""
        return ()

    def gathered(self, data: Any) -> Any:
        """Return the data as the product reads them."""
        return data

    def other(self, config: Config, weights: Any) -> Any:  # noqa: ARG002  # packed weights lie so
        """Return the other factor, `[steps of all products, columns, tile_k]`: packed weights, or a block `OTHER`."""
        return weights

    def weight(self, other: Any, step: Any, column: Any, channel: Any) -> Any:
        """Return a number of the other factor."""
        return other[step, column, channel]

    def _not_served(self) -> str:
        p, vector, dtype = self.product, self.precision.vector, self.workload.dtype
        if dtype != "float32":
            return f"its type is {dtype}, not float32"
        if p.channels % vector:
            return f"its {p.channels} input channels are no multiple of {vector}"
        return ""

    def _space(self) -> ConfigSpace:
        p = self.product
        sides = [TILE << power for power in range(4)]
        depths = [self.precision.vector * parts for parts in (2, 4, 8, 16)]
        widest = next((depth for depth in depths if depth >= p.channels), depths[-1])
        return ConfigSpace(
            [
                knob("tile_m", sides),
                knob("tile_n", [side for side in sides if side < 2 * max(p.columns, TILE)]),
                knob("tile_k", [depth for depth in depths if depth <= widest]),
                knob("warps_m", [1, 2, 4]),
                knob("warps_n", [1, 2, 4]),
                knob("split_k", [1, 2, 4, 8, 16]),
                knob("stages", [1, 2, 3, 4, 5, 6]),
                knob("raster", [0, 1]),
            ]
        )

    def depth(self, config: Config) -> int:
        """Return how many channels a step adds up."""
        depth: int = config.value("tile_k")
        return depth

    def _steps(self, config: Config) -> int:
        return self.product.taps * -(-self.product.channels // self.depth(config))

    def _blocks(self, config: Config) -> int:
        m, n, parts = (config.value(name) for name in ("tile_m", "tile_n", "split_k"))
        p = self.product
        blocks: int = -(-p.rows // m) * -(-p.columns // n) * p.batch * parts
        return blocks

    def warps(self, config: Config) -> list[int]:
        """Return the numbers of warps along rows and columns of a block's tile."""
        return [config.value(f"warps_{axis}") for axis in "mn"]

    def limits(self, config: Config) -> cuda.CudaLimits:
        m, n, k = (config.value(f"tile_{axis}") for axis in "mnk")
        warps = config.value("warps_m") * config.value("warps_n")
        row = (k + PAD * self.precision.vector) * self.precision.bytes
        shared = config.value("stages") * (m + n) * row
        if config.value("split_k") == 1:
            shared = max(shared, m * (n + SUMS_PAD) * cuda.FLOAT_BYTES)  # the sums, before they are written
        return cuda.CudaLimits((WARP, warps, 1), shared, sums=m * n // (warps * WARP), most_shared_bytes=MAX_SHARED)

    def possible(self, config: Config) -> bool:
        m, n, k = (config.value(f"tile_{axis}") for axis in "mnk")
        limits = self.limits(config)
        copied = math.prod(limits.threads) * self.precision.vector
        steps, parts = self._steps(config), config.value("split_k")
        return (
            m % (TILE * config.value("warps_m")) == n % (TILE * config.value("warps_n")) == 0
            and m * k % copied == n * k % copied == 0
            and steps % parts == 0
            and steps // parts >= config.value("stages")
            and limits.possible
        )

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether the GPU has such tensor cores, the sums fit a thread's registers, and the grid the GPU."""
        return (
            cuda.has_capability(target, _CAPABILITY)
            and self.possible(config)
            and self.limits(config).sums <= _MAX_SUMS
            and (config.value("split_k") == 1 or _FEWEST_BLOCKS <= self._blocks(config) <= _MOST_BLOCKS)
        )

    def default(self, target: Target) -> Config:
        """Return a possible config whose grid has about a block for each multiprocessor of a large GPU."""

        def oddity(index: int) -> float:
            config = self.space.config(index)
            row = config.value("tile_k") * self.precision.bytes
            finer = math.log2(config.value("split_k")) + abs(math.log2(row / _USUAL_ROW))
            return abs(math.log2(self._blocks(config) / _USUAL_BLOCKS)) + finer / 4

        values = {"stages": 3, "warps_m": 2, "warps_n": 2}
        for wanted in (values, {"stages": 2, "warps_m": 2}, {"stages": 2}, {}):
            part = self.space.where(wanted)
            indices = [self.space.find(part.config(index).entity) for index in range(len(part))]
            if fits := [index for index in indices if self.feasible(self.space.config(index), target)]:
                return self.space.config(min(fits, key=oddity))
        return self.space.config(0)

    def suggestion(self, target: Target) -> Config:
        return self.default(target)

    def tensors(self, config: Config) -> list[Tensor]:
        p, dtype = self.product, self.precision.dtype
        columns = rounded_up(p.columns, config.value("tile_n"))
        weights = p.batch * self._steps(config), columns, self.depth(config)
        return [Tensor(self.data, self.taken), Tensor(weights, dtype), Tensor(self.written, self.workload.dtype)]

    def packed(self, config: Config, weights: NDArray[Any]) -> NDArray[Any]:
        """Return weights, `[columns of all products, channels, …]`, in the kernel's layout."""
        import numpy as np

        p, k = self.product, self.depth(config)
        columns, channels = rounded_up(p.columns, config.value("tile_n")), rounded_up(p.channels, k)
        wide = np.zeros((p.batch, columns, channels, p.taps), self.precision.dtype)
        rounded = self.precision.rounded(weights)
        wide[:, : p.columns, : p.channels] = rounded.reshape(p.batch, p.columns, p.channels, p.taps)
        steps = wide.reshape(p.batch, columns, channels // k, k, p.taps).transpose(0, 4, 2, 1, 3)
        return np.ascontiguousarray(steps.reshape(-1, columns, k))

    def computation(self, config: Config) -> list[Any]:
        from tvm import te, tirx

        p, dtype, vector = self.product, self.precision.dtype, self.precision.vector
        k, parts, steps = self.depth(config), config.value("split_k"), self._steps(config)
        rows, columns = rounded_up(p.rows, config.value("tile_m")), rounded_up(p.columns, config.value("tile_n"))
        data, weights = self.placeholders(config)
        gathered, other = self.gathered(data), self.other(config, weights)

        def seen(step: Any, row: Any, channel: Any) -> Any:
            """Return what a row sees of the data in a step, of all products' one after the other."""
            batch, step = step // steps, step % steps
            tap, first = step // (steps // p.taps), step % (steps // p.taps) * k
            at, inside = self.seen(batch, row, tap, first + channel)
            if rows != p.rows:
                inside.append(row < p.rows)
            if p.channels % k:
                inside.append(first + channel // vector * vector < p.channels)  # the same for a whole vector
            value = gathered[tuple(at)]
            return tirx.if_then_else(tirx.all(*inside), value, tirx.const(0, dtype)) if inside else value

        view = te.compute((p.batch * steps, rows, k), seen, name="view")
        step, channel = te.reduce_axis((0, steps // parts), name="step"), te.reduce_axis((0, k), name="channel")

        def product(part: Any, m: Any, n: Any) -> Any:
            """Return the sums of one part of one product's steps."""
            at = part * (steps // parts) + step
            factors = view[at, m, channel], self.weight(other, at, n, channel)
            a, b = (factor.astype("float32") if dtype != "float32" else factor for factor in factors)
            return te.sum(a * b, axis=[step, channel])

        sums = te.compute((p.batch * parts, rows, columns), product, name="sums")
        whole = p.batch, p.rows, p.columns
        if parts == 1:
            # When TVM adds a test for rows that are not written, it drops one that it has for the end of the last tile.
            shape = whole if self.writes_all else sums.shape
            flat = te.compute(shape, lambda b, m, n: sums[b, m, n], name="flat")
        else:
            part = te.reduce_axis((0, parts), name="part")
            total = te.compute(whole, lambda b, m, n: te.sum(sums[b * parts + part, m, n], axis=part), name="total")
            flat = te.compute(whole, lambda b, m, n: total[b, m, n], name="flat")
        return [data, weights, te.compute(self.written, lambda *at: flat[self.output_at(at)], name="output")]

    @property
    def schedule_type(self) -> type[Schedule]:
        """What schedules the kernel."""
        return Schedule

    def apply(self, sch: Any, config: Config) -> None:
        self.schedule_type(sch, config, self).apply(sch.get_sblock("flat"))
        for copy in self.gathers:
            block, thread = sch.split(sch.fuse(*sch.get_loops(sch.get_sblock(copy))), [None, THREADS])
            cuda.bind(sch, blockIdx_x=block, threadIdx_x=thread)


def rounded_up(number: int, unit: int) -> int:
    """Return the smallest multiple of a unit that is at least a number."""
    return -(-number // unit) * unit
