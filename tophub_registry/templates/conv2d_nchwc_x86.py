"""`conv2d_NCHWc.x86`: convolution with the channels in blocks, each of which is a vector.

Data is `[N, C/ic, H, W, ic]`, the kernel `[O/oc, C/ic, KH, KW, ic, oc]`, the output `[N, O/oc, OH, OW, oc]`.
A tile of `ow` pixels times `oc` channels is accumulated in registers; 1x1 kernels tile the height too.
Space and schedule are those of TVM's `topi/x86/conv2d_avx_common.py` and `conv2d_avx_1x1.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.templates.blocked_x86 import BlockedConvolutionX86
from tophub_registry.templates.convolution import Term
from tophub_registry.templates.convolution_workloads import Conv2d
from tophub_registry.templates.prefetch import WEIGHTS, Prefetch, can_prefetch, prefetch
from tophub_registry.templates.space import ConfigSpace, divisors, knob, split
from tophub_registry.templates.template import RegisterTile
from tophub_registry.templates.x86 import (
    MAX_REGISTER_TILE,
    MAX_TILE,
    blocks_of,
    channel_blocks,
    largest_divisor,
    simd_lanes,
    sum_by_taps,
    sum_in_registers,
    sums_fit,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target


class Conv2dNCHWcX86(BlockedConvolutionX86):
    """A convolution without groups in blocked layout on an x86 processor."""

    task = "conv2d_NCHWc.x86"
    parse = staticmethod(Conv2d.parse)

    def _space(self) -> ConfigSpace:
        w = self.workload
        # AutoTVM ignores the dilation here; the space is the same, for compatibility.
        top, left, bottom, right = w.padding
        out_height = (w.height - w.kernel_height + top + bottom) // w.strides[0] + 1
        out_width = (w.width - w.kernel_width + left + right) // w.strides[1] + 1
        last = knob("tile_oh", [1, 2] if out_height > 1 else [1]) if w.pointwise else knob("unroll_kw", [True, False])
        return ConfigSpace(
            [
                split("tile_ic", w.in_channels, parts=2),
                split("tile_oc", w.out_channels, parts=2),
                split("tile_ow", out_width, parts=2, policy="verbose", keep=lambda size: size[-1] <= MAX_TILE),
                last,
            ]
        )

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether the tile of sums is not far larger than the registers."""
        return sums_fit(*self.register_tile(config), target)

    def register_tile(self, config: Config) -> RegisterTile:
        rows = config.value("tile_oh") if self.workload.pointwise else 1
        return RegisterTile(channel_blocks(config)[1], rows * config.value("tile_ow")[-1])

    def default(self, target: Target) -> Config:
        w = self.workload
        oc = largest_divisor(w.out_channels, simd_lanes(target))
        ic = largest_divisor(w.in_channels, oc)
        values: dict[str, Any] = {"tile_ic": blocks_of(w.in_channels, ic), "tile_oc": blocks_of(w.out_channels, oc)}
        if w.pointwise:
            ow, oh = next(
                (ow, oh)
                for ow in reversed(divisors(w.out_width))
                for oh in reversed(divisors(w.out_height))
                if ow * oh <= MAX_REGISTER_TILE
            )
            values["tile_oh"] = oh
        else:
            ow = largest_divisor(w.out_width, MAX_REGISTER_TILE)
            values["unroll_kw"] = False
        values["tile_ow"] = blocks_of(w.out_width, ow)
        return self.space.config_of(values)

    def kernel_shape(self, config: Config) -> tuple[int, ...]:
        w = self.workload
        ic, oc = channel_blocks(config)
        return w.out_channels // oc, w.in_channels // ic, w.kernel_height, w.kernel_width, ic, oc

    def pack_kernel(self, config: Config, kernel: NDArray[Any]) -> NDArray[Any]:
        ic, oc = channel_blocks(config)
        o, c, kh, kw = kernel.shape
        return kernel.reshape(o // oc, oc, c // ic, ic, kh, kw).transpose(0, 2, 4, 5, 3, 1)

    def apply(self, sch: Any, config: Config) -> None:
        if self.workload.pointwise:
            self.schedule_pad(sch)
            _schedule_pointwise(sch, config)
        else:
            strip = self.strip(self.workload.in_channels) if self.rows_first else None
            conv = self.schedule_rows(sch, config.value("tile_ow")[-1], strip, shared=True)
            ic, oc = channel_blocks(config)
            sum_by_taps(sch, conv, config, ic)
            if can_prefetch(math.prod(self.register_tile(config))):
                w = self.workload
                kernel_row = sch.get_loops(conv)[-5]
                panel = w.in_channels * w.kernel_height * w.kernel_width * oc
                prefetch(
                    sch, kernel_row, Prefetch(WEIGHTS, panel, w.kernel_width * ic * oc, part=2, parts=w.out_height)
                )

    def computation(self, config: Config) -> list[Any]:
        ic_block, _ = channel_blocks(config)

        def term(oc: Any, ob: Any) -> Term:
            from tvm import te

            ic = te.reduce_axis((0, self.workload.in_channels), name="ic")
            chunk, block = te.indexdiv(ic, ic_block), te.indexmod(ic, ic_block)
            return Term((ic,), (chunk, block), (oc, chunk, block, ob))

        return self.convolution(config, term)


def _schedule_pointwise(sch: Any, config: Config) -> None:
    ic_block, _ = channel_blocks(config)
    oh_tile, ow_tile = config.value("tile_oh"), config.value("tile_ow")[-1]
    conv = sch.get_sblock("conv2d_NCHWc")
    copy = sch.cache_write(conv, 0, "global")

    n, oc, oh, ow, oc_inner = sch.get_loops(copy)
    oh_outer, oh_inner = sch.split(oh, [None, oh_tile])
    ow_outer, ow_inner = sch.split(ow, [None, ow_tile])
    sch.reorder(oh_outer, ow_outer, oh_inner, ow_inner, oc_inner)
    sch.vectorize(oc_inner)
    parallel = sch.fuse(n, oc, oh_outer)
    sch.parallel(parallel)
    sch.compute_at(conv, parallel, preserve_unit_loops=True)

    *_, oh, ow, oc_inner, ic, _, _ = sch.get_loops(conv)
    ic_outer, ic_inner = sch.split(ic, [None, ic_block])
    oh_outer, oh_inner = sch.split(oh, [None, oh_tile])
    ow_outer, ow_inner = sch.split(ow, [None, ow_tile])
    sch.reorder(oh_outer, ow_outer, ic_outer, ic_inner, oh_inner, ow_inner, oc_inner)
    sch.unroll(oh_inner)
    sch.unroll(ow_inner)
    sch.vectorize(oc_inner)
    sum_in_registers(sch, conv, ic_outer, oc_inner)
