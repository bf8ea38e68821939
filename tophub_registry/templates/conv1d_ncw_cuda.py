"""`conv1d_ncw.cuda` and `group_conv1d_ncw.cuda`: convolution over one axis, through shared memory.

Spaces and schedule are those of TVM's `topi/cuda/conv1d.py`, except that the threads of images and filters, which fetch
data there and then all compute the same, share the outputs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.templates import cuda
from tophub_registry.templates.convolution_cuda import DirectConvolutionCuda
from tophub_registry.templates.space import ConfigSpace
from tophub_registry.templates.workloads import Conv1d

if TYPE_CHECKING:
    from tophub_registry.records.record import Config

_NAMES = ("tile_n", "tile_f", "tile_x")


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
        n, f, x = (math.prod(config.value(name)[1:]) for name in _NAMES)
        rc = config.value("tile_rc")[2]
        channels = self.channels_fetched(f, rc)
        shared = n * channels * cuda.window(self.workload, [x], [1]) + f * rc
        return cuda.tile_limits(config, _NAMES, threads=_threads(config), shared=shared)

    def apply(self, sch: Any, config: Config) -> None:
        conv, copy, shared = self.stages(sch)
        tiled = [cuda.tile(sch, loop, config, name) for loop, name in zip(sch.get_loops(copy), _NAMES, strict=True)]
        (bn, bf, bx), virtual, (tn, tf, tx), inner = zip(*tiled, strict=True)
        sch.reorder(bn, bf, bx, *virtual, tn, tf, tx, *inner)
        cuda.bind(sch, blockIdx_z=bn, blockIdx_y=bf, blockIdx_x=bx)
        cuda.bind_virtual(sch, virtual)
        cuda.bind(sch, threadIdx_y=sch.fuse(tn, tf), threadIdx_x=tx)
        sch.compute_at(conv, tx, preserve_unit_loops=True)

        *_, n, f, x, rc, rx = sch.get_loops(conv)
        outer, middle, last = cuda.tile(sch, rc, config, "tile_rc")
        sch.reorder(outer, middle, rx, last, n, f, x)
        for load in shared:
            cuda.fetch(sch, load, rx, _threads(config), contiguous=True)
        sch.decompose_reduction(conv, outer)
        cuda.unroll(sch, bn, config)


class GroupConv1dNCWCuda(Conv1dNCWCuda):
    """The same in groups, whose number the task's arguments say."""

    task = "group_conv1d_ncw.cuda"
    parse = staticmethod(Conv1d.parse_grouped)


def _threads(config: Config) -> tuple[int, int, int]:
    """Return the threads along x, y and z: of the image's axis, and of images and filters."""
    n, f, x = (config.value(name)[2] for name in _NAMES)
    return x, n * f, 1
