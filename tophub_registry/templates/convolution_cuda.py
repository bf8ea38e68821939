"""What direct convolutions on CUDA devices share: data and kernel are fetched into shared memory tile by tile."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.templates import cuda
from tophub_registry.templates.convolution import Term, convolve, pad
from tophub_registry.templates.convolution_workloads import ConvNd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target


class ConvolutionCuda(cuda.CudaTemplate):
    """A convolution in NCHW, or over another number of axes, that accumulates in registers."""

    workload: ConvNd

    @property
    def block(self) -> str:
        """The name of the block that computes the convolution."""
        return self.task.removesuffix(".cuda")

    def convolution(self, config: Config, term: Callable[[Any], Term]) -> list[Any]:
        """Return data, kernel and output as `te` tensors, given the term for a filter."""
        w = self.workload
        data, kernel = self.placeholders(config)
        return [data, kernel, convolve(w, pad(data, w.padding), kernel, w.output, term, name=self.block)]

    def stages(self, sch: Any) -> tuple[Any, Any, list[Any]]:
        """Return three kinds of blocks: accumulating in registers, writing the output, fetching data and kernel."""
        conv = sch.get_sblock(self.block)
        copy, shared = cuda.in_registers(sch, conv)
        sch.compute_inline(sch.get_sblock("data_pad"))
        return conv, copy, shared


class DirectConvolutionCuda(ConvolutionCuda):
    """A convolution over any number of axes, in groups or not, whose knob `tile_f` splits the filters of all groups.

    Attributes
    ----------
    channels, filters
        Those of one group.
    """

    def __init__(self, args: list[Any]) -> None:
        super().__init__(args)
        w = self.workload
        self.channels, self.filters = w.in_channels // w.groups, w.out_channels // w.groups

    def possible(self, config: Config) -> bool:
        """Return whether a device can run such a block, and its filters are whole groups, or of one group."""
        # Otherwise TVM sees too little of which channels they read, and fetches many more.
        filters = math.prod(config.value("tile_f")[1:])
        return (self.filters % filters == 0 or filters % self.filters == 0) and super().possible(config)

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether a block is possible, and its sums fit a thread's registers."""
        return self.possible(config) and super().feasible(config, target)

    def channels_fetched(self, filters: int, channels: int) -> int:
        """Return how many channels of the data are fetched for adjacent filters, and so many channels of a group."""
        # Those between the channels of adjacent groups are fetched too.
        return (-(-filters // self.filters) - 1) * self.channels + channels

    def computation(self, config: Config) -> list[Any]:
        def term(f: Any) -> Term:
            from tvm import te

            rc = te.reduce_axis((0, self.channels), name="rc")
            first = te.indexdiv(f, self.filters) * self.channels if self.workload.groups > 1 else 0
            return Term((rc,), (first + rc,), (f, rc))

        return self.convolution(config, term)


def sum_by_tiles(
    sch: Any,
    conv: Any,
    shared: Sequence[Any],
    parts: Sequence[int],
    threads: tuple[int, int, int],
    *,
    contiguous: bool,
) -> None:
    """Tile a convolution's reduction, and fetch what each tile needs.

    Parameters
    ----------
    sch
        The `tvm.s_tir.Schedule`.
    conv
        The block that accumulates in registers, inside the loop over threads.
    shared
        The blocks that fetch data and kernel.
    parts
        The size of a tile: channels, and taps along each axis of the kernel.
    threads
        The number of threads along x, y and z.
    contiguous
        As for `cuda.fetch`.
    """
    loops = sch.get_loops(conv)[-2 * len(parts) - 1 :]
    places, summed = loops[: -len(parts)], loops[-len(parts) :]
    split = [sch.split(loop, [None, part]) for loop, part in zip(summed, parts, strict=True)]
    outer, inner = zip(*split, strict=True)
    sch.reorder(*outer, *inner, *places)
    cuda.fetch_both(sch, shared, outer[-1], threads, contiguous=contiguous)
    sch.decompose_reduction(conv, outer[0])
