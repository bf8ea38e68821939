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
from tophub_registry.templates.mma import PASS_CONFIG, asynchronous, intrinsics
from tophub_registry.templates.space import ConfigSpace, knob
from tophub_registry.templates.template import Tensor
from tophub_registry.templates.tensor_intrinsics import SHARED, WARP, function

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

_PAD = 1
"""By how many vectors of 16 bytes rows in shared memory are apart beyond their length, against bank conflicts."""

SUMS_PAD = 8
"""By how many sums rows of them in shared memory are apart beyond their length, against bank conflicts."""

_AT_ONCE = 8
"""How many threads write vectors of 16 bytes to shared memory at once, if all go to different banks."""

_FEWEST_OVERLAPPING = 3
"""The stages from which copies begin after a step's products: with two, the next step would have to wait for them."""

_EPILOGUE = 4
"""The most channels that a thread writes at once."""

_THREADS = 128
"""Threads of a block that gathers data, or adds parts."""

OTHER = "other"


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
        row = (k + _PAD * self.precision.vector) * self.precision.bytes
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
            factors = view[at, m, channel], other[at, n, channel]
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
            block, thread = sch.split(sch.fuse(*sch.get_loops(sch.get_sblock(copy))), [None, _THREADS])
            cuda.bind(sch, blockIdx_x=block, threadIdx_x=thread)


