"""`conv3d_ncdhw_winograd.cuda`: Winograd's convolution over three axes, or over rows and columns of each depth.

If the kernel is a cube, tiles extend over all three axes. Otherwise they extend over rows and columns, and the products
are summed up over the kernel's depth; then AutoTVM splits the filters by the knob of the output's depth, and depth or
tiles by another one. Here each part of such a split is the largest that divides the axis, and what no knob splits is a
block's, where AutoTVM leaves it to each thread. Spaces are those of TVM's `topi/cuda/conv3d_winograd.py`, and schedules
otherwise.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tophub_registry.templates import cuda
from tophub_registry.templates.convolution_workloads import Conv3d
from tophub_registry.templates.space import ConfigSpace, knob, split
from tophub_registry.templates.winograd_cuda import TAPS, WinogradCuda
from tophub_registry.templates.x86 import largest_divisor

if TYPE_CHECKING:
    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target

_MAX_TILES = 32


class Conv3dNCDHWWinogradCuda(WinogradCuda):
    """A convolution whose kernel is square in rows and columns, which have neither strides nor dilation."""

    task = "conv3d_ncdhw_winograd.cuda"
    parse = staticmethod(Conv3d.parse_grouped)
    workload: Conv3d

    def _axes(self) -> int:
        return 3 if len(set(self.workload.taps)) == 1 else 2

    def _not_served(self) -> str:
        w = self.workload
        depth, height, width = w.taps
        if height != width or width not in TAPS:
            return f"its kernel is {height}x{width}, not square and of 3 to 7"
        if w.groups > 1:
            return f"it has {w.groups} groups"
        if {*w.strides[1:], *w.dilation} != {1} or (depth == height and w.strides[0] > 1):
            return "it has strides or dilation"
        return ""

    def _space(self) -> ConfigSpace:
        w = self.workload
        sums, order = [("rc", w.in_channels)], []
        filters = w.out_channels
        if self.planes:
            sums.append(("rz", w.taps[0]))
            order.append(knob("unroll_axis", [0, 1]))
            filters = w.out_size[0]
        return ConfigSpace(
            [
                split("tile_b", self.size**self.axes, parts=4, keep=lambda size: size[1:] == [1, 1, 1]),
                *cuda.tile_knobs(4, y=filters, x=self.tiles),
                *cuda.tile_knobs(2, **dict(sums)),
                *cuda.unroll_knobs(0, 128, 1500),
                *order,
            ]
        )

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether a device can run a kernel, and no thread computes too many tiles one after the other."""
        few = not self.planes or not config.value("unroll_axis") or self.tiles <= _MAX_TILES
        return few and super().feasible(config, target)

    def limits(self, config: Config) -> cuda.CudaLimits:
        y, x, rc = self._filters(config), self._others(config), config.value("tile_rc")[1]
        columns, depth, sums = math.prod(x), 1, y[0] * x[0] * y[2] * x[2]
        if self.planes:
            depth = self.workload.taps[0]
            columns *= depth
            if config.value("unroll_axis"):
                columns = ((math.prod(x) - 1) * self.workload.strides[0] + depth) * self.tiles
                sums *= self.tiles
        shared = rc * (depth * math.prod(y) + columns)
        return cuda.CudaLimits((x[1], y[1], 1), cuda.FLOAT_BYTES * shared, y[0] * x[0], sums)

    def _filters(self, config: Config) -> list[int]:
        """Return the parts of the filters: virtual threads, threads, and what each computes."""
        return _fitted(config.value("tile_y"), self.workload.out_channels)

    def _others(self, config: Config) -> list[int]:
        """Return the parts of the tiles, or of the depth."""
        of_depth = self.planes and config.value("unroll_axis")
        return _fitted(config.value("tile_x"), self.workload.out_size[0] if of_depth else self.tiles)

    def _schedule_product(self, sch: Any, config: Config) -> None:
        if not self.planes:
            super()._schedule_product(sch, config)
            return
        product = sch.get_sblock("bgemm")
        copy, shared = cuda.in_registers(sch, product)
        a, b, co, z, p = sch.get_loops(copy)
        inner = [p] if config.value("unroll_axis") else []
        tiled, outer = (z, []) if inner else (p, [z])
        by, vy, ty, yi = sch.split(co, [None, *self._filters(config)])
        bx, vx, tx, xi = sch.split(tiled, [None, *self._others(config)])
        sch.reorder(a, b, *outer, by, bx, vy, vx, ty, tx, yi, xi, *inner)
        bz = sch.fuse(a, b, *outer)
        cuda.bind(sch, blockIdx_z=bz, blockIdx_y=by, blockIdx_x=bx)
        cuda.bind_virtual(sch, [vy, vx])
        cuda.bind(sch, threadIdx_y=ty, threadIdx_x=tx)
        sch.compute_at(product, tx, preserve_unit_loops=True)
        *places, rc, rz = sch.get_loops(product)[-7:]
        rc_outer, rc_inner = cuda.tile(sch, rc, config, "tile_rc")
        rz_outer, rz_inner = cuda.tile(sch, rz, config, "tile_rz")
        sch.reorder(rc_outer, rz_outer, rc_inner, rz_inner, *places)
        for load in shared:
            cuda.fetch(sch, load, rc_outer, self.limits(config).threads, contiguous=False)
        cuda.unroll(sch, bz, config)
        sch.decompose_reduction(product, rc_outer)


def _fitted(size: list[int], extent: int) -> list[int]:
    """Return the inner parts of a split, each the largest that divides what is left of an axis."""
    parts: list[int] = []
    for part in reversed(size[1:]):
        parts.insert(0, largest_divisor(extent // math.prod(parts), part))
    return parts
