"""`conv2d_nchw_mma_{float16,tf32,3xtf32}.cuda`: convolutions on tensor cores.

Our own templates, for compute capability 8.0 and later. The convolution is an implicit matrix product: pixels of the
output times its channels, summed up over steps, each of which is a tap of the kernel and `tile_k` input channels. A
block of threads computes a tile of `tile_m` pixels and `tile_n` channels; its warps divide that between them. Data and
weights of a step are copied into shared memory while earlier steps are computed (`stages`). `split_k` parts of the
steps can be summed up by blocks of their own, whose sums a second kernel adds.

Data and output are `[N, 1, H, W, C]`, so channels last, written as one block of all channels; weights are
`[steps, out channels, tile_k]`, with both channels padded with zeros. The output is float32, so that what follows is
computed in it; a model converts it to float16 where the next convolution wants that.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from tophub_registry.errors import InputError
from tophub_registry.records.families import family_of
from tophub_registry.templates import cuda
from tophub_registry.templates.mma import PASS_CONFIG, PRECISIONS, SHARED, SIDE, WARP, Precision, intrinsics
from tophub_registry.templates.space import ConfigSpace, knob
from tophub_registry.templates.template import Tensor
from tophub_registry.templates.workloads import Conv2d

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target

_CAPABILITY = 80
"""The compute capability, in tenths, from which `mma` takes TF32, and copies go on beside the computation."""

_MAX_SHARED = 227 * 1024
"""Dynamic shared memory of a block, in bytes, on compute capability 9.0."""

_MAX_SUMS = 128
"""The most sums of a thread that are worth trying: with twice as many, registers are spilled."""

_FEWEST_BLOCKS, _MOST_BLOCKS = 16, 2048
"""Grids outside of this leave a GPU idle, or tile too finely."""

_USUAL_BLOCKS, _USUAL_ROW = 132, 64
"""The blocks of a grid, and the bytes of a row in shared memory, that default configs come near to."""

_PAD = 1
"""By how many vectors of 16 bytes rows in shared memory are apart beyond their length, against bank conflicts."""

_EPILOGUE = 4
"""The channels that a thread writes at once."""

_ADDING_THREADS = 128


class _Conv2dMma(cuda.CudaTemplate):
    """A convolution without groups on tensor cores, in one precision."""

    precision: ClassVar[Precision]
    pass_config = PASS_CONFIG
    packs_late = False
    channels_last = True
    workload: Conv2d

    def __init__(self, args: list[Any]) -> None:
        super().__init__(args)
        if reason := self._not_served():
            raise InputError(f"{self.task} does not serve this layer: {reason}")

    def _not_served(self) -> str:
        """Return why the layer can't be computed; empty if it can."""
        w, vector = self.workload, self.precision.vector
        if w.dtype != "float32":
            return f"its type is {w.dtype}, not float32"
        if w.in_channels % vector:
            return f"its {w.in_channels} input channels are no multiple of {vector}"
        if w.out_channels % _EPILOGUE:
            return f"its {w.out_channels} output channels are no multiple of {_EPILOGUE}"
        return ""

    def _space(self) -> ConfigSpace:
        w = self.workload
        sides = [SIDE << power for power in range(4)]
        depths = [self.precision.vector * parts for parts in (2, 4, 8, 16)]
        widest = next((depth for depth in depths if depth >= w.in_channels), depths[-1])
        return ConfigSpace(
            [
                knob("tile_m", sides),
                knob("tile_n", [side for side in sides if side < 2 * max(w.out_channels, SIDE)]),
                knob("tile_k", [depth for depth in depths if depth <= widest]),
                knob("warps_m", [1, 2, 4]),
                knob("warps_n", [1, 2, 4]),
                knob("split_k", [1, 2, 4, 8, 16]),
                knob("stages", [1, 2, 3, 4, 5, 6]),
                knob("raster", [0, 1]),
            ]
        )

    @property
    def _pixels(self) -> int:
        return self.workload.batch * self.workload.out_height * self.workload.out_width

    def _steps(self, config: Config) -> int:
        w = self.workload
        k: int = config.value("tile_k")
        return w.kernel_height * w.kernel_width * -(-w.in_channels // k)

    def _out_channels(self, config: Config) -> int:
        """Return the output channels, rounded up to tiles."""
        return _rounded_up(self.workload.out_channels, config.value("tile_n"))

    def limits(self, config: Config) -> cuda.CudaLimits:
        m, n, k = (config.value(f"tile_{axis}") for axis in "mnk")
        warps = config.value("warps_m") * config.value("warps_n")
        row = (k + _PAD * self.precision.vector) * self.precision.bytes
        shared = config.value("stages") * (m + n) * row
        if config.value("split_k") == 1:
            shared = max(shared, m * n * cuda.FLOAT_BYTES)  # the sums, before they are written
        return cuda.CudaLimits((WARP, warps, 1), shared, sums=m * n // (warps * WARP), most_shared_bytes=_MAX_SHARED)

    def possible(self, config: Config) -> bool:
        m, n, k = (config.value(f"tile_{axis}") for axis in "mnk")
        limits = self.limits(config)
        copied = math.prod(limits.threads) * self.precision.vector
        steps, parts = self._steps(config), config.value("split_k")
        return (
            m % (SIDE * config.value("warps_m")) == n % (SIDE * config.value("warps_n")) == 0
            and m * k % copied == n * k % copied == 0
            and steps % parts == 0
            and steps // parts >= config.value("stages")
            and limits.possible
        )

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether the GPU has such tensor cores, the sums fit a thread's registers, and the grid the GPU."""
        family = family_of(target) if target.kind == "cuda" else None
        if family is not None and int(family.removeprefix("sm_")) < _CAPABILITY:
            return False
        blocks = -(-self._pixels // config.value("tile_m")) * self._out_channels(config) // config.value("tile_n")
        return (
            self.possible(config)
            and self.limits(config).sums <= _MAX_SUMS
            and (_FEWEST_BLOCKS <= blocks * config.value("split_k") <= _MOST_BLOCKS or config.value("split_k") == 1)
        )

    def default(self, target: Target) -> Config:
        """Return a possible config whose grid has about a block for each multiprocessor of a large GPU."""

        def oddity(index: int) -> float:
            config = self.space.config(index)
            m, n, k, parts = (config.value(name) for name in ("tile_m", "tile_n", "tile_k", "split_k"))
            blocks = -(-self._pixels // m) * (self._out_channels(config) // n) * parts
            row = k * self.precision.bytes
            return abs(math.log2(blocks / _USUAL_BLOCKS)) + (math.log2(parts) + abs(math.log2(row / _USUAL_ROW))) / 4

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
        w, dtype = self.workload, self.precision.dtype
        return [
            Tensor((w.batch, 1, w.height, w.width, w.in_channels), dtype),
            Tensor((self._steps(config), self._out_channels(config), config.value("tile_k")), dtype),
            Tensor((w.batch, 1, w.out_height, w.out_width, w.out_channels), w.dtype),
        ]

    def pack(self, config: Config, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        import numpy as np

        w, k = self.workload, config.value("tile_k")
        data, kernel = inputs
        taps = w.kernel_height * w.kernel_width
        channels = _rounded_up(w.in_channels, k)
        wide = np.zeros((self._out_channels(config), channels, taps), self.precision.dtype)
        wide[: w.out_channels, : w.in_channels] = kernel.reshape(w.out_channels, w.in_channels, taps)
        steps = wide.reshape(-1, channels // k, k, taps).transpose(3, 1, 0, 2)
        packed = np.ascontiguousarray(steps.reshape(self._steps(config), -1, k))
        return [data.transpose(0, 2, 3, 1)[:, None].astype(self.precision.dtype), packed]

    def unpack(self, config: Config, output: NDArray[Any]) -> NDArray[Any]:  # noqa: ARG002  # the same for all
        return output[:, 0].transpose(0, 3, 1, 2)

    def computation(self, config: Config) -> list[Any]:
        from tvm import te, tirx

        w, dtype = self.workload, self.precision.dtype
        k, parts, steps = config.value("tile_k"), config.value("split_k"), self._steps(config)
        slices = steps // (w.kernel_height * w.kernel_width)  # of the input channels
        pixels, vector = self._pixels, self.precision.vector
        rows = _rounded_up(pixels, config.value("tile_m"))
        columns = self._out_channels(config)
        data, weights = self.placeholders(config)

        def seen(step: Any, pixel: Any, channel: Any) -> Any:
            """Return what a pixel of the output sees of the data in a step."""
            n, y, x = pixel // (w.out_height * w.out_width), pixel // w.out_width % w.out_height, pixel % w.out_width
            tap, of_all = step // slices, step % slices * k
            in_y = y * w.strides[0] + tap // w.kernel_width * w.dilation[0] - w.padding[0]
            in_x = x * w.strides[1] + tap % w.kernel_width * w.dilation[1] - w.padding[1]
            inside = []
            if rows != pixels:
                inside.append(pixel < pixels)
            if any(w.padding):
                inside += [in_y >= 0, in_y < w.height, in_x >= 0, in_x < w.width]
            if w.in_channels % k:
                inside.append(of_all + channel // vector * vector < w.in_channels)  # the same for a whole vector
            value = data[n, 0, in_y, in_x, of_all + channel]
            return tirx.if_then_else(tirx.all(*inside), value, tirx.const(0, dtype)) if inside else value

        view = te.compute((steps, rows, k), seen, name="view")
        step, channel = te.reduce_axis((0, steps // parts), name="step"), te.reduce_axis((0, k), name="channel")

        def product(part: Any, m: Any, n: Any) -> Any:
            at = part * (steps // parts) + step
            factors = view[at, m, channel], weights[at, n, channel]
            one, other = (factor.astype("float32") if dtype != "float32" else factor for factor in factors)
            return te.sum(one * other, axis=[step, channel])

        sums = te.compute((parts, rows, columns), product, name="sums")
        if parts == 1:
            flat = te.compute((pixels, w.out_channels), lambda m, n: sums[0, m, n], name="flat")
        else:
            part = te.reduce_axis((0, parts), name="part")
            total = te.compute((pixels, w.out_channels), lambda m, n: te.sum(sums[part, m, n], axis=part), name="total")
            flat = te.compute((pixels, w.out_channels), lambda m, n: total[m, n], name="flat")
        shape = self.tensors(config)[-1].shape
        output = te.compute(
            shape, lambda n, _, y, x, c: flat[(n * w.out_height + y) * w.out_width + x, c], name="conv2d_nchw_mma"
        )
        return [data, weights, output]

    def apply(self, sch: Any, config: Config) -> None:
        flat = sch.get_sblock("flat")
        sch.reverse_compute_inline(sch.get_sblock("conv2d_nchw_mma"))
        _Schedule(sch, config, self.precision).apply(flat)


def _rounded_up(number: int, unit: int) -> int:
    return -(-number // unit) * unit


class _Schedule:
    """The schedule of the kernel, and of the one that adds its parts."""

    def __init__(self, sch: Any, config: Config, precision: Precision) -> None:
        self._sch = sch
        self._precision = precision
        self._names = intrinsics(precision)
        self._tile = [config.value(f"tile_{axis}") for axis in "mn"]
        self._warps = [config.value(f"warps_{axis}") for axis in "mn"]
        self._parts, self._stages = config.value("split_k"), config.value("stages")
        self._raster = config.value("raster")

    def apply(self, output: Any) -> None:
        sch, depth = self._sch, self._precision.depth
        product = sch.get_sblock("sums")
        _, m, n, step, k = sch.get_loops(product)
        m, mi = sch.split(m, [None, SIDE])
        n, ni = sch.split(n, [None, SIDE])
        k, ki = sch.split(k, [None, depth])
        sch.reorder(m, n, step, k, mi, ni, ki)
        tile = sch.blockize(mi)
        block, warp, step, k = self._divide(tile)
        view = sch.get_sblock("view")
        sch.set_scope(view, 0, SHARED)
        self._copy(view, step)
        self._copy(sch.cache_read(tile, 1, SHARED), step)
        loads = [sch.cache_read(tile, place, "local") for place in range(2)]
        for load in loads:
            sch.compute_at(load, k)
        sch.unroll(k)
        store = sch.cache_write(tile, 0, "local")
        if self._parts == 1:
            sch.set_scope(store, 0, SHARED)
        sch.reverse_compute_at(store, warp)
        if self._parts == 1:
            sch.reverse_compute_at(output, block)
        tiles = [self._in_tiles(load, depth) for load in loads]
        stored = self._in_tiles(store, SIDE)
        clear = sch.decompose_reduction(tile, step)
        for loop, name in zip(tiles, (self._names.data, self._names.weights), strict=True):
            sch.tensorize(loop, name)
        sch.tensorize(sch.get_loops(product)[-3], self._names.add)
        sch.tensorize(sch.get_loops(sch.get_sblock("sums_init"))[-2], self._names.clear)
        sch.tensorize(stored, self._names.store_shared if self._parts == 1 else self._names.store_global)
        for outer in (tile, clear):
            for loop in sch.get_loops(outer)[-2:]:
                sch.unroll(loop)
        if self._parts == 1:
            self._write(output)
        else:
            self._add_parts(output)
        if self._stages > 1:
            sch.annotate(step, "software_pipeline_stage", [0, 0, self._stages - 1])
            sch.annotate(step, "software_pipeline_order", [0, 1, 2])
            sch.annotate(step, "software_pipeline_async_stages", [0])

    def _divide(self, tile: Any) -> tuple[Any, Any, Any, Any]:
        """Divide the tiles of sums between blocks and warps; return their loops, and those over steps and channels."""
        sch = self._sch
        part, m, n, step, k = sch.get_loops(tile)
        (bm, wm, fm), (bn, wn, fn) = (
            sch.split(loop, [None, warps, side // warps // SIDE])
            for loop, warps, side in zip((m, n), self._warps, self._tile, strict=True)
        )
        sch.reorder(part, bm, bn, wm, wn, step, k, fm, fn)
        warp = sch.fuse(wm, wn)
        x, y = (bm, bn) if self._raster else (bn, bm)
        cuda.bind(sch, blockIdx_z=part, blockIdx_y=y, blockIdx_x=x, threadIdx_y=warp)
        return bn, warp, step, k

    def _copy(self, block: Any, step: Any) -> None:
        """Let all threads copy a step's data or weights into shared memory, 16 bytes at a time."""
        sch, vector = self._sch, self._precision.vector
        sch.compute_at(block, step)
        self._by_all_threads(block, vector)
        sch.storage_align(block, 0, axis=1, factor=2 * vector, offset=_PAD * vector)

    def _by_all_threads(self, block: Any, vector: int) -> None:
        sch = self._sch
        fused = sch.fuse(*sch.get_loops(block)[-2:])
        again, y, x, numbers = sch.split(fused, [None, math.prod(self._warps), WARP, vector])
        cuda.bind(sch, threadIdx_y=y, threadIdx_x=x)
        sch.vectorize(numbers)
        sch.unroll(again)

    def _in_tiles(self, block: Any, width: int) -> Any:
        """Divide a block's last two loops into tiles of 16 rows; return the outer loop of a tile."""
        sch = self._sch
        i, j = sch.get_loops(block)[-2:]
        outer_i, inner_i = sch.split(i, [None, SIDE])
        outer_j, inner_j = sch.split(j, [None, width])
        sch.reorder(outer_i, outer_j, inner_i, inner_j)
        sch.unroll(outer_i)
        sch.unroll(outer_j)
        return inner_i

    def _write(self, output: Any) -> None:
        """Let all threads write a block's outputs from shared memory."""
        outputs = math.prod(self._tile) // (math.prod(self._warps) * WARP)
        self._by_all_threads(output, min(_EPILOGUE, outputs))

    def _add_parts(self, output: Any) -> None:
        """Schedule the second kernel, which adds the parts."""
        sch = self._sch
        total = sch.get_sblock("total")
        sch.set_scope(total, 0, "local")
        fused = sch.fuse(*sch.get_loops(output))
        block, thread, numbers = sch.split(fused, [None, _ADDING_THREADS, _EPILOGUE])
        cuda.bind(sch, blockIdx_x=block, threadIdx_x=thread)
        sch.vectorize(numbers)
        sch.compute_at(total, thread)
        *_, number, part = sch.get_loops(total)
        sch.reorder(part, number)
        sch.vectorize(number)
        sch.decompose_reduction(total, part)
        sch.unroll(part)


class Conv2dNCHWMmaFloat16(_Conv2dMma):
    """In float16, with sums in float32."""

    task = "conv2d_nchw_mma_float16.cuda"
    parse = staticmethod(Conv2d.parse)
    precision = PRECISIONS["float16"]
    tolerance = 5e-3


class Conv2dNCHWMmaTF32(_Conv2dMma):
    """In TF32: factors are rounded to ten bits."""

    task = "conv2d_nchw_mma_tf32.cuda"
    parse = staticmethod(Conv2d.parse)
    precision = PRECISIONS["tf32"]
    tolerance = 5e-3


class Conv2dNCHWMma3xTF32(_Conv2dMma):
    """In 3xTF32: each factor is the sum of two of TF32, which is nearly as exact as float32."""

    task = "conv2d_nchw_mma_3xtf32.cuda"
    parse = staticmethod(Conv2d.parse)
    precision = PRECISIONS["3xtf32"]
    tolerance = 2e-5
