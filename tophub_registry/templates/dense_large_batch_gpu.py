"""`dense_large_batch.gpu`: a dense layer as a matrix product, tile by tile through shared memory and registers.

Space and schedule are those of TVM's `topi/gpu/dense.py`. AutoTVM filters the splits by a condition that none of them
meets, and then keeps them all.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.templates import cuda
from tophub_registry.templates.product_workloads import Matmul
from tophub_registry.templates.space import ConfigSpace

if TYPE_CHECKING:
    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target

_FETCHED = 4  # adjacent elements per thread
_SHORT_SUM = 8
_MAX_UNROLLED = 2048  # multiplications, beyond which the compiler takes minutes


class DenseLargeBatchGPU(cuda.CudaTemplate):
    """A dense layer with a tile of outputs for each block of threads."""

    task = "dense_large_batch.gpu"
    parse = staticmethod(Matmul.parse)
    workload: Matmul

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                *cuda.tile_knobs(4, x=w.batch, y=w.out_units),
                *cuda.tile_knobs(3, k=w.in_units),
            ]
        )

    def default(self, target: Target) -> Config:  # noqa: ARG002  # the same for every device
        w = self.workload
        return self.space.config_of(
            {
                "tile_x": [-1, 2, 16, 2] if w.batch > 1 else [1, 1, 1, 1],
                "tile_y": [-1, 2, 16, 2] if w.out_units > 1 else [1, 1, 1, 1],
                "tile_k": [-1, 8, 1] if w.in_units > _SHORT_SUM else [-1, 1, 1],
            }
        )

    def limits(self, config: Config) -> cuda.CudaLimits:
        w = self.workload
        x, y, k = (config.value(name)[1:] for name in ("tile_x", "tile_y", "tile_k"))
        rows = min(math.prod(x), w.batch) + min(math.prod(y), w.out_units)
        buffers = 2 if self._steps(config) > 1 else 1
        shared = buffers * min(math.prod(k), w.in_units) * rows
        return cuda.tile_limits(config, ("tile_x", "tile_y"), threads=(x[1], y[1], 1), shared=shared)

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether AutoTVM builds a config too, and in reasonable time.

        It needs as many threads along y as along x for fetching, and a loop for its two alternating buffers; the
        middle part of the reduction is unrolled.
        """
        limits = self.limits(config)
        x, y, _ = limits.threads
        unrolled = limits.sums * config.value("tile_k")[1]
        return bool(
            x == y and self._steps(config) > 1 and unrolled <= _MAX_UNROLLED and super().feasible(config, target)
        )

    def _steps(self, config: Config) -> int:
        """Return the number of tiles in the reduction."""
        tile: int = math.prod(config.value("tile_k")[1:])
        return -(-self.workload.in_units // tile)

    def apply(self, sch: Any, config: Config) -> None:
        dense = sch.get_sblock("dense")
        copy, shared = cuda.in_registers(sch, dense)
        local = [sch.cache_read(dense, place, "local") for place in range(2)]

        x, y = sch.get_loops(copy)  # AutoTVM's names: the batch is x
        bx, vx, tx, xi = cuda.tile(sch, x, config, "tile_x")
        by, vy, ty, yi = cuda.tile(sch, y, config, "tile_y")
        sch.reorder(by, bx, vy, vx, ty, tx, yi, xi)
        cuda.bind(sch, blockIdx_y=by, blockIdx_x=bx)
        cuda.bind_virtual(sch, [vy, vx])
        cuda.bind(sch, threadIdx_y=ty, threadIdx_x=tx)
        sch.compute_at(dense, tx, preserve_unit_loops=True)

        *_, x, y, k = sch.get_loops(dense)
        outer, middle, inner = cuda.tile(sch, k, config, "tile_k")
        sch.reorder(outer, middle, inner, y, x)
        for load in local:
            sch.compute_at(load, middle, preserve_unit_loops=True)
        for load in shared:
            self._fetch(sch, load, outer, config)
        sch.unroll(middle)
        sch.decompose_reduction(dense, outer)
        if self._steps(config) > 1:  # the next tiles are fetched into a second buffer in the meantime
            sch.annotate(outer, "software_pipeline_stage", [0, 0, 1])
            sch.annotate(outer, "software_pipeline_order", [0, 1, 2])

    def _fetch(self, sch: Any, load: Any, at: Any, config: Config) -> None:
        """Fetch a tile with a block's threads: rows along y, a few adjacent columns for each thread along x."""
        x, y, _ = self.limits(config).threads
        sch.compute_at(load, at, preserve_unit_loops=True)
        *_, row, column = sch.get_loops(load)
        ty, _ = sch.split(row, [y, None])
        _, tx, _ = sch.split(column, [None, x, _FETCHED])
        cuda.bind(sch, threadIdx_y=ty, threadIdx_x=tx)

    def computation(self, config: Config) -> list[Any]:
        from tvm import te

        w = self.workload
        data, weight = self.placeholders(config)
        k = te.reduce_axis((0, w.in_units), name="k")

        def dense(x: Any, y: Any) -> Any:
            return te.sum(data[x, k] * weight[y, k], axis=k)

        return [data, weight, te.compute(w.output, dense, name="dense")]
