"""`dense_small_batch.gpu`: a dense layer with each output reduced by the threads of a block.

Space and schedule are those of TVM's `topi/gpu/dense.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.templates import cuda
from tophub_registry.templates.space import ConfigSpace
from tophub_registry.templates.workloads import Matmul

if TYPE_CHECKING:
    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target

_DEFAULT_THREADS = 64


class DenseSmallBatchGPU(cuda.CudaTemplate):
    """A dense layer with a block of threads for each output."""

    task = "dense_small_batch.gpu"
    parse = staticmethod(Matmul.parse)
    workload: Matmul

    def _space(self) -> ConfigSpace:
        return ConfigSpace(cuda.tile_knobs(2, k=self.workload.in_units))

    def default(self, target: Target) -> Config:  # noqa: ARG002  # the same for every device
        outer = -1 if self.workload.in_units > _DEFAULT_THREADS else 1
        return self.space.config_of({"tile_k": [outer, _DEFAULT_THREADS]})

    def limits(self, config: Config) -> cuda.CudaLimits:
        threads = config.value("tile_k")[-1]
        # An upper bound: threads of a warp mostly need no memory for their sum.
        return cuda.CudaLimits(threads=(threads, 1, 1), shared_bytes=cuda.FLOAT_BYTES * (threads + 1))

    def apply(self, sch: Any, config: Config) -> None:  # noqa: ARG002  # fixed by the computation
        partial, total = sch.get_sblock("partial"), sch.get_sblock("dense")
        sch.set_scope(partial, 0, "local")
        y, x, lane = sch.get_loops(total)
        cuda.bind(sch, blockIdx_y=y, blockIdx_x=x, threadIdx_x=lane)
        sch.compute_at(partial, lane, preserve_unit_loops=True)
        sch.decompose_reduction(partial, sch.get_loops(partial)[-1])

    def computation(self, config: Config) -> list[Any]:
        from tvm import te, tirx

        w = self.workload
        lanes = config.value("tile_k")[-1]
        data, weight = self.placeholders(config)
        k = te.reduce_axis((0, -(-w.in_units // lanes)), name="k")
        lane = te.reduce_axis((0, lanes), name="lane")

        def product(y: Any, x: Any, lane: Any) -> Any:
            place = k * lanes + lane
            value = data[y, place] * weight[x, place]
            return tirx.if_then_else(place < w.in_units, value, tirx.const(0, w.dtype)) if w.in_units % lanes else value

        partial = te.compute(
            (w.batch, w.out_units, lanes), lambda y, x, lane: te.sum(product(y, x, lane), axis=k), name="partial"
        )
        total = te.compute(w.output, lambda y, x: te.sum(partial[y, x, lane], axis=lane), name="dense")
        return [data, weight, total]