def rounded_up(number: int, unit: int) -> int:
    """Return the smallest multiple of a unit that is at least a number."""
    return -(-number // unit) * unit


def _annotations(stages: list[int], order: list[int]) -> dict[str, list[int]]:
    """Return the annotations of a loop that TVM is to pipeline; the first stage's statements are asynchronous."""
    pipeline = {"software_pipeline_stage": stages, "software_pipeline_order": order}
    return {**pipeline, "software_pipeline_async_stages": [0]}


class Schedule:
    """The schedule of the kernel, and of the one that adds its parts."""

    _copying = function("mma.cuh", "copy")

    def __init__(self, sch: Any, config: Config, template: MmaTemplate) -> None:
        self._sch = sch
        self._written = math.gcd(template.product.columns, _EPILOGUE)
        self._packed = template.packs_weights
        self._precision = template.precision
        self._tile = [config.value(f"tile_{axis}") for axis in "mn"]
        self._depth = template.depth(config)
        self._warps = template.warps(config)
        self._parts, self._stages = config.value("split_k"), config.value("stages")
        self._raster = config.value("raster")

    def apply(self, output: Any) -> None:
        sch, depth = self._sch, self._precision.depth
        names = intrinsics(self._precision, packed=self._packed)
        product = sch.get_sblock("sums")
        _, m, n, step, k = sch.get_loops(product)
        m, mi = sch.split(m, [None, TILE])
        n, ni = sch.split(n, [None, TILE])
        k, ki = sch.split(k, [None, depth])
        sch.reorder(m, n, step, k, mi, ni, ki)
        tile = sch.blockize(mi)
        block, warp, step, k = self._divide(tile)
        self._copy_factors(tile, step)
        loads = [sch.cache_read(tile, place, "local") for place in range(2)]
        for load in loads:
            sch.compute_at(load, k)
        sch.unroll(k)
        store = self._move_sums(tile, warp, output, block)
        tiles = [cuda.in_tiles(sch, load, (TILE, depth)) for load in loads]
        stored = cuda.in_tiles(sch, store, (TILE, TILE))
        clear = sch.decompose_reduction(tile, step)
        for loop, name in zip(tiles, (names.data, names.weights), strict=True):
            sch.tensorize(loop, name)
        sch.tensorize(sch.get_loops(product)[-3], names.add)
        sch.tensorize(sch.get_loops(sch.get_sblock("sums_init"))[-2], names.clear)
        self._store(stored, names.store_shared if self._parts == 1 else names.store_global)
        for outer in (tile, clear):
            for loop in sch.get_loops(outer)[-2:]:
                sch.unroll(loop)
        self._finish(output, step)

    def _move_sums(self, tile: Any, warp: Any, output: Any, block: Any) -> Any:
        """Let a block write outputs from shared memory, or parts of the sums; return the block that stores the sums."""
        sch = self._sch
        store = sch.cache_write(tile, 0, "local")
        if self._parts == 1:
            sch.set_scope(store, 0, SHARED)
        sch.reverse_compute_at(store, warp)
        if self._parts == 1:
            sch.reverse_compute_at(output, block, preserve_unit_loops=True)
        sch.reverse_compute_inline(sch.get_sblock("output"))
        return store

    def _finish(self, output: Any, step: Any) -> None:
        """Schedule what is done with the sums, and the pipeline."""
        if self._parts == 1:
            self._write(output)
        else:
            self._add_parts(output)
        self._pipeline(step)

    def _pipeline(self, step: Any) -> None:
        """Let a step's copies go on while earlier steps are computed."""
        if self._stages >= _FEWEST_OVERLAPPING:
            self._overlap(step)
        elif self._stages > 1:
            for name, value in _annotations([0, 0, self._stages - 1], [0, 1, 2]).items():
                self._sch.annotate(step, name, value)

    def _overlap(self, step: Any) -> None:
        """Compute a step's products first, then begin the copies for a later step, with one barrier before both.

        At the barrier, all warps have read the data of the step before, which the copies overwrite. The addresses of
        what is copied, and whether it is padding, are computed while tensor cores work.
        """
        from tvm import tirx
        from tvm.script import tirx as T  # noqa: N812  # as TVM script calls it

        loop, last = self._sch.get(step), self._stages - 1
        *copies, products = loop.body.seq
        wait = tirx.Evaluate(T.ptx.cp.async_.wait_group(last - 1))  # in this order, TVM would wait for too few copies
        after = self._after_copies()
        body = tirx.SeqStmt([*(asynchronous(copy, self._copying) for copy in copies), wait, products, *after])
        more = range(4, 4 + len(after))
        notes = _annotations([0, 0, last, last, *(last for _ in more)], [2, 3, 0, 1, *more])
        pipelined = tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body, annotations=notes)
        self._sch.state.replace(self._sch.get_sref(step), pipelined)

    def _after_copies(self) -> list[Any]:
        """Return what a step does when it has begun a later step's copies."""
        return []

    def _divide(self, tile: Any) -> tuple[Any, Any, Any, Any]:
        """Divide the tiles of sums between blocks and warps; return their loops, and those over steps and channels."""
        sch = self._sch
        part, m, n, step, k = sch.get_loops(tile)
        (bm, wm, fm), (bn, wn, fn) = (
            sch.split(loop, [None, warps, side // warps // TILE])
            for loop, warps, side in zip((m, n), self._warps, self._tile, strict=True)
        )
        sch.reorder(part, bm, bn, wm, wn, step, k, fm, fn)
        warp = sch.fuse(wm, wn)
        self._bind(part, bm, bn, warp)
        return bn, warp, step, k

    def _bind(self, part: Any, block_m: Any, block_n: Any, warp: Any) -> None:
        x, y = (block_m, block_n) if self._raster else (block_n, block_m)
        cuda.bind(self._sch, blockIdx_z=part, blockIdx_y=y, blockIdx_x=x, threadIdx_y=warp)

    def _copy_factors(self, tile: Any, step: Any) -> None:
        sch = self._sch
        for name in ("view",) if self._packed else ("view", OTHER):
            seen = sch.get_sblock(name)
            sch.set_scope(seen, 0, SHARED)
            self._copy(seen, step)
        if self._packed:
            self._copy(sch.cache_read(tile, 1, SHARED), step)

    def _copy(self, block: Any, step: Any) -> None:
        """Let all threads copy a step's data or weights into shared memory, 16 bytes at a time."""
        sch, vector = self._sch, self._precision.vector
        sch.compute_at(block, step)
        row, channel = sch.get_loops(block)[-2:]
        across = self._depth // vector
        # Of short rows, as padded, those that are `across` apart lie in different banks.
        row, far, near = sch.split(row, [None, max(1, _AT_ONCE // across), min(across, _AT_ONCE)])
        sch.reorder(row, near, far, channel)
        self._by_all_threads([row, near, far, channel], vector)
        sch.storage_align(block, 0, axis=1, factor=2 * vector, offset=_PAD * vector)

    def _by_all_threads(self, loops: Sequence[Any], vector: int) -> None:
        sch = self._sch
        fused = sch.fuse(*loops)
        again, y, x, numbers = sch.split(fused, [None, math.prod(self._warps), WARP, vector])
        cuda.bind(sch, threadIdx_y=y, threadIdx_x=x)
        sch.vectorize(numbers)
        sch.unroll(again)

    def _store(self, tile: Any, name: str) -> None:
        """Let a warp write a tile of sums."""
        sch = self._sch
        block = sch.blockize(tile)
        if self._parts == 1:
            sch.storage_align(block, 0, axis=1, factor=TILE, offset=SUMS_PAD)
        sch.tensorize(block, name)

    def _write(self, output: Any) -> None:
        """Let all threads write a block's outputs from shared memory."""
        outputs = math.prod(self._tile) // (math.prod(self._warps) * WARP)
        self._by_all_threads(self._sch.get_loops(output)[-2:], min(self._written, outputs))

    def _add_parts(self, output: Any) -> None:
        """Schedule the second kernel, which adds the parts."""
        sch = self._sch
        total = sch.get_sblock("total")
        sch.set_scope(total, 0, "local")
        batch, m, n = sch.get_loops(output)
        columns = int(sch.get(n).extent) // self._written
        across = min(_THREADS, 1 << (columns - 1).bit_length())  # the next power of two
        m, row = sch.split(m, [None, _THREADS // across])
        n, column, numbers = sch.split(n, [None, across, self._written])
        sch.reorder(batch, m, n, row, column, numbers)
        cuda.bind(sch, blockIdx_x=sch.fuse(batch, m, n), threadIdx_y=row, threadIdx_x=column)
        sch.vectorize(numbers)
        sch.compute_at(total, column)
        *number, part = sch.get_loops(total)[3:]
        for loop in number:  # none if a thread adds up one number
            sch.reorder(part, loop)
            sch.vectorize(loop)
        sch.decompose_reduction(total, part)
        sch.unroll(part)
