"""`group_conv2d_nchw.x86`: grouped convolution, packed into blocks of channels within each group.

The kernel takes its tensors in the model's layout, NCHW and OIHW, and packs them itself: data as
`[G, N, c/ic, H, ic, W]`, the kernel as `[G, o/oc, c/ic, KH, KW, ic, oc]`, with the `c` and `o` channels of one
group. A tile of `ow` pixels times `oc` channels is accumulated in registers. Space and schedule are those of TVM's
`topi/x86/group_conv2d.py`, except that tiles are written directly to the output.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.errors import InputError
from tophub_registry.templates.convolution import pad
from tophub_registry.templates.convolution_workloads import Conv2d
from tophub_registry.templates.space import ConfigSpace
from tophub_registry.templates.template import Template
from tophub_registry.templates.x86 import (
    MAX_REGISTER_TILE,
    blocks_of,
    channel_blocks,
    largest_divisor,
    row_knobs,
    simd_lanes,
    sum_by_taps,
    with_width_of_sums,
)

if TYPE_CHECKING:
    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target


_SLOWER = 1.5
"""The time of the default config without packing, relative to that of a layer in blocks."""

_BANDWIDTH = 8e9
"""Bytes in a second that packing reads, and writes."""


class GroupConv2dNCHWX86(Template):
    """A convolution in groups on an x86 processor."""

    task = "group_conv2d_nchw.x86"
    parse = staticmethod(Conv2d.parse_grouped)
    workload: Conv2d

    def _space(self) -> ConfigSpace:
        # As in AutoTVM, all channels are split, although a block must lie within a group: see `possible`.
        return ConfigSpace(row_knobs(self.workload))

    def possible(self, config: Config) -> bool:
        # If blocks do not divide a group's channels, AutoTVM computes wrong results, or no kernel at all.
        ic, oc = channel_blocks(config)
        ins, outs = self.workload.group_channels
        return ins % ic == 0 and outs % oc == 0

    def feasible(self, config: Config, target: Target) -> bool:  # noqa: ARG002  # the same on every processor
        return self.possible(config)

    def default(self, target: Target) -> Config:
        w = self.workload
        ins, outs = self.workload.group_channels
        oc = largest_divisor(outs, simd_lanes(target))
        ic = largest_divisor(ins, oc)
        # AutoTVM ignores the dilation here.
        _, left, _, right = w.padding
        out_width = (w.width + left + right - w.kernel_width) // w.strides[1] + 1
        ow = largest_divisor(out_width, MAX_REGISTER_TILE)
        return self.space.config_of(
            {
                "tile_ic": blocks_of(w.in_channels, ic),
                "tile_oc": blocks_of(w.out_channels, oc),
                "tile_ow": blocks_of(out_width, ow),
                "unroll_kw": False,
            }
        )

    def suggestion(self, target: Target) -> Config:
        return with_width_of_sums(self.space, self.default(target), target)

    def untuned_cost(self, config: Config) -> float:
        """Return the assumed time of a config in seconds, with that of packing data and kernel in each run.

        So estimated, ResNeSt's and ShuffleNet's layers take 14.4 and 0.23 ms; with AVX2 they took 14.5 and 0.20.
        """
        packed = 4 * sum(map(math.prod, self.workload.inputs))
        return _SLOWER * super().untuned_cost(config) + 2 * packed / _BANDWIDTH

    def apply(self, sch: Any, config: Config) -> None:
        self._schedule_packing(sch)
        ic_block, oc_block = channel_blocks(config)
        chunks = self.workload.group_channels[1] // oc_block
        conv, output = sch.get_sblock("conv"), sch.get_sblock("group_conv2d_nchw")

        n, c, oh, ow = sch.get_loops(output)
        group, chunk, block = sch.split(c, [None, chunks, oc_block])
        ow_outer, ow_inner = sch.split(ow, [None, config.value("tile_ow")[-1]])
        sch.reorder(n, group, chunk, oh, ow_outer, ow_inner, block)
        sch.compute_at(conv, ow_outer, preserve_unit_loops=True)
        sch.parallel(sch.fuse(n, group, chunk, oh))
        # Whole vectors of the tile are read and scattered to the output; else it would not stay in registers.
        sch.unroll(ow_inner)
        sch.vectorize(block)

        sum_by_taps(sch, conv, config, ic_block)

    def _schedule_packing(self, sch: Any) -> None:
        if self.workload.padding != (0, 0, 0, 0):
            sch.compute_inline(sch.get_sblock("data_pad"))
        *rows, _, _ = sch.get_loops(sch.get_sblock("data_vec"))
        sch.parallel(sch.fuse(*rows))
        group, oc, ic, kh, kw, ic_inner, oc_inner = sch.get_loops(sch.get_sblock("kernel_vec"))
        sch.reorder(group, oc, kh, ic, kw, ic_inner, oc_inner)
        sch.vectorize(oc_inner)
        sch.parallel(sch.fuse(group, oc, kh))

    def computation(self, config: Config) -> list[Any]:
        from tvm import te

        if not self.possible(config):
            raise InputError(f"the blocks of channels do not divide a group's: {config.entity}")
        w = self.workload
        ic_block, oc_block = channel_blocks(config)
        ins, outs = self.workload.group_channels
        data, kernel = self.placeholders(config)
        padded = pad(data, w.padding) if any(w.padding) else data
        _, _, height, width = padded.shape
        data_vec = te.compute(
            (w.groups, w.batch, ins // ic_block, height, ic_block, width),
            lambda g, n, chunk, y, c, x: padded[n, g * ins + chunk * ic_block + c, y, x],
            name="data_vec",
        )
        kernel_vec = te.compute(
            (w.groups, outs // oc_block, ins // ic_block, w.kernel_height, w.kernel_width, ic_block, oc_block),
            lambda g, o_chunk, i_chunk, y, x, i, o: kernel[
                g * outs + o_chunk * oc_block + o, i_chunk * ic_block + i, y, x
            ],
            name="kernel_vec",
        )
        ic = te.reduce_axis((0, ins), name="ic")
        kh = te.reduce_axis((0, w.kernel_height), name="kh")
        kw = te.reduce_axis((0, w.kernel_width), name="kw")

        def convolve(g: Any, n: Any, oc: Any, oh: Any, ow: Any, block: Any) -> Any:
            y = oh * w.strides[0] + kh * w.dilation[0]
            x = ow * w.strides[1] + kw * w.dilation[1]
            chunk, i = te.indexdiv(ic, ic_block), te.indexmod(ic, ic_block)
            return te.sum(
                data_vec[g, n, chunk, y, i, x] * kernel_vec[g, oc, chunk, kh, kw, i, block], axis=[ic, kh, kw]
            )

        conv = te.compute(
            (w.groups, w.batch, outs // oc_block, w.out_height, w.out_width, oc_block), convolve, name="conv"
        )

        def unpacked(n: Any, c: Any, y: Any, x: Any) -> Any:
            chunk = te.indexdiv(te.indexmod(c, outs), oc_block)
            return conv[te.indexdiv(c, outs), n, chunk, y, x, te.indexmod(c, oc_block)]

        return [data, kernel, te.compute(w.output, unpacked, name="group_conv2d_nchw")]
