"""`conv2d_nchw_winograd.cuda`: Winograd's convolution in three kernels: data transform, batched product, output.

The kernel is transformed beforehand, to `[a, a, C, O]` for tiles of `a` times `a` data. AutoTVM does not measure that,
since it is done once, when a model is compiled. Space and schedule are those of TVM's `topi/cuda/conv2d_winograd.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.errors import InputError
from tophub_registry.templates import cuda
from tophub_registry.templates.convolution import pad
from tophub_registry.templates.space import ConfigSpace, split
from tophub_registry.templates.template import Tensor
from tophub_registry.templates.winograd import Matrix, saving, transforms
from tophub_registry.templates.workloads import Conv2d

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tophub_registry.records.record import Config

_TRANSFORM_THREADS = 128
_TAPS = range(3, 8)


class Conv2dNCHWWinogradCuda(cuda.CudaTemplate):
    """A convolution with a square kernel, without groups, strides and dilation."""

    task = "conv2d_nchw_winograd.cuda"
    parse = staticmethod(Conv2d.parse)
    workload: Conv2d

    def __init__(self, args: list[Any]) -> None:
        super().__init__(args)
        w = self.workload
        if w.kernel_height != w.kernel_width or w.kernel_width not in _TAPS or w.strides + w.dilation != (1, 1, 1, 1):
            raise InputError(
                f"Winograd's convolution needs a square kernel of 3 to 7, without strides and dilation: {args!r}"
            )
        self.outputs = 4 if w.height % 8 == 0 else 2
        self.size = self.outputs + w.kernel_width - 1
        self.rows, self.columns = -(-w.out_height // self.outputs), -(-w.out_width // self.outputs)
        self.tiles = w.batch * self.rows * self.columns

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                split("tile_b", self.size**2, parts=4, keep=lambda size: size[1:] == [1, 1, 1]),
                *cuda.tile_knobs(4, y=w.out_channels, x=self.tiles),
                *cuda.tile_knobs(2, rc=w.in_channels),
                *cuda.unroll_knobs(0, 128, 1500),
            ]
        )

    def saving(self, config: Config) -> float:  # noqa: ARG002  # the same for every config
        return saving(self.outputs, self.workload.kernel_width)

    def limits(self, config: Config) -> cuda.CudaLimits:
        y, x = config.value("tile_y")[1:], config.value("tile_x")[1:]
        shared = config.value("tile_rc")[1] * (math.prod(y) + math.prod(x))
        return cuda.tile_limits(config, ("tile_y", "tile_x"), threads=(x[1], y[1], 1), shared=shared)

    def tensors(self, config: Config) -> list[Tensor]:
        w = self.workload
        data, _, output = super().tensors(config)
        return [data, Tensor((self.size, self.size, w.in_channels, w.out_channels), w.dtype), output]

    def pack(self, config: Config, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:  # noqa: ARG002
        import numpy as np

        data, kernel = inputs
        g = np.array(self._matrices.kernel, dtype=np.float64)
        transformed = np.einsum("ay,bx,ocyx->abco", g, g, kernel.astype(np.float64), optimize=True)
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
        tile, rows, transform = map(sch.get_sblock, ("input_tile", "data_rows", "data_pack"))
        sch.compute_inline(sch.get_sblock("data_pad"))
        copy = sch.cache_write(transform, 0, "local")
        for block in (tile, rows):
            sch.set_scope(block, 0, "local")
        a, b, c, p = sch.get_loops(copy)
        sch.reorder(c, p, a, b)
        blocks, thread = sch.split(sch.fuse(c, p), [None, _TRANSFORM_THREADS])
        cuda.bind(sch, blockIdx_x=blocks, threadIdx_x=thread)
        for block in (transform, rows, tile):
            sch.compute_at(block, thread, preserve_unit_loops=True)
        *_, a, b, _, _, r_b = sch.get_loops(transform)
        _unroll(sch, [a, b, r_b])
        *_, a, s, r_a = sch.get_loops(rows)
        _unroll(sch, [a, s, r_a])

    def _schedule_product(self, sch: Any, config: Config) -> None:
        product = sch.get_sblock("bgemm")
        copy, shared = cuda.in_registers(sch, product)
        a, b, y, x = sch.get_loops(copy)
        bz, vz, tz, zi = cuda.tile(sch, sch.fuse(a, b), config, "tile_b")
        by, vy, ty, yi = cuda.tile(sch, y, config, "tile_y")
        bx, vx, tx, xi = cuda.tile(sch, x, config, "tile_x")
        sch.reorder(bz, by, bx, vz, vy, vx, tz, ty, tx, zi, yi, xi)
        cuda.bind(sch, blockIdx_z=bz, blockIdx_y=by, blockIdx_x=bx)
        cuda.bind_virtual(sch, [vz, vy, vx])
        cuda.bind(sch, threadIdx_z=tz, threadIdx_y=ty, threadIdx_x=tx)
        sch.compute_at(product, tx, preserve_unit_loops=True)
        *_, a, b, y, x, rc = sch.get_loops(product)
        outer, inner = cuda.tile(sch, rc, config, "tile_rc")
        sch.reorder(outer, inner, a, b, y, x)
        threads = cuda.threads_of(config, {"x": "tile_x", "y": "tile_y", "z": "tile_b"})
        for load in shared:
            cuda.fetch(sch, load, outer, threads, contiguous=False)
        cuda.unroll(sch, bz, config)
        sch.decompose_reduction(product, outer)

    def _schedule_output(self, sch: Any) -> None:
        rows, inverse, output = map(sch.get_sblock, ("output_rows", "inverse", "output"))
        for block in (rows, inverse):
            sch.set_scope(block, 0, "local")
        n, co, h, w = sch.get_loops(output)
        h_outer, h_inner = sch.split(h, [None, self.outputs])
        w_outer, w_inner = sch.split(w, [None, self.outputs])
        sch.reorder(n, co, h_outer, w_outer, h_inner, w_inner)
        blocks, thread = sch.split(sch.fuse(n, co, h_outer, w_outer), [None, _TRANSFORM_THREADS])
        cuda.bind(sch, blockIdx_x=blocks, threadIdx_x=thread)
        for block in (inverse, rows):
            sch.compute_at(block, thread, preserve_unit_loops=True)
            _unroll(sch, sch.get_loops(block)[-3:])

    def computation(self, config: Config) -> list[Any]:
        from tvm import te

        w, m, size = self.workload, self.outputs, self.size
        per_image, per_row = self.rows * self.columns, self.columns
        data, kernel = self.placeholders(config)
        top, left, _, _ = w.padding
        # The last tiles reach beyond the data and its padding.
        bottom = self.rows * m + w.kernel_height - 1 - w.height - top
        right = self.columns * m + w.kernel_width - 1 - w.width - left
        padded = pad(data, (top, left, bottom, right))
        output_matrix = _constant(self._matrices.output, w.dtype, "A")
        data_matrix = _constant(self._matrices.data, w.dtype, "B")

        tile = te.compute(
            (w.in_channels, self.tiles, size, size),
            lambda c, p, a, b: padded[
                te.indexdiv(p, per_image),
                c,
                te.indexmod(te.indexdiv(p, per_row), self.rows) * m + a,
                te.indexmod(p, per_row) * m + b,
            ],
            name="input_tile",
        )
        # Rows first, then columns: a third of the arithmetic of both at once.
        r_a, r_b = (te.reduce_axis((0, size), name=name) for name in ("r_a", "r_b"))
        rows = te.compute(
            (w.in_channels, self.tiles, size, size),
            lambda c, p, a, s: te.sum(tile[c, p, r_a, s] * data_matrix[r_a, a], axis=r_a),
            name="data_rows",
        )
        transformed = te.compute(
            (size, size, w.in_channels, self.tiles),
            lambda a, b, c, p: te.sum(rows[c, p, a, r_b] * data_matrix[r_b, b], axis=r_b),
            name="data_pack",
        )
        rc = te.reduce_axis((0, w.in_channels), name="rc")
        product = te.compute(
            (size, size, w.out_channels, self.tiles),
            lambda a, b, co, p: te.sum(kernel[a, b, rc, co] * transformed[a, b, rc, p], axis=rc),
            name="bgemm",
        )
        r_a, r_b = (te.reduce_axis((0, size), name=name) for name in ("r_a", "r_b"))
        output_rows = te.compute(
            (w.batch, w.out_channels, self.rows, self.columns, m, size),
            lambda n, co, row, column, vh, s: te.sum(
                product[r_a, s, co, n * per_image + row * per_row + column] * output_matrix[r_a, vh], axis=r_a
            ),
            name="output_rows",
        )
        inverse = te.compute(
            (w.batch, w.out_channels, self.rows, self.columns, m, m),
            lambda n, co, row, column, vh, vw: te.sum(
                output_rows[n, co, row, column, vh, r_b] * output_matrix[r_b, vw], axis=r_b
            ),
            name="inverse",
        )
        output = te.compute(
            w.output,
            lambda n, co, h, x: inverse[
                n, co, te.indexdiv(h, m), te.indexdiv(x, m), te.indexmod(h, m), te.indexmod(x, m)
            ],
            name="output",
        )
        return [data, kernel, output]


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
