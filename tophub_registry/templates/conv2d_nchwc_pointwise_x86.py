"""`conv2d_NCHWc_pointwise.x86`: a 1x1 convolution in blocked layout, as a product of matrices.

Data `[N, C/ic, H, W, ic]` and output `[N, O/oc, OH, OW, oc]` have the layout of `conv2d_NCHWc.x86`. The pixels of an
image are one axis, so that a tile of sums suits the registers whatever the width of a row: AutoTVM's template computes
parts of one or two rows, for 7x7 pixels 7 or 14. The last tile starts where it ends with the image, and computes some
pixels again. This task is this project's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.errors import InputError
from tophub_registry.templates.blocked_x86 import BlockedConvolutionX86
from tophub_registry.templates.prefetch import DATA, WEIGHTS, Prefetch, can_prefetch, prefetch
from tophub_registry.templates.space import ConfigSpace, knob, split
from tophub_registry.templates.template import RegisterTile
from tophub_registry.templates.workloads import Conv2d
from tophub_registry.templates.x86 import (
    MAX_TOGETHER,
    MAX_WASTE,
    blocks_of,
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
    from numpy.typing import NDArray

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target

_MAX_PIXELS = 30
"""The most pixels of a tile: one register each and one for the kernel, where there are the most, AVX-512's 32."""

_KERNEL_LOAD = 2
"""The time of a load of the kernel, relative to one of the data: it comes from a farther cache."""


