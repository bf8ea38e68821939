"""`group_conv2d_NCHWc.x86`: grouped convolution in blocked layout; the kernel is packed when a model is compiled.

Data `[N, C/ic, H, W, ic]` and output `[N, O/oc, OH, OW, oc]` have the layout of `conv2d_NCHWc.x86`. A vector of outputs
is part of one group, or holds a few whole groups. These are computed as one, with zeros in the kernel for other groups'
channels, since a full vector costs no more than part of one. The kernel is `[O/v, c, KH, KW, v]`, with the `v` outputs
of a vector and the `c` input channels of its groups. This task is this project's own: AutoTVM's
`group_conv2d_nchw.x86` packs data and kernel on every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.errors import InputError
from tophub_registry.templates.blocked_x86 import BlockedConvolutionX86
from tophub_registry.templates.convolution import Term
from tophub_registry.templates.convolution_workloads import Conv2d
from tophub_registry.templates.space import ConfigSpace, divisors, knob
from tophub_registry.templates.x86 import (
    blocks_of,
    channel_blocks,
    row_knobs,
    simd_lanes,
    sum_by_taps,
    sums_fit,
    width_of_sums,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target

_MAX_TOGETHER = 4
_NARROW = 8
"""The most outputs of groups computed together by default; some processors compute larger vectors in halves."""


class GroupConv2dNCHWcX86(BlockedConvolutionX86):
    """A convolution in groups in blocked layout on an x86 processor."""

    task = "group_conv2d_NCHWc.x86"
    packs_late = False
    parse = staticmethod(Conv2d.parse_grouped)

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace([*row_knobs(w), knob("together", [n for n in divisors(w.groups) if n <= _MAX_TOGETHER])])

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether blocks and groups divide one another, and the sums are not far larger than the registers."""
        vector = self._vector(config)
        vectors = channel_blocks(config)[1] // vector
        return self.possible(config) and sums_fit(vector, vectors * config.value("tile_ow")[-1], target)

    def possible(self, config: Config) -> bool:
        ic, oc = channel_blocks(config)
        _, outs = self.workload.group_channels
        reads = self._reads(config)
        alone = outs % oc == 0 and config.value("together") == 1
        return (alone or oc % (outs * config.value("together")) == 0) and (reads % ic == 0 or ic % reads == 0)

    def _reads(self, config: Config) -> int:
        """Return the number of input channels that a vector of outputs reads."""
        return self.workload.group_channels[0] * int(config.value("together"))

    def _vector(self, config: Config) -> int:
        """Return the number of outputs in a vector."""
        return min(channel_blocks(config)[1], self.workload.group_channels[1] * int(config.value("together")))

    def default(self, target: Target) -> Config:
        w = self.workload
        _, outs = self.workload.group_channels
        lanes = simd_lanes(target)
        together = max(n for n in divisors(w.groups) if n == 1 or (n <= _MAX_TOGETHER and n * outs <= _NARROW))
        vectors = max(1, lanes // (together * outs))
        ow = width_of_sums(w.out_width, target, vectors_each=vectors)
        fitting = (
            self.space.config_of(
                {
                    "tile_ic": blocks_of(w.in_channels, ic),
                    "tile_oc": blocks_of(w.out_channels, oc),
                    "tile_ow": blocks_of(w.out_width, ow),
                    "unroll_kw": True,
                    "together": n,
                }
            )
            for n in (together, 1)
            for oc in reversed(divisors(w.out_channels))
            for ic in reversed(divisors(w.in_channels))
            if oc <= lanes and ic <= lanes
        )
        return next(filter(self.possible, fitting))

    def kernel_shape(self, config: Config) -> tuple[int, ...]:
        w, vector = self.workload, self._vector(config)
        return w.out_channels // vector, self._reads(config), w.kernel_height, w.kernel_width, vector

    def pack_kernel(self, config: Config, kernel: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        ins, outs = self.workload.group_channels
        o, _, kh, kw = kernel.shape
        reads, vector = self._reads(config), self._vector(config)
        wide = np.zeros((o, reads, kh, kw), kernel.dtype)
        for output in range(o):
            first = output // outs * ins % reads
            wide[output, first : first + ins] = kernel[output]
        return wide.reshape(o // vector, vector, reads, kh, kw).transpose(0, 2, 3, 4, 1)

    def apply(self, sch: Any, config: Config) -> None:
        conv = self.schedule_rows(sch, config.value("tile_ow")[-1])
        block = min(channel_blocks(config)[0], self._reads(config))
        sum_by_taps(sch, conv, config, block, lanes=self._vector(config))

    def computation(self, config: Config) -> list[Any]:
        if not self.possible(config):
            raise InputError(f"the blocks of channels do not fit the groups: {config.entity}")
        ic_block, oc_block = channel_blocks(config)
        vector, reads = self._vector(config), self._reads(config)
        writes = self.workload.group_channels[1] * config.value("together")  # outputs computed from the same channels

        def term(oc: Any, ob: Any) -> Term:
            from tvm import te

            ic = te.reduce_axis((0, reads), name="ic")
            output = oc * oc_block + ob
            c = te.indexdiv(output, writes) * reads + ic
            channel = te.indexdiv(c, ic_block), te.indexmod(c, ic_block)
            return Term((ic,), channel, (te.indexdiv(output, vector), ic, te.indexmod(output, vector)))

        return self.convolution(config, term)
