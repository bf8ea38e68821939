"""`depthwise_conv2d_NCHWc.x86`: convolution with one kernel for each channel, the channels in blocks.

Data is `[N, C/ic, H, W, ic]`, the kernel `[C/oc, 1, KH, KW, 1, oc]`, the output `[N, C/oc, OH, OW, oc]`; where
the two blocks differ, a vector is gathered from several blocks of the data. A tile of `ow` outputs times `oc`
channels is summed up in registers. Space and schedule are those of TVM's `topi/x86/depthwise_conv2d.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.templates.padding import pad
from tophub_registry.templates.space import ConfigSpace, knob, split
from tophub_registry.templates.template import Template, Tensor
from tophub_registry.templates.workloads import Conv2d
from tophub_registry.templates.x86 import (
    MAX_REGISTER_TILE,
    MAX_TILE,
    channel_blocks,
    into_blocks,
    largest_divisor,
    out_of_blocks,
    schedule_pad,
    simd_lanes,
    sum_in_registers,
    sums_fit,
    tile_rows,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target


_MAX_GATHERED = 1024
"""Outputs of an unrolled tile at most, where the channels of its vectors lie in several blocks of the data."""

_MAX_GATHERED_LANES = 64


class DepthwiseConv2dNCHWcX86(Template):
    """A depthwise convolution in blocked layout on an x86 processor."""

    task = "depthwise_conv2d_NCHWc.x86"
    parse = staticmethod(Conv2d.parse_depthwise)
    workload: Conv2d

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                split("tile_ic", w.in_channels, parts=2),
                split("tile_oc", w.out_channels, parts=2),
                split("tile_ow", w.out_width, parts=2, keep=lambda size: size[-1] <= MAX_TILE),
                knob("unroll_kw", [True, False]),
            ]
        )

    def feasible(self, config: Config) -> bool:
        """Return whether the tile of sums is not far larger than the registers, and soon compiled.

        Vectors are to be loaded as such, or else few enough numbers one by one: kernels beyond these limits took
        LLVM more than ten seconds, and are far from the best.
        """
        ic, oc = channel_blocks(config)
        width = config.value("tile_ow")[-1]
        loaded = ic % oc == 0 or (oc <= _MAX_GATHERED_LANES and oc * width <= _MAX_GATHERED)
        return loaded and sums_fit(oc, width)

    def default(self, target: Target) -> Config:
        w = self.workload
        block = largest_divisor(w.in_channels, simd_lanes(target))
        # AutoTVM takes the padding at the top and at the bottom for that of the height and of the width, so that
        # for uneven padding its width is not the output's; its default is what it is.
        bottom = w.padding[2]
        out_width = (w.width - (w.kernel_width - 1) * w.dilation[1] - 1 + 2 * bottom) // w.strides[1] + 1
        ow = largest_divisor(out_width, MAX_REGISTER_TILE)
        blocks = [w.in_channels // block, block]
        return self.space.config_of(
            {"tile_ic": blocks, "tile_oc": blocks, "tile_ow": [out_width // ow, ow], "unroll_kw": False}
        )

    def tensors(self, config: Config) -> list[Tensor]:
        w = self.workload
        ic, oc = channel_blocks(config)
        return [
            Tensor((w.batch, w.in_channels // ic, w.height, w.width, ic), w.dtype),
            Tensor((w.out_channels // oc, 1, w.kernel_height, w.kernel_width, 1, oc), w.dtype),
            Tensor((w.batch, w.out_channels // oc, w.out_height, w.out_width, oc), w.dtype),
        ]

    def pack(self, config: Config, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        data, kernel = inputs
        ic, oc = channel_blocks(config)
        c, _, kh, kw = kernel.shape
        return [
            into_blocks(data, ic),
            kernel.reshape(c // oc, oc, 1, 1, kh, kw).transpose(0, 2, 4, 5, 3, 1),
        ]

    def unpack(self, config: Config, output: NDArray[Any]) -> NDArray[Any]:  # noqa: ARG002  # the shape says it
        return out_of_blocks(output)

    def apply(self, sch: Any, config: Config) -> None:
        schedule_pad(sch, self.workload.padding)
        conv = sch.get_sblock("depthwise_conv2d_NCHWc")
        tile_rows(sch, conv, config.value("tile_ow")[-1])
        *_, ow, block, kh, kw = sch.get_loops(conv)
        sch.reorder(kh, kw, ow, block)
        if config.value("unroll_kw"):
            sch.unroll(kw)
        sch.unroll(ow)
        sch.vectorize(block)
        sum_in_registers(sch, conv, kh, block)

    def computation(self, config: Config) -> list[Any]:
        from tvm import te

        w = self.workload
        ic, oc = channel_blocks(config)
        data_type, kernel_type, out_type = self.tensors(config)
        data = te.placeholder(data_type.shape, w.dtype, name="data")
        kernel = te.placeholder(kernel_type.shape, w.dtype, name="kernel")
        padded = pad(data, w.padding) if any(w.padding) else data
        kh = te.reduce_axis((0, w.kernel_height), name="kh")
        kw = te.reduce_axis((0, w.kernel_width), name="kw")

        def convolve(n: Any, chunk: Any, oh: Any, ow: Any, block: Any) -> Any:
            y = oh * w.strides[0] + kh * w.dilation[0]
            x = ow * w.strides[1] + kw * w.dilation[1]
            c = chunk * oc + block
            pixel = padded[n, te.indexdiv(c, ic), y, x, te.indexmod(c, ic)]
            return te.sum(pixel * kernel[chunk, 0, kh, kw, 0, block], axis=[kh, kw])

        return [data, kernel, te.compute(out_type.shape, convolve, name="depthwise_conv2d_NCHWc")]
