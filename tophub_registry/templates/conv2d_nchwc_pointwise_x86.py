"""`conv2d_NCHWc_pointwise.x86`: a 1x1 convolution in blocked layout, as a product of matrices.

Data `[N, C/ic, H, W, ic]` and output `[N, O/oc, OH, OW, oc]` have the layout of `conv2d_NCHWc.x86`. The pixels of an
image are one axis, so that a tile of sums suits the registers whatever the width of a row: AutoTVM's template computes
parts of one or two rows, for 7x7 pixels 7 or 14. This task is this project's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.errors import InputError
from tophub_registry.templates.convolution_workloads import Conv2d
from tophub_registry.templates.panels_x86 import MAX_PIXELS, Lines, PanelsX86, panels_knob
from tophub_registry.templates.prefetch import DATA, Prefetch
from tophub_registry.templates.space import ConfigSpace, knob, split
from tophub_registry.templates.x86 import blocks_of, channel_blocks, largest_divisor, simd_lanes

if TYPE_CHECKING:
    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target


class Conv2dNCHWcPointwiseX86(PanelsX86):
    """A 1x1 convolution without groups and padding in blocked layout on an x86 processor."""

    task = "conv2d_NCHWc_pointwise.x86"
    parse = staticmethod(Conv2d.parse)

    def __init__(self, args: list[Any]) -> None:
        super().__init__(args)
        if not self.workload.pointwise or any(self.workload.padding):
            raise InputError(f"this template needs a 1x1 kernel, without padding: {args!r}")

    @property
    def lines(self) -> Lines:
        """All pixels of an image, in one line."""
        return Lines(1, self.workload.out_height * self.workload.out_width)

    @property
    def _strided(self) -> bool:
        return self.workload.strides != (1, 1)

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                split("tile_ic", w.in_channels, parts=2),
                panels_knob(w),
                knob("tile_p", range(1, min(MAX_PIXELS, self.lines.pixels) + 1)),
                knob("channels_first", [True, False]),
            ]
        )

    def panels_first(self, config: Config) -> bool:
        first: bool = config.value("channels_first")
        return first

    def default(self, target: Target) -> Config:
        """Return the tile with the least waste and the fewest loads; AutoTVM has no default for this task."""
        tile_oc, pixels = self.default_tile(target)
        ic = largest_divisor(self.workload.in_channels, simd_lanes(target))
        return self.space.config_of(
            {
                "tile_ic": blocks_of(self.workload.in_channels, ic),
                "tile_oc": tile_oc,
                "tile_p": pixels,
                "channels_first": not self.rows_first,
            }
        )

    def computation(self, config: Config) -> list[Any]:
        from tvm import te

        w = self.workload
        data, kernel = self.placeholders(config)
        ic, oc = channel_blocks(config)
        width, pixels = w.out_width, self.lines.pixels

        def pixel_of(n: Any, chunk: Any, pixel: Any, v: Any) -> Any:
            y, x = te.indexdiv(pixel, width) * w.strides[0], te.indexmod(pixel, width) * w.strides[1]
            return data[n, chunk, y, x, v]

        # Strided pixels are gathered first: a tile then reads them from one place, without an address for each.
        gathered = w.batch, w.in_channels // ic, pixels, ic
        image = te.compute(gathered, pixel_of, name="data_pack") if self._strided else pixel_of
        sums = self.sums(config, kernel, lambda n, chunk, _kh, _kw, _line, pixel, c: image(n, chunk, pixel, c))
        flat = te.compute(
            (w.batch, w.out_channels // oc, pixels, oc), lambda n, o, pixel, v: sums(n, o, 0, pixel, v), name="flat"
        )
        output = te.compute(
            self.tensors(config)[-1].shape, lambda n, o, y, x, v: flat[n, o, y * width + x, v], name=self.block
        )
        return [data, kernel, output]

    def apply(self, sch: Any, config: Config) -> None:
        _, together, _ = config.value("tile_oc")
        if self._strided:
            *chunk, _, v = sch.get_loops(sch.get_sblock("data_pack"))
            sch.parallel(sch.fuse(*chunk))
            sch.vectorize(v)
        sch.reverse_compute_inline(sch.get_sblock(self.block))
        n, o, pixel, v = sch.get_loops(sch.get_sblock("flat"))
        panel, o = sch.split(o, [None, together])
        outer = [n, panel]
        if not self.in_parts(config):
            tile, pixel = sch.split(pixel, [None, config.value("tile_p")])
            outer = [n, panel, tile] if self.panels_first(config) else [n, tile, panel]
            sch.reorder(*outer, o, pixel, v)
        task = sch.fuse(*outer)
        sch.parallel(task)
        sch.vectorize(v)
        self.schedule_sums(sch, config, task)

    def next_data(self, config: Config) -> list[Prefetch]:
        tile = config.value("tile_p") * channel_blocks(config)[0]
        return [Prefetch(DATA, tile, tile)]
