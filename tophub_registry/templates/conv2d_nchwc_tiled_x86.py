"""Convolutions in blocked layout, several blocks of output channels at once, without groups and with them.

Data `[N, C/ic, H, W, ic]` and output `[N, O/oc, OH, OW, oc]` have the layout of `conv2d_NCHWc.x86`, AutoTVM's template,
which computes one block of output channels at a time, so that narrow images do not fill the registers, and reads each
block's weights for one row of the image after the other. These tasks are this project's own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.errors import InputError
from tophub_registry.templates.convolution import pad
from tophub_registry.templates.convolution_workloads import Conv2d
from tophub_registry.templates.panels_x86 import MAX_PIXELS, Lines, PanelsX86, panels_knob
from tophub_registry.templates.space import ConfigSpace, divisors, knob, split
from tophub_registry.templates.x86 import (
    blocks_of,
    channel_blocks,
    largest_divisor,
    simd_lanes,
)

if TYPE_CHECKING:
    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target

_TASKS = 8
"""The least number of strips in default configs, for threads to share."""

_PANELS = 4
"""The least number of panels in default configs, for threads to share."""

_STRIP = 1 << 17
"""Numbers of padded data that a strip reads at most, if it has more than one row: half of a second-level cache."""

_LARGE_KERNEL = 1 << 20
"""Numbers of a kernel that no second-level cache holds, so that it is read from memory for each strip."""


_FASTER = 0.7
"""The assumed time of several blocks at once, relative to one: with AVX2, two cores did 140 GFLOPS."""


class Conv2dNCHWcTiledX86(PanelsX86):
    """A convolution without groups in blocked layout on an x86 processor."""

    task = "conv2d_NCHWc_tiled.x86"
    parse = staticmethod(Conv2d.parse)

    @property
    def lines(self) -> Lines:
        """The rows of an image."""
        return Lines(self.workload.out_height, self.workload.out_width)

    def _space(self) -> ConfigSpace:
        w = self.workload
        return ConfigSpace(
            [
                split("tile_ic", w.in_channels, parts=2),
                panels_knob(w),
                knob("tile_p", range(1, min(MAX_PIXELS, w.out_width) + 1)),
                knob("tile_oh", divisors(w.out_height)),
            ]
        )

    def panels_first(self, config: Config) -> bool:
        """Return whether threads share the panels, each with all pixels; else they share strips of rows."""
        rows: int = config.value("tile_oh")
        return rows == self.workload.out_height

    def default(self, target: Target) -> Config:
        """Return a decent config for any processor; AutoTVM has no default for this task."""
        w = self.workload
        kernel = math.prod(w.inputs[1])
        by_panels = kernel > _LARGE_KERNEL or kernel > 2 * math.prod(w.inputs[0]) // w.batch
        tile_oc, pixels = self.default_tile(target)
        if by_panels and tile_oc[0] >= _PANELS:
            rows = w.out_height
        else:
            _, left, _, right = w.padding
            row = (left + w.width + right) * w.in_channels * w.strides[0]
            rows = largest_divisor(w.out_height, max(1, min(w.out_height // _TASKS, _STRIP // row)))
        ic = largest_divisor(self.workload.group_channels[0], simd_lanes(target))
        return self.space.config_of(
            {
                "tile_ic": blocks_of(w.in_channels, ic),
                "tile_oc": tile_oc,
                "tile_p": pixels,
                "tile_oh": rows,
            }
        )

    def computation(self, config: Config) -> list[Any]:
        from tvm import te

        w = self.workload
        data, kernel = self.placeholders(config)
        padded = pad(data, w.padding) if any(w.padding) else data

        def value(n: Any, chunk: Any, kh: Any, kw: Any, y: Any, x: Any, c: Any) -> Any:
            row, column = y * w.strides[0] + kh * w.dilation[0], x * w.strides[1] + kw * w.dilation[1]
            return padded[n, chunk, row, column, c]

        sums = self.sums(config, kernel, value)
        return [data, kernel, te.compute(self.tensors(config)[-1].shape, sums, name=self.block)]

    def apply(self, sch: Any, config: Config) -> None:
        _, together, _ = config.value("tile_oc")
        rows = config.value("tile_oh")
        n, o, y, x, v = sch.get_loops(sch.get_sblock(self.block))
        panel, o = sch.split(o, [None, together])
        sch.vectorize(v)
        if self.panels_first(config):
            self.schedule_pad(sch)
            task = sch.fuse(n, panel)
            inner = []
        else:
            strip, y = sch.split(y, [None, rows])
            sch.reorder(n, strip, panel, o, y)
            task = sch.fuse(n, strip)
            inner = [panel]
        sch.parallel(task)
        if not self.in_parts(config):
            tile, x = sch.split(x, [None, config.value("tile_p")])
            inner += [y, tile]
        sch.reorder(task, *inner, o, x, v)
        self.schedule_sums(sch, config, [task, *inner][-1])
        if any(self.workload.padding) and not self.panels_first(config):
            padding = sch.get_sblock("data_pad")
            sch.compute_at(padding, task, preserve_unit_loops=True)
            sch.vectorize(sch.get_loops(padding)[-1])


class GroupConv2dNCHWcTiledX86(Conv2dNCHWcTiledX86):
    """A convolution in groups, each of a few vectors of output channels, in blocked layout on an x86 processor."""

    task = "group_conv2d_NCHWc_tiled.x86"
    parse = staticmethod(Conv2d.parse_grouped)

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether blocks and panels divide a group's channels, too."""
        return self.possible(config) and super().feasible(config, target)

    def promising(self, target: Target) -> bool:
        """Return whether a panel has two vectors or more: with one, `group_conv2d_NCHWc.x86` is faster."""
        return _has_several(self.default(target))

    def untuned_cost(self, config: Config) -> float:
        return super().untuned_cost(config) * (_FASTER if _has_several(config) else 1.0)

    def possible(self, config: Config) -> bool:
        (ins, outs), (ic, _) = self.workload.group_channels, channel_blocks(config)
        _, together, block = config.value("tile_oc")
        return ins % ic == 0 and outs % (together * block) == 0

    def computation(self, config: Config) -> list[Any]:
        if not self.possible(config):
            raise InputError(f"the blocks of channels do not fit the groups: {config.entity}")
        return super().computation(config)


def _has_several(config: Config) -> bool:
    """Return whether a panel has several blocks of output channels."""
    return bool(config.value("tile_oc")[1] > 1)
