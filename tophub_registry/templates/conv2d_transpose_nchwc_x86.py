"""`conv2d_transpose_NCHWc.x86`: a transposed convolution in blocked layout, without multiplications by inserted zeros.

Data `[N, C/ic, H, W, ic]` and output `[N, O/oc, OH, OW, oc]` have the layout of `conv2d_NCHWc.x86`. The kernels of
the s x s phases (see `transposed_phases`) are packed when a model is compiled. A tile of one phase's pixels is
accumulated in registers, and written to every s-th pixel of the output. This task is this project's own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.errors import InputError
from tophub_registry.templates.blocked_x86 import BlockedX86, schedule_pad
from tophub_registry.templates.convolution import pad
from tophub_registry.templates.convolution_workloads import TransposedConv2d
from tophub_registry.templates.space import ConfigSpace, knob, split
from tophub_registry.templates.template import RegisterTile
from tophub_registry.templates.transposed_phases import axes, kernels_of_phases
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

_MAX_PIXELS, _MAX_ROWS = 30, 6
"""The largest tile: one register for each pixel and one for the kernel, where there are the most, AVX-512's 32."""

_KERNEL_LOAD = 4
"""The time of a load of the kernel, relative to one of the data: it comes from a farther cache."""


class Conv2dTransposeNCHWcX86(BlockedX86):
    """A transposed convolution without groups in blocked layout on an x86 processor."""

    task = "conv2d_transpose_NCHWc.x86"
    packs_late = False
    parse = staticmethod(TransposedConv2d.parse)
    workload: TransposedConv2d

    def __init__(self, args: list[Any]) -> None:
        super().__init__(args)
        w = self.workload
        if w.groups != 1:
            raise InputError(f"this template needs a transposed convolution without groups: {args!r}")
        self._rows, self._columns = axes(w)

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                split("tile_ic", w.in_channels, parts=2),
                split("tile_oc", w.out_channels, parts=3, keep=panel_worth_trying),
                knob("tile_oh", self._rows.tiles(_MAX_ROWS)),
                knob("tile_ow", self._columns.tiles(_MAX_PIXELS)),
                knob("channels_first", [True, False]),
            ]
        )

    def _computed(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns of each phase that whole tiles cover."""
        return -(-self._rows.length // height) * height, -(-self._columns.length // width) * width

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether the sums fill the registers, with room for the kernel, and few pixels are in vain."""
        _, together, block = config.value("tile_oc")
        tile = config.value("tile_oh"), config.value("tile_ow")
        pixels, needed = math.prod(tile), self._rows.length * self._columns.length
        kernels = together * -(-block // simd_lanes(target))
        fills = sums_fill(kernels, pixels, target, all_pixels=pixels == needed)
        return fills and math.prod(self._computed(*tile)) <= MAX_WASTE * needed

    def register_tile(self, config: Config) -> RegisterTile:
        _, together, block = config.value("tile_oc")
        return RegisterTile(together * block, config.value("tile_oh") * config.value("tile_ow"))

    def default(self, target: Target) -> Config:
        """Return the tile with the least waste and the fewest loads, the squarest of equals; AutoTVM has no default."""
        w = self.workload
        _, lanes, registers = vectors(target)
        block = largest_divisor(w.out_channels, lanes)
        blocks = w.out_channels // block

        def cost(tile: tuple[int, int, int]) -> tuple[float, int]:
            together, height, width = tile
            computed = math.prod(self._computed(height, width))
            return computed * relative_time(together, height * width, _KERNEL_LOAD, registers), height + width

        together, height, width = min(
            (
                (together, height, width)
                for together in range(1, MAX_TOGETHER + 1)
                for height in self._rows.tiles(_MAX_ROWS)
                for width in self._columns.tiles(_MAX_PIXELS)
                if blocks % together == 0 and together * (height * width + 1) < registers
            ),
            key=cost,
        )
        return self.space.config_of(
            {
                "tile_ic": blocks_of(w.in_channels, largest_divisor(w.in_channels, simd_lanes(target))),
                "tile_oc": [blocks // together, together, block],
                "tile_oh": height,
                "tile_ow": width,
                "channels_first": w.kernel_height * w.kernel_width * w.out_channels > w.height * w.width,
            }
        )

    def kernel_shape(self, config: Config) -> tuple[int, ...]:
        rows, columns = self._rows, self._columns
        ic, _ = channel_blocks(config)
        panels, together, block = self._panels(config)
        chunks = self.workload.in_channels // ic
        return panels, rows.phases, columns.phases, chunks, rows.taps, columns.taps, ic, together, block

    def pack_kernel(self, config: Config, kernel: NDArray[Any]) -> NDArray[Any]:
        panels, _, _, chunks, _, _, ic, together, block = self.kernel_shape(config)
        by_phase = kernels_of_phases(self.workload, kernel)
        split = by_phase.reshape(chunks, ic, panels, together, block, *by_phase.shape[2:])
        return split.transpose(2, 5, 7, 0, 6, 8, 1, 3, 4)

    def _panels(self, config: Config) -> tuple[int, int, int]:
        _, together, block = config.value("tile_oc")
        return self.workload.out_channels // (together * block), together, block

    def _padding(self, config: Config) -> tuple[int, int, int, int]:
        height, width = self._computed(config.value("tile_oh"), config.value("tile_ow"))
        (top, bottom), (left, right) = self._rows.padding(height), self._columns.padding(width)
        return top, left, bottom, right

    def computation(self, config: Config) -> list[Any]:
        from tvm import te

        w, rows, columns = self.workload, self._rows, self._columns
        data, kernel = self.placeholders(config)
        ic, oc = channel_blocks(config)
        panels, together, _ = self._panels(config)
        height, width = self._computed(config.value("tile_oh"), config.value("tile_ow"))
        padding = self._padding(config)
        padded = pad(data, padding) if any(padding) else data
        c = te.reduce_axis((0, w.in_channels), name="c")
        ky = te.reduce_axis((0, rows.taps), name="ky")
        kx = te.reduce_axis((0, columns.taps), name="kx")

        def term(n: Any, panel: Any, py: Any, y: Any, px: Any, x: Any, t: Any, v: Any) -> Any:
            chunk, lane = te.indexdiv(c, ic), te.indexmod(c, ic)
            pixel = padded[n, chunk, rows.first(py) + y + ky, columns.first(px) + x + kx, lane]
            return te.sum(pixel * kernel[panel, py, px, chunk, ky, kx, lane, t, v], axis=[c, ky, kx])

        shape = w.batch, panels, rows.phases, height, columns.phases, width, together, oc
        phases = te.compute(shape, term, name="phases")

        def tile(n: Any, o: Any, y: Any, py: Any, x: Any, px: Any, v: Any) -> Any:
            return phases[n, te.indexdiv(o, together), py, y, px, x, te.indexmod(o, together), v]

        def interleaved(n: Any, o: Any, y: Any, x: Any, v: Any) -> Any:
            row, py = te.indexdiv(y, rows.phases), te.indexmod(y, rows.phases)
            column, px = te.indexdiv(x, columns.phases), te.indexmod(x, columns.phases)
            return tiles[n, o, row, py, column, px, v]

        apart = w.batch, w.out_channels // oc, height, rows.phases, width, columns.phases, oc
        tiles = te.compute(apart, tile, name="tiles")
        output = te.compute(self.tensors(config)[-1].shape, interleaved, name=self.block)
        return [data, kernel, output]

    def apply(self, sch: Any, config: Config) -> None:
        ic, _ = channel_blocks(config)
        _, together, _ = self._panels(config)
        if any(self._padding(config)):
            schedule_pad(sch)
        tiles = sch.get_sblock("tiles")
        n, o, y, py, x, px, block = sch.get_loops(tiles)
        panel, o = sch.split(o, [None, together])
        y, y_inner = sch.split(y, [None, config.value("tile_oh")])
        x, x_inner = sch.split(x, [None, config.value("tile_ow")])
        outer = [panel, py, y] if config.value("channels_first") else [py, y, panel]
        sch.reorder(n, *outer, px, x, o, y_inner, x_inner, block)
        task = sch.fuse(n, *outer)
        sch.parallel(task)
        sch.vectorize(block)
        phases = sch.get_sblock("phases")
        sch.compute_at(phases, x, preserve_unit_loops=True)
        *_, y, _, x, together, block, c, ky, kx = sch.get_loops(phases)
        c_outer, c_inner = sch.split(c, [None, ic])
        sch.reorder(c_outer, ky, kx, c_inner, y, x, together, block)
        for loop in (y, x, together):
            sch.unroll(loop)
        sch.vectorize(block)
        sum_in_registers(sch, phases, c_outer, block)
        sch.reverse_compute_inline(
            sch.get_sblock(self.block)
        )  # last, since it may add a test for pixels beyond the output
