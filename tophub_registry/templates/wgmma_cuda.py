"""Templates for Hopper's tensor cores, whose instructions four warps execute together.

What a kernel computes is as in `mma_cuda`. Each warpgroup has 64 rows of sums and up to 256 columns in its registers;
both factors are read from shared memory, TF32's data by way of registers, where they are rounded.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, ClassVar

from tophub_registry.records.tensor_cores import FEWEST_STEPS, ROW_OF_GROUP, TILE, suits_warpgroups
from tophub_registry.templates import cuda
from tophub_registry.templates.mma import PRECISIONS, Name
from tophub_registry.templates.mma_cuda import MAX_SHARED, MmaTemplate
from tophub_registry.templates.mma_schedule import SUMS_PAD, Schedule
from tophub_registry.templates.space import ConfigSpace, knob
from tophub_registry.templates.template import Tensor
from tophub_registry.templates.tensor_intrinsics import WARP, Function
from tophub_registry.templates.wgmma import ROWS, WARPS, function, intrinsics

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target

_TILES = ("tile_m", "tile_n", "groups_n", "split_k")
"""The knobs that decide about a kernel's time more than the others do."""

_FAMILY = "sm_90"
"""The only GPUs that have these instructions."""

_WIDEST = 256
"""The most columns of an instruction."""

_MOST_GROUPS = 4
"""The most warpgroups of a block: more would have too few registers."""

_PROCESSORS = 132
"""The multiprocessors of a large GPU."""

_REGISTERS, _OTHER_REGISTERS = 65536, 64
"""The registers of a multiprocessor, and how many a thread needs beside those of its sums."""

_LATER_REGISTERS = 92
"""As many where a step's sums are collected after the addresses of later copies are computed."""

_SUMS_A_CYCLE, _BYTES_A_CYCLE, _MOVED_A_CYCLE = 35, 54, 1570
"""In a cycle of an H100, a multiprocessor adds a row's products to so many sums and copies so many bytes of factors,
and all together write or read so many bytes of sums. Fitted to 4,509 measured configs, as are the following."""

_ALONE, _NARROW = 1.52, 1.15
"""How much longer a step takes where a multiprocessor has one block only, and where groups share rows."""

_PRODUCTS: dict[Name, float] = {"float16": 1, "tf32": 1.47, "3xtf32": 2.5}
"""How much longer products take: those of TF32 since data are rounded on the way; the third fits 344 configs
of 15 layers."""

_STARTING, _ADDING = 665, 7300
"""Cycles until a block computes, and for another kernel, that adds parts, on an H100."""

_WORTH = 1.5
"""How many times the fewest cycles a config may be expected to take."""


