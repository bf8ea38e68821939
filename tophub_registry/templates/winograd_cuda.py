"""What Winograd's convolutions on CUDA devices share: three kernels for data transform, batched product, and output.

The kernel is transformed beforehand, to `[a, a, C, O]` for tiles of `a` times `a` data. AutoTVM does not measure that,
since it is done once, when a model is compiled. Tiles extend over the last axes of the image, two or three. Over an
axis before these, the depth of images whose kernels are no cubes, the products are summed up directly.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from tophub_registry.templates import cuda
from tophub_registry.templates.convolution import pad
from tophub_registry.templates.convolution_workloads import ConvNd
from tophub_registry.templates.template import Tensor
from tophub_registry.templates.winograd import Matrix, saving, transforms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from tophub_registry.records.record import Config

TAPS = range(3, 8)
"""The kernels' sizes."""

_TRANSFORM_THREADS = 128


class WinogradCuda(cuda.CudaTemplate):
    """A convolution without groups, by tiles of outputs: two, or four if the data's height is a multiple of eight.

    Attributes
    ----------
    axes
        The axes that a tile extends over, the last ones.
    planes
        The axes before them.
    outputs, size
        A tile of outputs, and of data, along each axis.
    counts, tiles
        The tiles along each axis, and those of all images.
    """

    workload: ConvNd

    def __init__(self, args: list[Any]) -> None:
        super().__init__(args)
        w = self.workload
        self.axes = self._axes()
        self.planes = len(w.taps) - self.axes
        self.outputs = 4 if w.height % 8 == 0 else 2
        self.size = self.outputs + w.kernel_width - 1
        self.counts = tuple(-(-length // self.outputs) for length in w.out_size[self.planes :])
        self.tiles = w.batch * math.prod(self.counts)

    @abstractmethod
    def _axes(self) -> int:
        """Return how many axes a tile extends over."""

    def saving(self, config: Config) -> float:  # noqa: ARG002  # the same for every config
        return saving(self.outputs, self.workload.kernel_width, self.axes)

    def tensors(self, config: Config) -> list[Tensor]:
        w = self.workload
        data, _, output = super().tensors(config)
        depth = w.taps[: self.planes]
        return [data, Tensor((*[self.size] * self.axes, *depth, w.in_channels, w.out_channels), w.dtype), output]

    def pack(self, config: Config, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:  # noqa: ARG002
        import numpy as np

        data, kernel = inputs
        g = np.array(self._matrices.kernel, dtype=np.float64)
        kept, tile, taps = "z"[: self.planes], "abd"[: self.axes], "uvw"[: self.axes]
        matrices = ",".join(f"{one}{other}" for one, other in zip(tile, taps, strict=True))
        sums = f"{matrices},oc{kept}{taps}->{tile}{kept}co"
        transformed = np.einsum(sums, *[g] * self.axes, kernel.astype(np.float64), optimize=True)
        return [data, transformed.astype(kernel.dtype)]

    @property
    def _matrices(self) -> Any:
        return transforms(self.outputs, self.workload.kernel_width)

    def apply(self, sch: Any, config: Config) -> None:
        for matrix in ("A", "B"):
            sch.compute_inline(sch.get_sblock(matrix))
        self._schedule_transform(sch)
        self._schedule_product(sch, config)
        self._schedule_output(sch)

    def _schedule_transform(self, sch: Any) -> None:
        tile, *stages = map(sch.get_sblock, ("input_tile", *_names("data", self.axes)))
        sch.compute_inline(sch.get_sblock("data_pad"))
        copy = sch.cache_write(stages[-1], 0, "local")
        for block in (tile, *stages[:-1]):
            sch.set_scope(block, 0, "local")
        loops = sch.get_loops(copy)
        places, others = loops[: self.axes], loops[self.axes :]
        sch.reorder(*others, *places)
        blocks, thread = sch.split(sch.fuse(*others), [None, _TRANSFORM_THREADS])
        cuda.bind(sch, blockIdx_x=blocks, threadIdx_x=thread)
        for block in reversed((tile, *stages)):
            sch.compute_at(block, thread, preserve_unit_loops=True)
        for number, stage in enumerate(stages):
            *its, reduction = sch.get_loops(stage)
            last = len(its) - len(others) if number == self.axes - 1 else len(its)
            self._unroll(sch, its[last - self.axes : last], number, reduction)

    def _unroll(self, sch: Any, places: Sequence[Any], number: int, reduction: Any) -> None:
        """Unroll a transform along an axis: its matrix's numbers are then known for each step.

        A tile over two axes is unrolled altogether, and stays in registers. One over three is too large for that.
        """
        _unroll(sch, [*(places if self.axes == 2 else places[number : number + 1]), reduction])  # noqa: PLR2004

    def _schedule_product(self, sch: Any, config: Config) -> None:
        product = sch.get_sblock("bgemm")
        copy, shared = cuda.in_registers(sch, product)
        *places, y, x = sch.get_loops(copy)
        bz, vz, tz, zi = cuda.tile(sch, sch.fuse(*places), config, "tile_b")
        by, vy, ty, yi = cuda.tile(sch, y, config, "tile_y")
        bx, vx, tx, xi = cuda.tile(sch, x, config, "tile_x")
        sch.reorder(bz, by, bx, vz, vy, vx, tz, ty, tx, zi, yi, xi)
        cuda.bind(sch, blockIdx_z=bz, blockIdx_y=by, blockIdx_x=bx)
        cuda.bind_virtual(sch, [vz, vy, vx])
        cuda.bind(sch, threadIdx_z=tz, threadIdx_y=ty, threadIdx_x=tx)
        sch.compute_at(product, tx, preserve_unit_loops=True)
        *inner_places, rc = sch.get_loops(product)[-self.axes - 3 :]
        outer, inner = cuda.tile(sch, rc, config, "tile_rc")
        sch.reorder(outer, inner, *inner_places)
        threads = cuda.threads_of(config, {"x": "tile_x", "y": "tile_y", "z": "tile_b"})
        for load in shared:
            cuda.fetch(sch, load, outer, threads, contiguous=False)
        cuda.unroll(sch, bz, config)
        sch.decompose_reduction(product, outer)

    def _schedule_output(self, sch: Any) -> None:
        *stages, output = map(sch.get_sblock, (*_names("output", self.axes), "output"))
        for block in stages:
            sch.set_scope(block, 0, "local")
        loops = sch.get_loops(output)
        others, places = loops[: -self.axes], loops[-self.axes :]
        outer, inner = zip(*(sch.split(loop, [None, self.outputs]) for loop in places), strict=True)
        sch.reorder(*others, *outer, *inner)
        blocks, thread = sch.split(sch.fuse(*others, *outer), [None, _TRANSFORM_THREADS])
        cuda.bind(sch, blockIdx_x=blocks, threadIdx_x=thread)
        for number, block in reversed([*enumerate(stages)]):
            sch.compute_at(block, thread, preserve_unit_loops=True)
            *its, reduction = sch.get_loops(block)
            self._unroll(sch, its[-self.axes :], number, reduction)

    def computation(self, config: Config) -> list[Any]:
        data, kernel = self.placeholders(config)
        product = self._product(kernel, self._transformed(data))
        return [data, kernel, self._output(product)]

    def _transformed(self, data: Any) -> Any:
        """Return the transformed data, `[a, a, C, …, tiles]`."""
        from tvm import te

        w, m, size, axes, planes = self.workload, self.outputs, self.size, self.axes, self.planes
        before = [front for front, _ in w.margins]
        after = [back for _, back in w.margins[:planes]]
        # The last tiles reach beyond the data and its padding.
        lengths = zip(self.counts, w.taps[planes:], w.size[planes:], before[planes:], strict=True)
        after += [count * m + taps - 1 - length - front for count, taps, length, front in lengths]
        padded = pad(data, (*before, *after))
        matrix = _constant(self._matrices.data, w.dtype, "B")

        def place(c: Any, *its: Any) -> Any:
            *depth, p = its[: planes + 1]
            image, *tile = _split_index(p, self.counts)
            places = (te.indexmod(each, count) for each, count in zip(tile, self.counts, strict=True))
            return padded(image, c, *depth, *(one * m + a for one, a in zip(places, its[planes + 1 :], strict=True)))

        depth = padded.shape[2 : 2 + planes]
        value = te.compute((w.in_channels, *depth, self.tiles, *[size] * axes), place, name="input_tile")
        # One axis after the other: less arithmetic than all at once.
        *names, last = _names("data", axes)
        for number, name in enumerate(names):
            value = te.compute(value.shape, _transform(value, matrix, len(value.shape) - axes + number), name=name)
        transform = _transform(value, matrix, len(value.shape) - 1)

        def moved(*its: Any) -> Any:
            return transform(*its[axes:], *its[:axes])

        return te.compute((*[size] * axes, *value.shape[:-axes]), moved, name=last)

    def _product(self, kernel: Any, data: Any) -> Any:
        """Return the products of transformed kernel and data, `[a, a, O, …, tiles]`."""
        from tvm import te

        w, axes = self.workload, self.axes
        rc = te.reduce_axis((0, w.in_channels), name="rc")
        depth = [te.reduce_axis((0, taps), name="rz") for taps in w.taps[: self.planes]]

        def product(*its: Any) -> Any:
            places, (co, *out, p) = its[:axes], its[axes:]
            seen = (z * stride + r for z, stride, r in zip(out, w.strides, depth, strict=False))
            return te.sum(kernel(*places, *depth, rc, co) * data(*places, rc, *seen, p), axis=[rc, *depth])

        shape = (*[self.size] * axes, w.out_channels, *w.out_size[: self.planes], self.tiles)
        return te.compute(shape, product, name="bgemm")

    def _output(self, product: Any) -> Any:
        """Return the output, transformed back."""
        from tvm import te

        w, m, axes, planes = self.workload, self.outputs, self.axes, self.planes
        matrix = _constant(self._matrices.output, w.dtype, "A")
        first = (w.batch, w.out_channels, *w.out_size[:planes], *self.counts)

        def of_product(*its: Any) -> Any:
            n, co, *rest = its[: len(first)]
            depth, tile = rest[:planes], rest[planes:]
            p = n
            for one, count in zip(tile, self.counts, strict=True):
                p = p * count + one
            return product(*its[len(first) :], co, *depth, p)

        value: Any = of_product
        for number, name in enumerate(_names("output", axes)):
            shape = (*first, *[m] * (number + 1), *[self.size] * (axes - number - 1))
            value = te.compute(shape, _transform(value, matrix, len(first) + number), name=name)

        def output(n: Any, co: Any, *places: Any) -> Any:
            depth, inner = places[:planes], places[planes:]
            tile, within = ([one(each, m) for each in inner] for one in (te.indexdiv, te.indexmod))
            return value(n, co, *depth, *tile, *within)

        return te.compute(w.output, output, name="output")


def _names(of: str, axes: int) -> list[str]:
    """Return the names of the blocks that transform along one axis after the other."""
    return [f"{of}_transform_{number}" for number in range(axes)]


def _split_index(index: Any, counts: Sequence[int]) -> list[Any]:
    """Return how often an index counts an image, and each of its axes."""
    from tvm import te

    return [te.indexdiv(index, math.prod(counts[number:])) for number in range(len(counts))] + [index]


def _transform(value: Any, matrix: Any, at: int) -> Callable[..., Any]:
    """Return the `te` expression of a tensor that is multiplied by a matrix along one axis."""
    from tvm import te

    r = te.reduce_axis((0, matrix.shape[0]), name="r")

    def transformed(*its: Any) -> Any:
        return te.sum(value(*its[:at], r, *its[at + 1 :]) * matrix[r, its[at]], axis=r)

    return transformed


def _constant(matrix: Matrix, dtype: str, name: str) -> Any:
    """Return a matrix as a `te` computation, which becomes constants if the loops over it are unrolled."""
    from tvm import te, tirx

    def entry(row: Any, column: Any) -> Any:
        value = tirx.const(0.0, dtype)
        for i, numbers in enumerate(matrix):
            for j, number in enumerate(numbers):
                value = tirx.Select(tirx.all(row == i, column == j), tirx.const(float(number), dtype), value)
        return value

    return te.compute((len(matrix), len(matrix[0])), entry, name=name)


def _unroll(sch: Any, loops: list[Any]) -> None:
    # With the reduction unrolled too, the condition of its initialisation is known for each step.
    for loop in loops:
        sch.unroll(loop)
