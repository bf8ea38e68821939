"""`depthwise_conv2d_NCHWc.x86`: convolution with one kernel per channel, and the channels in blocks.

Data is `[N, C/ic, H, W, ic]`, the kernel `[C/oc, 1, KH, KW, 1, oc]`, the output `[N, C/oc, OH, OW, oc]`; if `ic` and
`oc` differ, a vector is gathered from several blocks of the data. A tile of `ow` pixels times `oc` channels is
accumulated in registers. Space and schedule are those of TVM's `topi/x86/depthwise_conv2d.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.templates.blocked_x86 import BlockedConvolutionX86
from tophub_registry.templates.convolution import Term
from tophub_registry.templates.convolution_workloads import Conv2d
from tophub_registry.templates.space import ConfigSpace
from tophub_registry.templates.template import RegisterTile
from tophub_registry.templates.x86 import (
    MAX_REGISTER_TILE,
    blocks_of,
    channel_blocks,
    largest_divisor,
    row_knobs,
    simd_lanes,
    sum_in_registers,
    sums_fit,
    with_width_of_sums,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target


_MAX_GATHERED = 1024
"""The most outputs of an unrolled tile if the channels of a vector are in several blocks of the data."""

_MAX_GATHERED_LANES = 64


class DepthwiseConv2dNCHWcX86(BlockedConvolutionX86):
    """A depthwise convolution in blocked layout on an x86 processor."""

    task = "depthwise_conv2d_NCHWc.x86"
    parse = staticmethod(Conv2d.parse_depthwise)

    def _space(self) -> ConfigSpace:
        return ConfigSpace(row_knobs(self.workload))

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether the tile of sums is not far larger than the registers, and compiles quickly.

        Either vectors are loaded whole, or few numbers are loaded one by one: beyond these limits LLVM took more than
        ten seconds, and the kernels were far from the best.
        """
        ic, oc = channel_blocks(config)
        width = config.value("tile_ow")[-1]
        loaded = ic % oc == 0 or (oc <= _MAX_GATHERED_LANES and oc * width <= _MAX_GATHERED)
        return loaded and sums_fit(oc, width, target)

    def register_tile(self, config: Config) -> RegisterTile:
        return RegisterTile(channel_blocks(config)[1], config.value("tile_ow")[-1])

    def default(self, target: Target) -> Config:
        w = self.workload
        block = largest_divisor(w.in_channels, simd_lanes(target))
        # AutoTVM takes the paddings at the top and at the bottom for those of height and width, so with uneven
        # padding its width is not the output's; the default is the same, for compatibility.
        bottom = w.padding[2]
        out_width = (w.width - (w.kernel_width - 1) * w.dilation[1] - 1 + 2 * bottom) // w.strides[1] + 1
        ow = largest_divisor(out_width, MAX_REGISTER_TILE)
        blocks = blocks_of(w.in_channels, block)
        return self.space.config_of(
            {"tile_ic": blocks, "tile_oc": blocks, "tile_ow": blocks_of(out_width, ow), "unroll_kw": False}
        )

    def suggestion(self, target: Target) -> Config:
        return with_width_of_sums(self.space, self.default(target), target)

    def kernel_shape(self, config: Config) -> tuple[int, ...]:
        w, (_, oc) = self.workload, channel_blocks(config)
        return w.out_channels // oc, 1, w.kernel_height, w.kernel_width, 1, oc

    def pack_kernel(self, config: Config, kernel: NDArray[Any]) -> NDArray[Any]:
        _, oc = channel_blocks(config)
        c, _, kh, kw = kernel.shape
        return kernel.reshape(c // oc, oc, 1, 1, kh, kw).transpose(0, 2, 4, 5, 3, 1)

    def apply(self, sch: Any, config: Config) -> None:
        ic, oc = channel_blocks(config)
        strip = self.strip(ic, least=1) if ic == oc else None
        conv = self.schedule_rows(sch, config.value("tile_ow")[-1], strip)
        *_, ow, block, kh, kw = sch.get_loops(conv)
        sch.reorder(kh, kw, ow, block)
        if config.value("unroll_kw"):
            sch.unroll(kw)
        sch.unroll(ow)
        sch.vectorize(block)
        sum_in_registers(sch, conv, kh, block)

    def computation(self, config: Config) -> list[Any]:
        ic, oc = channel_blocks(config)

        def term(chunk: Any, block: Any) -> Term:
            from tvm import te

            c = chunk * oc + block
            return Term((), (te.indexdiv(c, ic), te.indexmod(c, ic)), (chunk, 0, 0, block))

        return self.convolution(config, term)


class DepthwiseConv2dNCHWcDilatedX86(DepthwiseConv2dNCHWcX86):
    """The same with dilation, a template of our own: AutoTVM has no tasks of such layers."""

    task = "depthwise_conv2d_NCHWc_dilated.x86"
