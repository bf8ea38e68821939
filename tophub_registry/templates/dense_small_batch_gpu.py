"""`dense_small_batch.gpu` and `dense_small_batch_float16.gpu`: each output is reduced by the threads of a block.

Space and schedule of the first are those of TVM's `topi/gpu/dense.py`. The second is this project's own: such a layer
takes as long as its weights take to be read, so that it takes half as long if they are float16. Products and sums are
float32, and so is the output.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.templates import cuda
from tophub_registry.templates.product_workloads import Matmul
from tophub_registry.templates.space import ConfigSpace
from tophub_registry.templates.template import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target

_DEFAULT_THREADS = 64

_VECTOR = 8
"""Numbers in float16 that a thread reads at once: 16 bytes."""


class DenseSmallBatchGPU(cuda.CudaTemplate):
    """A dense layer with a block of threads for each output."""

    task = "dense_small_batch.gpu"
    parse = staticmethod(Matmul.parse)
    workload: Matmul

    @property
    def _vector(self) -> int:
        """How many adjacent units a thread reads at once."""
        return 1

    @property
    def _vectors(self) -> int:
        return self.workload.in_units // self._vector

    def _space(self) -> ConfigSpace:
        return ConfigSpace(cuda.tile_knobs(2, k=self._vectors))

    def default(self, target: Target) -> Config:  # noqa: ARG002  # the same for every device
        outer = -1 if self._vectors > _DEFAULT_THREADS else 1
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
        *_, k = sch.get_loops(partial)
        if self._vector > 1:
            k, _ = sch.split(k, [None, self._vector])
            for place in range(2):
                read = sch.cache_read(partial, place, "local")
                sch.compute_at(read, k)
                sch.vectorize(sch.get_loops(read)[-1])
        sch.decompose_reduction(partial, k)

    def computation(self, config: Config) -> list[Any]:
        from tvm import te, tirx

        w, vector = self.workload, self._vector
        lanes = config.value("tile_k")[-1]
        data, weight = self.placeholders(config)
        k = te.reduce_axis((0, -(-self._vectors // lanes) * vector), name="k")
        lane = te.reduce_axis((0, lanes), name="lane")

        def product(y: Any, x: Any, lane: Any) -> Any:
            place = (k // vector * lanes + lane) * vector + k % vector if vector > 1 else k * lanes + lane
            value = data[y, place].astype(w.dtype) * weight[x, place].astype(w.dtype)
            uneven = self._vectors % lanes
            return tirx.if_then_else(place < w.in_units, value, tirx.const(0, w.dtype)) if uneven else value

        partial = te.compute(
            (w.batch, w.out_units, lanes), lambda y, x, lane: te.sum(product(y, x, lane), axis=k), name="partial"
        )
        total = te.compute(w.output, lambda y, x: te.sum(partial[y, x, lane], axis=lane), name="dense")
        return [data, weight, total]


class DenseSmallBatchFloat16GPU(DenseSmallBatchGPU):
    """The same with data and weights in float16."""

    task = "dense_small_batch_float16.gpu"
    packs_late = False
    tolerance = 5e-3

    @property
    def _vector(self) -> int:
        return math.gcd(self.workload.in_units, _VECTOR)

    def tensors(self, config: Config) -> list[Tensor]:
        *given, output = super().tensors(config)
        return [*(Tensor(shape, "float16") for shape, _ in given), output]

    def pack(self, config: Config, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:  # noqa: ARG002  # the same for all
        return [array.astype("float16") for array in inputs]
