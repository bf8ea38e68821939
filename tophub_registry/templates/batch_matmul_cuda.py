"""`batch_matmul.cuda`: products of two activations, tile by tile through shared memory and registers.

Space, default and schedule are those of TVM's `topi/cuda/batch_matmul.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.templates import cuda
from tophub_registry.templates.product_workloads import BatchMatmul
from tophub_registry.templates.space import ConfigSpace

if TYPE_CHECKING:
    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target

_MAX_TILE, _MAX_THREADS, _STEP = 64, 8, 8


class BatchMatmulCuda(cuda.CudaTemplate):
    """Matrix products with both factors in the model's layout."""

    task = "batch_matmul.cuda"
    parse = staticmethod(BatchMatmul.parse)
    workload: BatchMatmul

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                *cuda.tile_knobs(3, y=w.rows, x=w.columns),
                *cuda.tile_knobs(2, k=w.in_units),
                *cuda.unroll_knobs(8, 16, 32, 64),
            ]
        )

    def default(self, target: Target) -> Config:  # noqa: ARG002  # the same for every device
        w = self.workload
        values: dict[str, Any] = {"tile_k": [-1, _STEP], "auto_unroll_max_step": 16, "unroll_explicit": 0}
        for name, size in (("tile_y", w.rows), ("tile_x", w.columns)):
            outputs = math.gcd(size, _MAX_TILE)
            threads = min(outputs, _MAX_THREADS)
            values[name] = [-1, threads, outputs // threads]
        return self.space.config_of(values)

    def limits(self, config: Config) -> cuda.CudaLimits:
        _, threads_y, y = config.value("tile_y")
        _, threads_x, x = config.value("tile_x")
        depth = min(config.value("tile_k")[1], self.workload.in_units)
        shared = depth * (threads_y * y + threads_x * x)
        shared_bytes, products = cuda.FLOAT_BYTES * shared, self.workload.batch
        return cuda.CudaLimits((threads_x, threads_y, 1), shared_bytes, sums=y * x, blocks_z=products)

    def apply(self, sch: Any, config: Config) -> None:
        product = sch.get_sblock("batch_matmul")
        copy, shared = cuda.in_registers(sch, product)
        local = [sch.cache_read(product, place, "local") for place in range(2)]

        b, y, x = sch.get_loops(copy)
        by, ty, yi = cuda.tile(sch, y, config, "tile_y")
        bx, tx, xi = cuda.tile(sch, x, config, "tile_x")
        sch.reorder(b, by, bx, ty, tx, yi, xi)
        cuda.bind(sch, blockIdx_z=b, blockIdx_y=by, blockIdx_x=bx, threadIdx_y=ty, threadIdx_x=tx)
        cuda.unroll(sch, yi, config)

        sch.compute_at(product, tx, preserve_unit_loops=True)
        *_, b, y, x, k = sch.get_loops(product)
        outer, inner = cuda.tile(sch, k, config, "tile_k")
        sch.reorder(outer, inner, b, y, x)
        cuda.unroll(sch, inner, config)
        for load in local:
            sch.compute_at(load, inner, preserve_unit_loops=True)
        for load in shared:
            self._fetch(sch, load, outer, config)
        sch.decompose_reduction(product, outer)

    def _fetch(self, sch: Any, load: Any, at: Any, config: Config) -> None:
        """Fetch a tile with a block's threads, each some adjacent rows and columns of it."""
        x, y, _ = self.limits(config).threads
        sch.compute_at(load, at, preserve_unit_loops=True)
        *_, row, column = sch.get_loops(load)
        ty, row = sch.split(row, [y, None])
        tx, column = sch.split(column, [x, None])
        sch.reorder(ty, tx, row, column)
        cuda.bind(sch, threadIdx_y=ty, threadIdx_x=tx)
        cuda.unroll(sch, row, config)

    def computation(self, config: Config) -> list[Any]:
        from tvm import te

        w = self.workload
        data, kernel = self.placeholders(config)
        transpose_data, transpose_kernel = w.transposed
        k = te.reduce_axis((0, w.in_units), name="k")

        def product(b: Any, y: Any, x: Any) -> Any:
            left = data[b, k, y] if transpose_data else data[b, y, k]
            return te.sum(left * (kernel[b, x, k] if transpose_kernel else kernel[b, k, x]), axis=k)

        return [data, kernel, te.compute(w.output, product, name="batch_matmul")]
