"""What convolutions share whose kernel is packed in panels of several blocks of output channels, on x86.

A panel is part of one group of channels.

A panel's outputs are computed tile by tile of pixels, each tile a sum in registers. If a thread goes through all pixels
for one panel, it adds up the input channels in parts: a part of the panel stays in the first-level cache for all tiles,
while the next one is fetched from memory. Sums of parts are added in a buffer that stays in the cache, too.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from tophub_registry.templates.blocked_x86 import BlockedConvolutionX86
from tophub_registry.templates.finished import shorten
from tophub_registry.templates.prefetch import WEIGHTS, Prefetch, can_prefetch, prefetch
from tophub_registry.templates.space import KnobSpace, divisors, split
from tophub_registry.templates.template import RegisterTile
from tophub_registry.templates.x86 import (
    MAX_TOGETHER,
    MAX_WASTE,
    channel_blocks,
    largest_divisor,
    panel_worth_trying,
    relative_time,
    simd_lanes,
    sum_in_registers,
    sums_fill,
    vectors,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target
    from tophub_registry.templates.convolution_workloads import Conv2d

MAX_PIXELS = 30
"""The most pixels of a tile: one register each and one for the kernel, where there are the most, AVX-512's 32."""

_KERNEL_LOAD = 2
"""The time of a load of the kernel, relative to one of the data: it comes from a farther cache."""

_TERMS = 144
"""About how many terms are summed up in registers if channels are added up in parts: with so many the buffer costs 3 %,
and the weights of two blocks of 16 channels are 18 KiB."""


_TILE_AXIS = 2
"""The place of the tiles among the axes of the sums; that of the parts of the channels, if there is one, is before."""


_IN_VAIN = 1.2
"""The most blocks of channels that panels compute, as a multiple of those needed."""


class Lines(NamedTuple):
    """The output's pixels: lines of adjacent ones, which tiles do not cross."""

    number: int
    pixels: int


def panels_knob(w: Conv2d) -> KnobSpace:
    """Return the knob `tile_oc`: a split into panels, blocks of a panel, and channels of a block.

    Without groups, the last panel may have more blocks than there are: an odd number of them is computed two at a time.
    """
    exact = split("tile_oc", w.out_channels, parts=3, keep=panel_worth_trying)
    if w.groups > 1:
        return exact
    more = [
        [-1, together, block]
        for block in divisors(w.out_channels)
        for together in range(2, MAX_TOGETHER + 1)
        if w.out_channels // block % together and _few_in_vain(w.out_channels // block, together)
    ]
    return replace(exact, options=(*exact.options, *filter(panel_worth_trying, more)))


