"""What direct convolutions on CUDA devices share: data and kernel are fetched into shared memory tile by tile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.templates import cuda
from tophub_registry.templates.convolution import Term, convolve, pad
from tophub_registry.templates.workloads import Convolution

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tophub_registry.records.record import Config


class ConvolutionCuda(cuda.CudaTemplate):
    """A convolution in NCHW, or over another number of axes, that accumulates in registers."""

    workload: Convolution

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
    for load in shared:
        cuda.fetch(sch, load, outer[-1], threads, contiguous=contiguous)
    sch.decompose_reduction(conv, outer[0])
