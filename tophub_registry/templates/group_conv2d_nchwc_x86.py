"""`group_conv2d_NCHWc.x86`: convolution in groups in blocked layout, the kernel packed when a model is compiled.

Data `[N, C/ic, H, W, ic]` and output `[N, O/oc, OH, OW, oc]` are laid out as `conv2d_NCHWc.x86` has them. A vector of
outputs lies within one group, or holds a few whole ones: these are computed as one, with zeros in the kernel where
a channel is another group's, for a full vector costs no more than a part of it. The kernel is
`[O/v, c, KH, KW, v]`, with the vector's `v` outputs and the `c` input channels of its groups. A task of this project:
AutoTVM's `group_conv2d_nchw.x86` packs data and kernel each time that it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.errors import InputError
from tophub_registry.templates.padding import pad
from tophub_registry.templates.space import ConfigSpace, divisors, knob, split
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

_MAX_TOGETHER = 4
_NARROW = 8
"""Outputs of groups that are computed together by default: of more, some processors compute one half at a time."""


class GroupConv2dNCHWcX86(Template):
    """A convolution in groups in blocked layout on an x86 processor."""

    task = "group_conv2d_NCHWc.x86"
    packs_late = False
    parse = staticmethod(Conv2d.parse_grouped)
    workload: Conv2d

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                split("tile_ic", w.in_channels, parts=2),
                split("tile_oc", w.out_channels, parts=2),
                split("tile_ow", w.out_width, parts=2, keep=lambda size: size[-1] <= MAX_TILE),
                knob("unroll_kw", [True, False]),
                knob("together", [n for n in divisors(w.groups) if n <= _MAX_TOGETHER]),
            ]
        )

    def feasible(self, config: Config) -> bool:
        """Return whether blocks and groups divide one another, and the sums are not far more than the registers."""
        vector = self._vector(config)
        vectors = channel_blocks(config)[1] // vector
        return self.possible(config) and sums_fit(vector, vectors * config.value("tile_ow")[-1])

    def possible(self, config: Config) -> bool:
        ic, oc = channel_blocks(config)
        _, outs = self._group
        reads = self._reads(config)
        alone = outs % oc == 0 and config.value("together") == 1
        return (alone or oc % (outs * config.value("together")) == 0) and (reads % ic == 0 or ic % reads == 0)

    @property
    def _group(self) -> tuple[int, int]:
        """The channels of one group, of the input and of the output."""
        w = self.workload
        return w.in_channels // w.groups, w.out_channels // w.groups

    def _reads(self, config: Config) -> int:
        """Return how many input channels a vector of outputs is computed from."""
        return self._group[0] * int(config.value("together"))

    def _vector(self, config: Config) -> int:
        """Return how many outputs a vector holds."""
        return min(channel_blocks(config)[1], self._group[1] * int(config.value("together")))

    def default(self, target: Target) -> Config:
        w = self.workload
        _, outs = self._group
        lanes = simd_lanes(target)
        together = max(n for n in divisors(w.groups) if n == 1 or (n <= _MAX_TOGETHER and n * outs <= _NARROW))
        vectors = max(1, lanes // (together * outs))
        ow = largest_divisor(w.out_width, MAX_REGISTER_TILE // vectors)
        fitting = (
            self.space.config_of(
                {
                    "tile_ic": [w.in_channels // ic, ic],
                    "tile_oc": [w.out_channels // oc, oc],
                    "tile_ow": [w.out_width // ow, ow],
                    "unroll_kw": False,
                    "together": n,
                }
            )
            for n in (together, 1)
            for oc in reversed(divisors(w.out_channels))
            for ic in reversed(divisors(w.in_channels))
            if oc <= lanes and ic <= lanes
        )
        return next(filter(self.possible, fitting))

    def tensors(self, config: Config) -> list[Tensor]:
        w = self.workload
        ic, oc = channel_blocks(config)
        vector = self._vector(config)
        kernel = (w.out_channels // vector, self._reads(config), w.kernel_height, w.kernel_width, vector)
        return [
            Tensor((w.batch, w.in_channels // ic, w.height, w.width, ic), w.dtype),
            Tensor(kernel, w.dtype),
            Tensor((w.batch, w.out_channels // oc, w.out_height, w.out_width, oc), w.dtype),
        ]

    def pack(self, config: Config, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        import numpy as np

        data, kernel = inputs
        ic, _ = channel_blocks(config)
        ins, outs = self._group
        o, _, kh, kw = kernel.shape
        reads, vector = self._reads(config), self._vector(config)
        wide = np.zeros((o, reads, kh, kw), kernel.dtype)
        for output in range(o):
            first = output // outs * ins % reads
            wide[output, first : first + ins] = kernel[output]
        return [
            into_blocks(data, ic),
            wide.reshape(o // vector, vector, reads, kh, kw).transpose(0, 2, 3, 4, 1),
        ]

    def unpack(self, config: Config, output: NDArray[Any]) -> NDArray[Any]:  # noqa: ARG002  # the shape says it
        return out_of_blocks(output)

    def apply(self, sch: Any, config: Config) -> None:
        schedule_pad(sch, self.workload.padding)
        conv = sch.get_sblock("group_conv2d_NCHWc")
        tile_rows(sch, conv, config.value("tile_ow")[-1])

        *_, ow, block, ic, kh, kw = sch.get_loops(conv)
        vectors, lanes = sch.split(block, [None, self._vector(config)])
        ic_outer, ic_inner = sch.split(ic, [None, min(channel_blocks(config)[0], self._reads(config))])
        if config.value("unroll_kw"):
            sch.reorder(vectors, ic_outer, kh, ic_inner, kw, ow, lanes)
            sch.unroll(kw)
        else:
            sch.reorder(vectors, ic_outer, kh, kw, ic_inner, ow, lanes)
        sch.unroll(vectors)
        sch.unroll(ow)
        sch.vectorize(lanes)
        sum_in_registers(sch, conv, ic_outer, lanes)

    def computation(self, config: Config) -> list[Any]:
        from tvm import te

        if not self.possible(config):
            raise InputError(f"the blocks of channels do not fit the groups: {config.entity}")
        w = self.workload
        ic_block, oc_block = channel_blocks(config)
        vector, reads = self._vector(config), self._reads(config)
        writes = self._group[1] * config.value("together")  # the outputs that are computed from the same channels
        data_type, kernel_type, out_type = self.tensors(config)
        data = te.placeholder(data_type.shape, w.dtype, name="data")
        kernel = te.placeholder(kernel_type.shape, w.dtype, name="kernel")
        padded = pad(data, w.padding) if any(w.padding) else data
        ic = te.reduce_axis((0, reads), name="ic")
        kh = te.reduce_axis((0, w.kernel_height), name="kh")
        kw = te.reduce_axis((0, w.kernel_width), name="kw")

        def convolve(n: Any, oc: Any, oh: Any, ow: Any, ob: Any) -> Any:
            y = oh * w.strides[0] + kh * w.dilation[0]
            x = ow * w.strides[1] + kw * w.dilation[1]
            output = oc * oc_block + ob
            c = te.indexdiv(output, writes) * reads + ic
            pixel = padded[n, te.indexdiv(c, ic_block), y, x, te.indexmod(c, ic_block)]
            return te.sum(
                pixel * kernel[te.indexdiv(output, vector), ic, kh, kw, te.indexmod(output, vector)], axis=[ic, kh, kw]
            )

        return [data, kernel, te.compute(out_type.shape, convolve, name="group_conv2d_NCHWc")]