def _few_in_vain(blocks: int, together: int) -> bool:
    return -(-blocks // together) * together <= _IN_VAIN * blocks


class PanelsX86(BlockedConvolutionX86):
    """A convolution in blocked layout whose kernel is packed in panels.

    Configs have the knobs `tile_ic`, a split of the input channels into blocks; `tile_oc`, one of the output channels
    into panels, blocks of a panel, and channels of a block; and `tile_p`, the pixels of a tile. The last tile of a line
    ends with it, and computes some pixels again.
    """

    packs_late = False
    numbered = False
    untuned_share = 1.15

    @property
    @abstractmethod
    def lines(self) -> Lines:
        """The lines of pixels."""

    @abstractmethod
    def panels_first(self, config: Config) -> bool:
        """Return whether threads share the panels, each with all pixels."""

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether the sums fill the registers, with room for the kernel, and few pixels are computed twice."""
        _, together, block = config.value("tile_oc")
        pixels: int = config.value("tile_p")
        kernels = together * -(-block // simd_lanes(target))
        fills = sums_fill(kernels, pixels, target, all_pixels=pixels == self.lines.pixels)
        return fills and self.tiles(config) * pixels <= MAX_WASTE * self.lines.pixels

    def fixed(self, target: Target) -> Mapping[str, int]:
        return self.vector_blocks(target)

    def register_tile(self, config: Config) -> RegisterTile:
        _, together, block = config.value("tile_oc")
        return RegisterTile(together * block, config.value("tile_p"))

    def default_tile(self, target: Target) -> tuple[Sequence[int], int]:
        """Return the values of `tile_oc` and `tile_p` with the least waste and the fewest loads."""
        _, lanes, registers = vectors(target)
        _, outs = self.workload.group_channels
        block = largest_divisor(outs, lanes)
        count = outs // block
        length = self.lines.pixels

        def cost(tile: tuple[int, int]) -> float:
            together, pixels = tile
            computed = -(-length // pixels) * pixels * -(-count // together) * together
            return computed * relative_time(together, pixels, _KERNEL_LOAD, registers)

        together, pixels = min(
            (
                (together, pixels)
                for together in range(1, MAX_TOGETHER + 1)
                for pixels in range(1, min(MAX_PIXELS, length) + 1)
                if (count % together == 0 or (self.workload.groups == 1 and _few_in_vain(count, together)))
                and together * (pixels + 1) < registers
            ),
            key=cost,
        )
        return [self.workload.groups * -(-count // together), together, block], pixels

    def kernel_shape(self, config: Config) -> tuple[int, ...]:
        w = self.workload
        panels, together, block = self._panels(config)
        ic, _ = channel_blocks(config)
        ins, _ = self.workload.group_channels
        return panels, ins // ic, w.kernel_height, w.kernel_width, ic, together, block

    def pack_kernel(self, config: Config, kernel: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        panels, chunks, height, width, ic, together, block = self.kernel_shape(config)
        in_vain = panels * together * block - kernel.shape[0]
        whole = np.pad(kernel, [(0, in_vain), (0, 0), (0, 0), (0, 0)]) if in_vain else kernel
        return whole.reshape(panels, together, block, chunks, ic, height, width).transpose(0, 3, 5, 6, 4, 1, 2)

    def _panels(self, config: Config) -> tuple[int, int, int]:
        _, together, block = config.value("tile_oc")
        return -(-self.workload.out_channels // (together * block)), together, block

    def tiles(self, config: Config) -> int:
        """Return how many tiles cover a line."""
        tile: int = config.value("tile_p")
        return -(-self.lines.pixels // tile)

    def _chunks(self, config: Config) -> tuple[int, int]:
        """Return in how many parts the blocks of input channels are added up, and how many blocks a part has.

        The last part may have fewer.
        """
        w = self.workload
        (ic, _), (ins, _) = channel_blocks(config), self.workload.group_channels
        blocks = ins // ic
        if not self.panels_first(config):
            return 1, blocks
        parts = max(1, round(blocks * ic * w.kernel_height * w.kernel_width / _TERMS))
        part = -(-blocks // parts)
        return -(-blocks // part), part

    def in_parts(self, config: Config) -> bool:
        """Return whether input channels are added up in parts: a panel's sums are then complete all at once."""
        parts, _ = self._chunks(config)
        return parts > 1

    def start(self, config: Config, tile: Any) -> Any:
        """Return the pixel of a line at which a tile starts."""
        from tvm import te

        size, length = config.value("tile_p"), self.lines.pixels
        return tile * size if length % size == 0 else te.min(tile * size, length - size)

    def sums(self, config: Config, kernel: Any, value: Any) -> Any:
        """Return a function from an output's block of channels, line, pixel and channel to its `te` expression.

        Parameters
        ----------
        kernel
            The packed kernel, a `te.Tensor`.
        value
            A function from image, block of input channels, row and column of the kernel, line, pixel, and channel
            of the block to the data that is multiplied.
        """
        from tvm import te

        w, (ins, _) = self.workload, self.workload.group_channels
        ic, block = channel_blocks(config)
        panels, together, _ = self._panels(config)
        size, tiles = config.value("tile_p"), self.tiles(config)
        parts, blocks = self._chunks(config)
        extents = {"s": blocks, "kh": w.kernel_height, "kw": w.kernel_width, "c": ic}
        s, kh, kw, c = (te.reduce_axis((0, extent), name=name) for name, extent in extents.items())
        shape = w.batch, panels, self.lines.number * tiles, size, together, block

        def term(n: Any, panel: Any, part: Any, tile: Any, i: Any, t: Any, v: Any) -> Any:
            line, pixel = te.indexdiv(tile, tiles), self.start(config, te.indexmod(tile, tiles)) + i
            chunk = part * blocks + s
            first = te.indexdiv(panel, panels // w.groups) * (ins // ic) if w.groups > 1 else 0
            product = value(n, first + chunk, kh, kw, line, pixel, c) * kernel[panel, chunk, kh, kw, c, t, v]
            return te.sum(product, axis=[s, kh, kw, c])

        if parts == 1:
            product = te.compute(shape, lambda n, p, *rest: term(n, p, 0, *rest), name="product")
        else:
            partial = te.compute((*shape[:2], parts, *shape[2:]), term, name="partial")
            k = te.reduce_axis((0, parts), name="k")
            product = te.compute(shape, lambda n, p, *rest: te.sum(partial(n, p, k, *rest), axis=k), name="product")

        def output(n: Any, o: Any, line: Any, pixel: Any, v: Any) -> Any:
            tile = te.indexdiv(pixel, size)
            place = te.indexmod(pixel - self.start(config, tile), size)  # so that TVM sees that it needs a whole tile
            return product[n, te.indexdiv(o, together), line * tiles + tile, place, te.indexmod(o, together), v]

        return output

    def schedule_sums(self, sch: Any, config: Config, loop: Any) -> None:
        """Compute the sums that are read within `loop`, and prefetch if a thread has all pixels for a panel.

        Parameters
        ----------
        loop
            The loop over tiles; over panels, if channels are added up in parts.
        """
        ic, block = channel_blocks(config)
        _, together, _ = self._panels(config)
        w, (ins, _) = self.workload, self.workload.group_channels
        parts, blocks = self._chunks(config)
        tile = sch.get_sblock("product")
        sch.compute_at(tile, loop, preserve_unit_loops=True)
        if parts > 1:
            product, tile = tile, sch.get_sblock("partial")
            *_, place, i, t, v, k = sch.get_loops(product)
            sch.reorder(k, place, i, t, v)
            sch.compute_at(tile, place, preserve_unit_loops=True)
            for unrolled in (i, t):
                sch.unroll(unrolled)
            sch.vectorize(v)
            sch.vectorize(sch.get_loops(sch.decompose_reduction(product, k))[-1])
        *_, i, t, v, s, kh, kw, c = sch.get_loops(tile)
        sch.reorder(s, kh, kw, c, i, t, v)
        for unrolled in (i, t):
            sch.unroll(unrolled)
        sch.vectorize(v)
        sum_in_registers(sch, tile, s, v)
        if parts * blocks > ins // ic:
            shorten(sch, s, _TILE_AXIS, ins // ic)
        row = together * block
        if self.panels_first(config) and can_prefetch(config.value("tile_p") * row):
            ahead = blocks * w.kernel_height * w.kernel_width * ic * row
            tiles = self.lines.number * self.tiles(config)
            weights = Prefetch(WEIGHTS, ahead, ic * row, part=_TILE_AXIS + (parts > 1), parts=tiles)
            prefetch(sch, kw, weights, *self.next_data(config))

    def next_data(self, config: Config) -> list[Prefetch]:  # noqa: ARG002  # of padded data there is none
        """Return the prefetches of the next tile's data."""
        return []
