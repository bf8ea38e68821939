"""`conv1d_ncw.cuda` and `group_conv1d_ncw.cuda`: convolution over one axis, through shared memory.

Spaces and schedule are those of TVM's `topi/cuda/conv1d.py`, except that the threads of images and filters, which fetch
data there and then all compute the same, share the outputs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.templates import cuda
from tophub_registry.templates.convolution_cuda import DirectConvolutionCuda
from tophub_registry.templates.convolution_workloads import Conv1d
from tophub_registry.templates.space import ConfigSpace

if TYPE_CHECKING:
    from tophub_registry.records.record import Config

NAMES = ("tile_n", "tile_f", "tile_x")
"""The knobs that tile the output."""


class Conv1dNCWCuda(DirectConvolutionCuda):
    """A convolution over one axis on a CUDA device, without groups."""

    task = "conv1d_ncw.cuda"
    parse = staticmethod(Conv1d.parse)

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                *cuda.tile_knobs(4, n=w.batch, f=w.out_channels, x=w.out_width),
                *cuda.tile_knobs(3, rc=self.channels),
                *cuda.unroll_knobs(64, 512, 1500),
            ]
        )

    def limits(self, config: Config) -> cuda.CudaLimits:
        n, f, x = (math.prod(config.value(name)[1:]) for name in NAMES)
        rc = config.value("tile_rc")[2]
        channels = self.channels_fetched(f, rc)
        shared = n * channels * cuda.window(self.workload, [x], [1]) + f * rc
        blocks_z = cuda.blocks(self.workload.batch, config, "tile_n")
        return cuda.tile_limits(config, NAMES, threads=threads_of_row(config), shared=shared, blocks_z=blocks_z)

    def apply(self, sch: Any, config: Config) -> None:
        conv, copy, shared = self.stages(sch)
        outermost, tx = bind_row(sch, copy, config)
        sch.compute_at(conv, tx, preserve_unit_loops=True)

        *_, n, f, x, rc, rx = sch.get_loops(conv)
        outer, middle, last = cuda.tile(sch, rc, config, "tile_rc")
        sch.reorder(outer, middle, rx, last, n, f, x)
        cuda.fetch_both(sch, shared, rx, threads_of_row(config), contiguous=True)
        sch.decompose_reduction(conv, outer)
        cuda.unroll(sch, outermost, config)


class GroupConv1dNCWCuda(Conv1dNCWCuda):
    """The same in groups, whose number the task's arguments say."""

    task = "group_conv1d_ncw.cuda"
    parse = staticmethod(Conv1d.parse_grouped)


def threads_of_row(config: Config) -> tuple[int, int, int]:
    """Return the threads along x, y and z: of the image's axis, and of images and filters."""
    n, f, x = (config.value(name)[2] for name in NAMES)
    return x, n * f, 1


def bind_row(sch: Any, copy: Any, config: Config) -> tuple[Any, Any]:
    """Tile and bind the loops over an output in NCW; return the kernel's outermost loop and the innermost thread's."""
    tiled = [cuda.tile(sch, loop, config, name) for loop, name in zip(sch.get_loops(copy), NAMES, strict=True)]
    (bn, bf, bx), virtual, (tn, tf, tx), inner = zip(*tiled, strict=True)
    sch.reorder(bn, bf, bx, *virtual, tn, tf, tx, *inner)
    cuda.bind(sch, blockIdx_z=bn, blockIdx_y=bf, blockIdx_x=bx)
    cuda.bind_virtual(sch, virtual)
    cuda.bind(sch, threadIdx_y=sch.fuse(tn, tf), threadIdx_x=tx)
    return bn, tx
