"""What convolutions in blocked layout share on x86: a block of channels is a vector.

Data is `[N, C/ic, H, W, ic]`, the output `[N, O/oc, OH, OW, oc]` in all these templates, so their kernels follow one
another without a change of layout. A tile of `ow` pixels times `oc` channels is accumulated in registers.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from tophub_registry.templates.convolution import Term, convolve, pad
from tophub_registry.templates.convolution_workloads import Conv2d, TransposedConv2d
from tophub_registry.templates.template import Template, Tensor
from tophub_registry.templates.x86 import channel_blocks, into_blocks, largest_divisor, out_of_blocks, simd_lanes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target

_KNOBS = "tile_ic", "tile_oc"
"""The splits of a convolution's input and output channels into blocks."""

_CACHED = 12 << 10
"""Numbers of padded data that a task works on: 48 KiB, a first-level cache."""


class BlockedX86(Template):
    """A convolution in blocked layout, plain or transposed; a derived class defines how its kernel is packed."""

    workload: Conv2d | TransposedConv2d

    @property
    def block(self) -> str:
        """The name of the block that computes the convolution."""
        return self.task.removesuffix(".x86")

    @abstractmethod
    def kernel_shape(self, config: Config) -> tuple[int, ...]:
        """Return the shape of the packed kernel."""

    @abstractmethod
    def pack_kernel(self, config: Config, kernel: NDArray[Any]) -> NDArray[Any]:
        """Convert the kernel from the model's layout to the packed one."""

    def tensors(self, config: Config) -> list[Tensor]:
        """Return data and output in blocks, and the packed kernel between them."""
        w = self.workload
        ic, oc = channel_blocks(config)
        return [
            Tensor((w.batch, w.in_channels // ic, w.height, w.width, ic), w.dtype),
            Tensor(self.kernel_shape(config), w.dtype),
            Tensor((w.batch, w.out_channels // oc, w.out_height, w.out_width, oc), w.dtype),
        ]

    def pack(self, config: Config, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Convert data and kernel from the model's layout."""
        data, kernel = inputs
        return [into_blocks(data, channel_blocks(config)[0]), self.pack_kernel(config, kernel)]

    def unpack(self, config: Config, output: NDArray[Any]) -> NDArray[Any]:  # noqa: ARG002  # the shape says it
        """Convert the output to the model's layout."""
        return out_of_blocks(output)


class BlockedConvolutionX86(BlockedX86):
    """A plain convolution in blocked layout."""

    workload: Conv2d

    def vector_blocks(self, target: Target) -> Mapping[str, int]:
        """Return the knobs whose blocks of channels are vectors of the target: those of channels that fill vectors.

        Neighbouring layers then need no change of layout. In 2,700 pairs of trials that differ in the input's block
        alone, other blocks took 0.98 times (AVX-512) and 1.04 times (AVX2) as long as a vector (medians).
        """
        lanes = simd_lanes(target)
        return {
            name: lanes
            for name, channels in zip(_KNOBS, self.workload.group_channels, strict=True)
            if channels % lanes == 0
        }

    @property
    def rows_first(self) -> bool:
        """Whether threads share an image's rows, each with all channels; otherwise they share the channels.

        It depends on shapes alone, so that the kernels of neighbouring layers decide alike: a thread then mostly reads
        what it wrote itself, and not what is in another core's cache. With many channels for each pixel reading the
        weights once counts for more.
        """
        return 2 * self.workload.out_channels <= self.workload.out_height * self.workload.out_width

    def convolution(self, config: Config, term: Callable[[Any, Any], Term]) -> list[Any]:
        """Return data, kernel and output as `te` tensors, given the term for a channel of a block."""
        w = self.workload
        data, kernel = self.placeholders(config)
        padded = pad(data, w.padding) if any(w.padding) else data
        return [data, kernel, convolve(w, padded, kernel, self.tensors(config)[-1].shape, term, name=self.block)]

    def strip(self, channels: int, *, least: int = 0) -> int | None:
        """Return how many rows of output need no more padded data than stays in the cache; None without padding.

        Parameters
        ----------
        channels
            Channels of the data that a task reads.
        least
            The fewest rows, if not even one does; 0: None then.
        """
        w = self.workload
        _, left, _, right = w.padding
        rows_read = _CACHED // ((left + w.width + right) * channels)
        reach = (w.kernel_height - 1) * w.dilation[0] + 1
        rows = max((rows_read - reach) // w.strides[0] + 1, least)
        return largest_divisor(w.out_height, min(rows, w.out_height)) if any(w.padding) and rows > 0 else None

    def schedule_rows(self, sch: Any, width: int, strip: int | None = None, *, shared: bool = False) -> Any:
        """Compute `width` pixels at a time, rows in parallel; return the block that computes them.

        It accumulates in a cache, from which each tile is written out.

        Parameters
        ----------
        strip
            The rows of a parallel task, which then pads the rows of data that it reads; None: all data is padded first.
        shared
            Whether all output channels read the same data: then a task with a strip computes all of them.
        """
        if strip is None:
            self.schedule_pad(sch)
        conv = sch.get_sblock(self.block)
        copy = sch.cache_write(conv, 0, "global")  # `conv` now accumulates in the cache, and `copy` writes the output
        n, c, oh, ow, block = sch.get_loops(copy)
        tile, _ = sch.split(ow, [None, width])
        oh, rows = sch.split(oh, [None, strip or 1])
        if self.rows_first:
            sch.reorder(n, oh, c, rows)
            task = sch.fuse(n, oh) if strip is not None and shared else sch.fuse(n, oh, c)
        else:
            task = sch.fuse(n, c, oh)
        sch.parallel(task)
        sch.vectorize(block)
        sch.compute_at(conv, tile, preserve_unit_loops=True)
        if strip is not None:
            pad = sch.get_sblock("data_pad")
            sch.compute_at(pad, task, preserve_unit_loops=True)
            sch.vectorize(sch.get_loops(pad)[-1])
        return conv

    def schedule_pad(self, sch: Any) -> None:
        """Pad the data: rows in parallel, one vector for each pixel."""
        if any(self.workload.padding):
            schedule_pad(sch)


def schedule_pad(sch: Any) -> None:
    """Pad the data: rows in parallel, one vector for each pixel."""
    n, c, y, _, block = sch.get_loops(sch.get_sblock("data_pad"))
    sch.vectorize(block)
    sch.parallel(sch.fuse(n, c, y))