class Conv2dNCHWcPointwiseX86(BlockedConvolutionX86):
    """A 1x1 convolution without groups and padding in blocked layout on an x86 processor."""

    task = "conv2d_NCHWc_pointwise.x86"
    packs_late = False
    parse = staticmethod(Conv2d.parse)

    def __init__(self, args: list[Any]) -> None:
        super().__init__(args)
        if not self.workload.pointwise or any(self.workload.padding):
            raise InputError(f"this template needs a 1x1 kernel, without padding: {args!r}")

    @property
    def _pixels(self) -> int:
        return self.workload.out_height * self.workload.out_width

    @property
    def _strided(self) -> bool:
        return self.workload.strides != (1, 1)

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                split("tile_ic", w.in_channels, parts=2),
                split("tile_oc", w.out_channels, parts=3, keep=panel_worth_trying),
                knob("tile_p", range(1, min(_MAX_PIXELS, self._pixels) + 1)),
                knob("channels_first", [True, False]),
            ]
        )

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether the sums fill the registers, with room for the kernel, and few pixels are computed twice."""
        _, together, block = config.value("tile_oc")
        pixels: int = config.value("tile_p")
        kernels = together * -(-block // simd_lanes(target))
        computed = self._parts(config) * pixels
        fills = sums_fill(kernels, pixels, target, all_pixels=pixels == self._pixels)
        return fills and computed <= MAX_WASTE * self._pixels

    def register_tile(self, config: Config) -> RegisterTile:
        _, together, block = config.value("tile_oc")
        return RegisterTile(together * block, config.value("tile_p"))

    def default(self, target: Target) -> Config:
        """Return the tile with the least waste and the fewest loads; AutoTVM has no default for this task."""
        w = self.workload
        _, lanes, registers = vectors(target)
        block = largest_divisor(w.out_channels, lanes)
        count = w.out_channels // block
        channels_first = not self.rows_first

        def cost(tile: tuple[int, int]) -> float:
            together, pixels = tile
            computed = -(-self._pixels // pixels) * pixels
            return computed * relative_time(together, pixels, _KERNEL_LOAD)

        together, pixels = min(
            (
                (together, pixels)
                for together in range(1, MAX_TOGETHER + 1)
                for pixels in range(1, min(_MAX_PIXELS, self._pixels) + 1)
                if count % together == 0
                and together * (pixels + 1) < registers
                and (not channels_first or can_prefetch(together * pixels * block))
            ),
            key=cost,
        )
        return self.space.config_of(
            {
                "tile_ic": blocks_of(w.in_channels, largest_divisor(w.in_channels, block)),
                "tile_oc": [count // together, together, block],
                "tile_p": pixels,
                "channels_first": channels_first,
            }
        )

    def kernel_shape(self, config: Config) -> tuple[int, ...]:
        panels, together, block = self._panels(config)
        return panels, self.workload.in_channels, together, block

    def pack_kernel(self, config: Config, kernel: NDArray[Any]) -> NDArray[Any]:
        panels, together, block = self._panels(config)
        return kernel.reshape(panels, together, block, -1).transpose(0, 3, 1, 2)

    def _parts(self, config: Config) -> int:
        """Return how many tiles cover the pixels."""
        tile: int = config.value("tile_p")
        return -(-self._pixels // tile)

    def _prefetches(self, config: Config) -> bool:
        """Return whether the kernel goes through the pixels for one panel of weights after the other."""
        _, together, block = config.value("tile_oc")
        return config.value("channels_first") and can_prefetch(together * block * config.value("tile_p"))

    def _panels(self, config: Config) -> tuple[int, int, int]:
        _, together, block = config.value("tile_oc")
        return self.workload.out_channels // (together * block), together, block

    def computation(self, config: Config) -> list[Any]:
        from tvm import te

        w = self.workload
        data, kernel = self.placeholders(config)
        ic, oc = channel_blocks(config)
        panels, together, _ = self._panels(config)
        width, tile = w.out_width, config.value("tile_p")
        c = te.reduce_axis((0, w.in_channels), name="c")

        def start(part: Any) -> Any:
            return part * tile if self._pixels % tile == 0 else te.min(part * tile, self._pixels - tile)

        def pixel_of(n: Any, chunk: Any, pixel: Any, v: Any) -> Any:
            y, x = te.indexdiv(pixel, width) * w.strides[0], te.indexmod(pixel, width) * w.strides[1]
            return data[n, chunk, y, x, v]

        # Strided pixels are gathered first: a tile then reads them from one place, without an address for each.
        gathered = w.batch, w.in_channels // ic, self._pixels, ic
        pixels = te.compute(gathered, pixel_of, name="data_pack") if self._strided else pixel_of

        def term(n: Any, part: Any, panel: Any, i: Any, t: Any, v: Any) -> Any:
            value = pixels(n, te.indexdiv(c, ic), start(part) + i, te.indexmod(c, ic))
            return te.sum(value * kernel[panel, c, t, v], axis=c)

        shape = w.batch, self._parts(config), panels, tile, together, oc
        product = te.compute(shape, term, name="product")

        def at(n: Any, o: Any, pixel: Any, v: Any) -> Any:
            part = te.indexdiv(pixel, tile)
            place = te.indexmod(pixel - start(part), tile)  # so that TVM sees that it needs a whole tile
            return product[n, part, te.indexdiv(o, together), place, te.indexmod(o, together), v]

        flat = te.compute((w.batch, w.out_channels // oc, self._pixels, oc), at, name="flat")
        output = te.compute(
            self.tensors(config)[-1].shape, lambda n, o, y, x, v: flat[n, o, y * width + x, v], name=self.block
        )
        return [data, kernel, output]

    def apply(self, sch: Any, config: Config) -> None:
        ic, oc = channel_blocks(config)
        _, together, _ = self._panels(config)
        if self._strided:
            *chunk, _, v = sch.get_loops(sch.get_sblock("data_pack"))
            sch.parallel(sch.fuse(*chunk))
            sch.vectorize(v)
        flat = sch.get_sblock("flat")
        sch.reverse_compute_inline(sch.get_sblock(self.block))
        n, o, pixel, block = sch.get_loops(flat)
        panel, o = sch.split(o, [None, together])
        part, pixel = sch.split(pixel, [None, config.value("tile_p")])
        outer = [panel, part] if config.value("channels_first") else [part, panel]
        sch.reorder(n, *outer, o, pixel, block)
        task = sch.fuse(n, *outer)
        sch.parallel(task)
        sch.vectorize(block)
        product = sch.get_sblock("product")
        sch.compute_at(product, task, preserve_unit_loops=True)
        *_, pixel, o, block, c = sch.get_loops(product)
        c_outer, c_inner = sch.split(c, [None, ic])
        sch.reorder(c_outer, c_inner, pixel, o, block)
        sch.unroll(pixel)
        sch.unroll(o)
        sch.vectorize(block)
        sum_in_registers(sch, product, c_outer, block)
        if self._prefetches(config):
            row, tile = together * oc, config.value("tile_p") * ic
            panel = self.workload.in_channels * row
            prefetch(
                sch,
                c_outer,
                Prefetch(WEIGHTS, panel, ic * row, part=1, parts=self._parts(config)),
                Prefetch(DATA, tile, tile),
            )
