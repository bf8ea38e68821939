"""`conv3d_ncdhw.x86`: convolution over three axes, packed into blocks of channels.

The kernel takes data and gives its output in the model's layout, NCDHW, and packs the data itself, as
`[N, C/ic, D, H, W, ic]`. Weights are packed beforehand, as `[O/oc, C/ic, KD, KH, KW, ic, oc]`, where AutoTVM packs them
each time. A tile of `ow` pixels times `oc` channels is accumulated in registers. Space and schedule are otherwise those
of TVM's `topi/x86/conv3d.py`, except that tiles are written directly to the output, and that with one channel in each
group the data are in the output's blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tophub_registry.errors import InputError
from tophub_registry.templates.convolution import Term, convolve, pad
from tophub_registry.templates.convolution_workloads import Conv3d
from tophub_registry.templates.space import ConfigSpace, knob, split
from tophub_registry.templates.template import Template, Tensor
from tophub_registry.templates.x86 import (
    MIN_SUMS,
    blocks_of,
    channel_blocks,
    largest_divisor,
    simd_lanes,
    sum_by_taps,
    sums_fit,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target

_MAX_TILE, _MAX_VECTORS = 8, 4


class Conv3dNCDHWX86(Template):
    """A convolution over depth, height and width on an x86 processor, in groups or not."""

    task = "conv3d_ncdhw.x86"
    parse = staticmethod(Conv3d.parse_grouped)
    workload: Conv3d

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                split("tile_ic", w.in_channels, parts=2),
                split("tile_oc", w.out_channels, parts=2),
                split("tile_ow", self._undilated_width, parts=2, keep=lambda size: size[-1] <= _MAX_TILE),
                knob("unroll_kw", [True, False]),
            ]
        )

    @property
    def _undilated_width(self) -> int:
        """The width of the output as AutoTVM's space has it, which ignores the dilation."""
        w = self.workload
        return (w.width + sum(w.margins[-1]) - w.kernel_width) // w.strides[-1] + 1

    @property
    def _depthwise(self) -> bool:
        """Whether each channel is convolved with its own kernel."""
        return self.workload.group_channels == (1, 1)

    def possible(self, config: Config) -> bool:
        """Return whether the blocks divide a group's channels: others would mix groups."""
        if self._depthwise:
            return True
        ic, oc = channel_blocks(config)
        ins, outs = self.workload.group_channels
        return ins % ic == 0 and outs % oc == 0

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether the kernel can be computed, and its sums are not far more than the registers."""
        _, oc = channel_blocks(config)
        return self.possible(config) and sums_fit(oc, config.value("tile_ow")[-1], target)

    def default(self, target: Target) -> Config:
        w = self.workload
        ins, outs = (w.in_channels, w.out_channels) if self._depthwise else self.workload.group_channels
        lanes = simd_lanes(target)
        ow = largest_divisor(self._undilated_width, _MAX_TILE)
        # A single vector of channels, as in AutoTVM, unless few pixels would leave additions waiting for one another.
        vectors = largest_divisor(outs // lanes, min(_MAX_VECTORS, -(-MIN_SUMS // ow))) if outs % lanes == 0 else 1
        oc = largest_divisor(outs, lanes * vectors)
        ic = largest_divisor(ins, lanes)
        return self.space.config_of(
            {
                "tile_ic": blocks_of(w.in_channels, ic),
                "tile_oc": blocks_of(w.out_channels, oc),
                "tile_ow": blocks_of(self._undilated_width, ow),
                "unroll_kw": False,
            }
        )

    def tensors(self, config: Config) -> list[Tensor]:
        w = self.workload
        ic, oc = channel_blocks(config)
        data, _, output = super().tensors(config)
        ins = self.workload.group_channels[0]
        kernel = (w.out_channels // oc, max(1, ins // ic), *w.taps, min(ic, ins), oc)
        return [data, Tensor(kernel, w.dtype), output]

    def pack(self, config: Config, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        data, kernel = inputs
        o, c, *taps = kernel.shape
        ic, oc = min(config.value("tile_ic")[-1], c), config.value("tile_oc")[-1]
        blocks = kernel.reshape(o // oc, oc, c // ic, ic, *taps)
        return [data, blocks.transpose(0, 2, 4, 5, 6, 3, 1)]

    def apply(self, sch: Any, config: Config) -> None:
        ic_block, oc_block = channel_blocks(config)
        if any(self.workload.padding):
            sch.compute_inline(sch.get_sblock("data_pad"))
        *rows, _, _ = sch.get_loops(sch.get_sblock("data_vec"))
        sch.parallel(sch.fuse(*rows))

        conv, output = sch.get_sblock("conv"), sch.get_sblock("conv3d_ncdhw")
        n, c, od, oh, ow = sch.get_loops(output)
        chunk, block = sch.split(c, [None, oc_block])
        ow_outer, ow_inner = sch.split(ow, [None, config.value("tile_ow")[-1]])
        sch.reorder(n, chunk, od, oh, ow_outer, ow_inner, block)
        sch.compute_at(conv, ow_outer, preserve_unit_loops=True)
        sch.parallel(sch.fuse(n, chunk, od, oh))
        # Whole vectors of the tile are read and scattered to the output; else it would not stay in registers.
        sch.unroll(ow_inner)
        sch.vectorize(block)

        sum_by_taps(sch, conv, config, min(ic_block, self.workload.group_channels[0]), axes=3)

    def computation(self, config: Config) -> list[Any]:
        from tvm import te

        if not self.possible(config):
            raise InputError(f"the blocks of channels do not divide a group's: {config.entity}")
        w = self.workload
        ic_block, oc_block = channel_blocks(config)
        ins, outs = self.workload.group_channels
        read = oc_block if self._depthwise else ic_block
        data, kernel = self.placeholders(config)
        padded = pad(data, w.padding) if any(w.padding) else data
        data_vec = te.compute(
            (w.batch, w.in_channels // read, *padded.shape[2:], read),
            lambda n, chunk, z, y, x, c: padded[n, chunk * read + c, z, y, x],
            name="data_vec",
        )

        def term(oc: Any, ob: Any) -> Term:
            ic = te.reduce_axis((0, ins), name="ic")
            if self._depthwise:
                return Term((ic,), (oc, ob), (oc, ic, 0, ob))
            chunk, block = te.indexdiv(ic, ic_block), te.indexmod(ic, ic_block)
            of_group = te.indexdiv(oc, outs // oc_block) * (ins // ic_block) if w.groups > 1 else 0
            return Term((ic,), (of_group + chunk, block), (oc, chunk, block, ob))

        blocks = (w.batch, w.out_channels // oc_block, *w.out_size, oc_block)
        conv = convolve(w, data_vec, kernel, blocks, term, name="conv")

        def unpacked(n: Any, c: Any, z: Any, y: Any, x: Any) -> Any:
            return conv[n, te.indexdiv(c, oc_block), z, y, x, te.indexmod(c, oc_block)]

        return [data, kernel, te.compute(w.output, unpacked, name="conv3d_ncdhw")]