class WgmmaTemplate(MmaTemplate):
    """A layer on Hopper's tensor cores, in one precision."""

    weight_parts: ClassVar[int] = 1
    """How many numbers of a factor each weight is the sum of."""
    _default: tuple[Target, Config] | None = None

    def _not_served(self) -> str:
        p = self.product
        suits = suits_warpgroups(p.rows, p.columns, p.channels, p.taps, self.precision.vector)
        return super()._not_served() or (
            "" if suits else f"it has only {p.rows} x {p.columns} sums of {p.channels * p.taps}"
        )

    def _space(self) -> ConfigSpace:
        return ConfigSpace(
            [
                knob("tile_m", [ROWS, 2 * ROWS, 4 * ROWS]),
                knob("tile_n", [side for side in (32, 64, 128, _WIDEST) if side < 2 * self.product.columns]),
                knob("groups_n", [1, 2]),
                knob("split_k", [1, 2, 4, 8, 16]),
                knob("stages", [FEWEST_STEPS, 4, 5, 6]),
                knob("raster", [0, 1]),
            ]
        )

    def depth(self, config: Config) -> int:  # noqa: ARG002  # the same for all
        return ROW_OF_GROUP // self.precision.bytes

    def warps(self, config: Config) -> list[int]:
        return [config.value("tile_m") // TILE, config.value("groups_n")]

    def limits(self, config: Config) -> cuda.CudaLimits:
        m, n = (config.value(f"tile_{axis}") for axis in "mn")
        groups = m // ROWS * config.value("groups_n")
        shared = config.value("stages") * (m + self.weight_parts * n) * ROW_OF_GROUP
        if config.value("split_k") == 1:
            shared = max(shared, m * (n + SUMS_PAD) * cuda.FLOAT_BYTES)
        sums = ROWS * n // config.value("groups_n") // (WARPS * WARP)
        return cuda.CudaLimits((WARP, WARPS * groups, 1), shared, sums=sums, most_shared_bytes=MAX_SHARED)

    def possible(self, config: Config) -> bool:
        m, n, groups = config.value("tile_m"), config.value("tile_n"), config.value("groups_n")
        limits = self.limits(config)
        steps, parts = self._steps(config), config.value("split_k")
        return (
            m // ROWS * groups <= _MOST_GROUPS
            and n // groups >= 2 * TILE
            and n * ROW_OF_GROUP % (16 * math.prod(limits.threads)) == 0
            and steps % parts == 0
            and steps // parts >= config.value("stages")
            and limits.possible
        )

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether the GPU has such instructions, the config fits it, and its tiles are worth trying."""
        return self._fits(config, target) and self._cycles(config) <= _WORTH * self._cycles(self.default(target))

    def _fits(self, config: Config, target: Target) -> bool:
        return self.runs_on(target) and self._together(config) > 0 and super().feasible(config, target)

    def _together(self, config: Config) -> int:
        """Return how many blocks a multiprocessor has room for."""
        limits = self.limits(config)
        registers = math.prod(limits.threads) * (limits.sums + _OTHER_REGISTERS)
        return min(MAX_SHARED // limits.shared_bytes, _REGISTERS // registers)

    def runs_on(self, target: Target) -> bool:
        return cuda.is_family(target, _FAMILY)

    def default(self, target: Target) -> Config:
        """Return a possible config with little to do, as far as its tiles say."""
        if self._default is None or self._default[0] != target:
            fits = [config for config in self._plain() if self._fits(config, target)]
            self._default = target, min(fits, key=self._cycles, default=self.space.config(0))
        return self._default[1]

    def likely(self, target: Target, count: int) -> list[Config]:
        best: dict[tuple[Any, ...], Config] = {}
        for config in self._plain():
            if self.feasible(config, target):
                tiles = tuple(config.value(name) for name in _TILES)
                best[tiles] = min(best.get(tiles, config), config, key=self._cycles)
        return sorted(best.values(), key=self._cycles)[:count]

    def _plain(self) -> list[Config]:
        """Return the configs with blocks in one order: it hardly matters."""
        plain = self.space.where({"raster": 0})
        return [self.space.config(self.space.find(plain.config(index).entity)) for index in range(len(plain))]

    def _cycles(self, config: Config) -> float:
        """Return about how many cycles of an H100 a config takes."""
        m, n, parts = (config.value(name) for name in ("tile_m", "tile_n", "split_k"))
        products = m * n / _SUMS_A_CYCLE * _PRODUCTS[self.precision.name]
        step = max(products, (m + self.weight_parts * n) * ROW_OF_GROUP / _BYTES_A_CYCLE)
        waves = math.ceil(self._blocks(config) / _PROCESSORS)
        alone = min(waves, self._together(config)) == 1
        step *= (_ALONE if alone else 1) * (_NARROW if config.value("groups_n") > 1 else 1)
        sums = self.product.rows * self.product.columns * self.product.batch * cuda.FLOAT_BYTES
        moved = sums if parts == 1 else _ADDING * _MOVED_A_CYCLE + 2 * parts * sums
        spare: int = abs(config.value("stages") - 4)  # which hardly matters
        cycles: float = waves * (self._steps(config) // parts * step + _STARTING) + moved / _MOVED_A_CYCLE
        return cycles + spare

    def collects_later(self, config: Config) -> bool:  # noqa: ARG002  # without a step's own sums there are none
        """Return whether a step's sums are added to those of all steps when later copies have begun."""
        return False

    @property
    def schedule_type(self) -> type[Schedule]:
        return _Schedule


class SplitWgmmaTemplate(WgmmaTemplate):
    """A layer in 3xTF32, whose weights are split when they are packed: `[steps, 2, columns, tile_k]`."""

    weight_parts = 2

    def limits(self, config: Config) -> cuda.CudaLimits:
        limits = super().limits(config)
        return dataclasses.replace(limits, sums=2 * limits.sums)  # those of a step, and those of all

    def collects_later(self, config: Config) -> bool:
        """Return whether that is possible with as many blocks on a multiprocessor: it takes more registers."""
        limits = self.limits(config)
        blocks, registers = MAX_SHARED // limits.shared_bytes, limits.sums + _LATER_REGISTERS
        return registers <= cuda.MAX_REGISTERS and blocks * math.prod(limits.threads) * registers <= _REGISTERS

    def tensors(self, config: Config) -> list[Tensor]:
        data, weights, output = super().tensors(config)
        steps, *tile = weights.shape
        return [data, Tensor((steps, self.weight_parts, *tile), weights.dtype), output]

    def packed(self, config: Config, weights: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        whole = super().packed(config, weights)
        rounded = PRECISIONS["tf32"].rounded(whole)
        parts: NDArray[Any] = np.stack([rounded, np.where(np.isfinite(whole), whole - rounded, 0)], axis=1)
        return parts

    def weight(self, other: Any, step: Any, column: Any, channel: Any) -> Any:
        return other[step, 0, column, channel] + other[step, 1, column, channel]


class _Schedule(Schedule):
    """The schedule of the kernel, and of the one that adds its parts."""

    _copying = function("copy_swizzled")

    def __init__(self, sch: Any, config: Config, template: WgmmaTemplate) -> None:
        super().__init__(sch, config, template)
        self._columns = self._tile[1] // config.value("groups_n")
        self._operations = intrinsics(self._precision, self._columns, later=template.collects_later(config))

    def apply(self, output: Any) -> None:
        sch, does = self._sch, self._operations
        product = sch.get_sblock("sums")
        part, m, n, step, k = sch.get_loops(product)
        block_m, warp_m, mi = sch.split(m, [None, self._warps[0], TILE])
        block_n, warp_n, ni = sch.split(n, [None, self._warps[1], self._columns])
        sch.reorder(part, block_m, block_n, warp_n, warp_m, step, mi, ni, k)
        tile = sch.blockize(mi)
        part, block_m, block_n, warp_n, warp_m, step = sch.get_loops(tile)
        warp = sch.fuse(warp_n, warp_m)  # the four warps of a group are neighbours
        self._bind(part, block_m, block_n, warp)
        self._copy_factors(tile, step)
        store = self._move_sums(tile, warp, output, block_n)
        stored = cuda.in_tiles(sch, store, (TILE, self._columns))
        sch.decompose_reduction(tile, step)
        sch.tensorize(sch.get_loops(product)[-3], does.add)
        sch.tensorize(sch.get_loops(sch.get_sblock("sums_init"))[-2], does.clear)
        self._store(stored, does.store_shared if self._parts == 1 else does.store_global)
        self._finish(output, step)

    def _copy(self, block: Any, step: Any) -> None:
        """Let all threads copy a step's data or weights into shared memory, 16 bytes at a time."""
        sch = self._sch
        sch.compute_at(block, step)
        loops = sch.get_loops(block)
        inside = next(depth for depth, loop in enumerate(loops) if sch.get(loop).same_as(sch.get(step))) + 1
        self._by_all_threads(loops[inside:], self._precision.vector)

    def _wait(self, steps: Any, last: int) -> Any:
        from tvm import tirx

        if self._operations.collect is None:
            return super()._wait(steps, last)
        some, all_ = (_call(function(f"arrived<{more}>")) for more in (last - 1, 0))
        return tirx.IfThenElse(steps.loop_var < steps.extent - last, some, all_)

    def _after(self, products: Any) -> list[Any]:
        import tvm_ffi
        from tvm import tirx

        collect = self._operations.collect
        if collect is None:
            return [_call(function("finish"))]
        with_sums = [(tirx.Evaluate, lambda add: _call(collect, add.value.args[1]))]
        return [tvm_ffi.structural_map(products, with_sums)]


def _call(does: Function, *arguments: Any) -> Any:
    from tvm import tirx
    from tvm.script import tirx as T  # noqa: N812  # as TVM script calls it

    return tirx.Evaluate(T.cuda.func_call(does.name, *arguments, source_code=does.code))
