"""`conv1d_transpose_nchw.cuda`: transposed convolution over one axis, without multiplications by inserted zeros.

An output is a sum over those taps that data fall on: of every `stride` taps one. Space and schedule are those of TVM's
`topi/cuda/conv1d_transpose_ncw.py`, except that images and filters are threads, where AutoTVM loops over them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.templates import cuda
from tophub_registry.templates.conv1d_ncw_cuda import NAMES, bind_row, threads_of_row
from tophub_registry.templates.convolution_workloads import TransposedConv1d
from tophub_registry.templates.space import ConfigSpace

if TYPE_CHECKING:
    from tophub_registry.records.record import Config


class Conv1dTransposeNCHWCuda(cuda.CudaTemplate):
    """A transposed convolution over one axis on a CUDA device; AutoTVM's name for it has two."""

    task = "conv1d_transpose_nchw.cuda"
    parse = staticmethod(TransposedConv1d.parse)
    workload: TransposedConv1d

    def _not_served(self) -> str:
        return "" if self.workload.groups == 1 else f"it has {self.workload.groups} groups"

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                # AutoTVM takes the batch for 1.
                *cuda.tile_knobs(4, n=1, f=w.out_channels, x=w.out_width),
                *cuda.tile_knobs(3, rc=w.in_channels),
                *cuda.unroll_knobs(64, 512, 1500),
            ]
        )

    def limits(self, config: Config) -> cuda.CudaLimits:
        blocks_z = cuda.blocks(self.workload.batch, config, "tile_n")
        return cuda.tile_limits(config, NAMES, threads=threads_of_row(config), shared=0, blocks_z=blocks_z)

    def apply(self, sch: Any, config: Config) -> None:
        conv = sch.get_sblock("conv1d_transpose")
        copy = sch.cache_write(conv, 0, "local")
        outermost, tx = bind_row(sch, copy, config)
        sch.compute_at(conv, tx, preserve_unit_loops=True)
        *_, n, f, x, rc, rx = sch.get_loops(conv)
        outer, middle, inner = cuda.tile(sch, rc, config, "tile_rc")
        sch.reorder(outer, middle, rx, inner, n, f, x)
        sch.decompose_reduction(conv, outer)
        cuda.unroll(sch, outermost, config)

    def computation(self, config: Config) -> list[Any]:
        from tvm import te, tirx

        w = self.workload
        data, kernel = self.placeholders(config)
        (taps,), (stride,) = w.taps, w.strides
        before = taps - 1 - w.padding[0]
        steps = (taps + stride - 1) // stride
        rc = te.reduce_axis((0, w.in_channels), name="rc")
        rx = te.reduce_axis((0, steps), name="rx")

        def output(n: Any, o: Any, x: Any) -> Any:
            # The first tap that data fall on, and the data that do.
            last = x + before * (stride - 1) + stride - 1
            tap = rx * stride + stride - 1 - te.floormod(last, stride)
            place = te.floordiv(last, stride) + rx - before
            inside = tirx.all(place >= 0, place < w.width, tap < taps)
            product = data[n, rc, place] * kernel[rc, o, taps - 1 - tap]
            return te.sum(tirx.if_then_else(inside, product, tirx.const(0, w.dtype)), axis=[rc, rx])

        return [data, kernel, te.compute(w.output, output, name="conv1d_transpose")]
