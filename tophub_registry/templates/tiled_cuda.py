"""What our templates for float32 on CUDA devices share: a matrix product, by tiles in shared memory and in registers.

A block of threads computes a tile of `tile_m` rows and `tile_n` columns, `tile_k` terms at a time, which it copies into
shared memory first. A thread computes `thread_m` rows and `thread_n` columns, in groups of up to four that lie side by
side, so that it reads four numbers at once, and its neighbours the next four. Sizes need no divisors: tiles reach
beyond the ends with zeros. `split_k` parts of the terms can be summed up by blocks of their own, whose sums a second
kernel adds. Both factors lie term by term in shared memory, whatever their layout in global memory.
"""

from __future__ import annotations

import math
import operator
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

from tophub_registry.templates import cuda
from tophub_registry.templates.space import ConfigSpace, knob
from tophub_registry.templates.tensor_intrinsics import WARP

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target

_VECTOR = 4
"""How many numbers a thread reads or writes at once: 16 bytes."""

_PAD = 4
"""By how many numbers rows in shared memory are apart beyond their length, against bank conflicts."""

_LEFT, _RIGHT = "left", "right"

_SIDES = (16, 32, 64, 128, 256)
_DEPTHS = (4, 8, 16, 32)

_THREADS = range(32, 513)
"""Threads of a block that are worth trying."""

_FEWEST_BLOCKS, _MOST_BLOCKS = 16, 2048
"""The blocks of a grid that is worth being divided by parts of the terms."""


class Sizes(NamedTuple):
    """Products of the same shape: `[batch, rows, terms]` times `[batch, terms, columns]`."""

    rows: int
    columns: int
    terms: int
    batch: int = 1


class Factor(NamedTuple):
    """How a factor lies in global memory: what can be copied at once.

    Attributes
    ----------
    places
        How many rows of the left factor, or columns of the right one, lie side by side; 1 if none do.
    terms
        How many terms lie side by side.
    """

    places: int = 1
    terms: int = 1

    @property
    def vector(self) -> int:
        """How many numbers can be copied at once."""
        return math.gcd(max(self.places, self.terms), _VECTOR)


class BlockTile(NamedTuple):
    """The knobs of a config; for `seconds` also arrays, of many configs at once."""

    m: Any
    n: Any
    k: Any
    thread_m: Any
    thread_n: Any
    parts: Any

    @staticmethod
    def of(config: Config) -> BlockTile:
        """Return those of a config."""
        return BlockTile(*map(config.value, _KNOBS))

    @property
    def threads(self) -> tuple[Any, Any]:
        """The threads of a block along rows and columns."""
        return self.m // self.thread_m, self.n // self.thread_n

    def shared(self, factors: Sequence[Factor]) -> Any:
        """Return the numbers in shared memory."""
        return self.k * (self.m + self.n + _PAD * sum(factor.terms > 1 for factor in factors))

    def terms(self, sizes: Sizes) -> Any:
        """Return how many terms a part has, with the zeros at its end."""
        return -(-sizes.terms // (self.parts * self.k)) * self.k

    def blocks(self, sizes: Sizes) -> Any:
        """Return the number of blocks."""
        return -(-sizes.rows // self.m) * -(-sizes.columns // self.n) * sizes.batch * self.parts

    def is_promising(self, sizes: Sizes) -> bool:
        """Return whether a block has a usual number of threads, and the terms are not divided in vain."""
        divided = self.terms(sizes) >= 2 * self.k and _FEWEST_BLOCKS <= self.blocks(sizes) <= _MOST_BLOCKS
        return math.prod(self.threads) in _THREADS and bool(self.parts == 1 or divided)

    @property
    def is_copied_evenly(self) -> bool:
        """Whether each thread of a block copies equally many numbers."""
        threads = math.prod(self.threads)
        return bool(self.m * self.k % threads == 0 == self.n * self.k % threads)


_KNOBS = ("tile_m", "tile_n", "tile_k", "thread_m", "thread_n", "split_k")


class TiledCuda(cuda.CudaTemplate):
    """A layer as a matrix product, or as several of the same shape."""

    forgiving = False  # the default is chosen by an estimate

    @property
    @abstractmethod
    def sizes(self) -> Sizes:
        """The layer as a matrix product."""

    @property
    @abstractmethod
    def factors(self) -> tuple[Factor, Factor]:
        """How the left factor lies, and the right one."""

    @abstractmethod
    def left(self, given: Sequence[Any], at: Sequence[Any]) -> tuple[Any, list[Any]]:
        """Return the left factor's number for a product, a term and a row, and the conditions for it not to be zero.

        `given` are the kernel's inputs.
        """

    @abstractmethod
    def right(self, given: Sequence[Any], at: Sequence[Any]) -> tuple[Any, list[Any]]:
        """Return the same of the right factor, for a product, a term and a column."""

    @abstractmethod
    def output_at(self, at: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Return the product's number, the row and the column of an output."""

    def _space(self) -> ConfigSpace:
        return ConfigSpace([knob(name, options) for name, options in zip(_KNOBS, self._options(), strict=True)])

    def _options(self) -> list[list[int]]:
        rows, columns, terms, _ = self.sizes
        sides = [[side for side in _SIDES if side < 2 * max(size, _SIDES[0])] for size in (rows, columns)]
        depths = [depth for depth in _DEPTHS if depth < 2 * max(terms, _DEPTHS[0])]
        return [*sides, depths, [1, 2, 4, 8], [1, 2, 4, 8], [1, 2, 4, 8, 16]]

    def limits(self, config: Config) -> cuda.CudaLimits:
        tile = BlockTile.of(config)
        (threads_m, threads_n), sums = tile.threads, (tile.thread_m, tile.thread_n)
        return cuda.CudaLimits(
            (threads_n, threads_m, 1),
            cuda.FLOAT_BYTES * tile.shared(self.factors),
            vthreads=math.prod(-(-each // _VECTOR) for each in sums),
            sums=math.prod(sums),
            blocks_z=max(self.sizes.batch * tile.parts, -(-self.sizes.rows // tile.m)),  # as few fit along y
        )

    def possible(self, config: Config) -> bool:
        return BlockTile.of(config).is_copied_evenly and super().possible(config)

    def feasible(self, config: Config, target: Target) -> bool:
        """Return whether a block is possible and of a usual size, and the terms are not divided in vain."""
        return (
            self.possible(config) and BlockTile.of(config).is_promising(self.sizes) and super().feasible(config, target)
        )

    def default(self, target: Target) -> Config:
        """Return the config that takes the least time by an estimate."""
        return next(iter(self.likely(target, 1)), self.space.config(0))

    def suggestion(self, target: Target) -> Config:
        return self.default(target)

    def estimate(self, config: Config) -> float:
        return float(seconds(BlockTile.of(config), self.sizes, self.factors))

    def likely(self, target: Target, count: int) -> list[Config]:
        import numpy as np

        tiles = BlockTile(*(axis.ravel() for axis in np.meshgrid(*map(np.array, self._options()))))
        chosen: list[BlockTile] = []
        for index in np.argsort(seconds(tiles, self.sizes, self.factors), kind="stable"):
            tile = BlockTile(*(int(axis[index]) for axis in tiles))
            if all(sum(map(operator.ne, tile, other)) > 1 for other in chosen):
                config = self.space.config_of(dict(zip(_KNOBS, tile, strict=True)))
                if self.feasible(config, target):
                    chosen.append(tile)
                    if len(chosen) == count:
                        break
        return [self.space.config_of(dict(zip(_KNOBS, tile, strict=True))) for tile in chosen]

    def computation(self, config: Config) -> list[Any]:
        from tvm import te

        s, tile = self.sizes, BlockTile.of(config)
        given = self.placeholders(config)
        rows, columns = -(-s.rows // tile.m) * tile.m, -(-s.columns // tile.n) * tile.n
        left = self._factor(_LEFT, given, tile, rows)
        right = self._factor(_RIGHT, given, tile, columns)
        term = te.reduce_axis((0, tile.terms(s)), name="term")
        sums = te.compute(
            (s.batch * tile.parts, rows, columns),
            lambda b, m, n: te.sum(left[b, term, m] * right[b, term, n], axis=term),
            name="sums",
        )
        whole = s.batch, s.rows, s.columns
        if tile.parts == 1:
            flat = te.compute(whole, lambda b, m, n: sums[b, m, n], name="flat")
        else:
            part = te.reduce_axis((0, tile.parts), name="part")
            every = te.compute(
                whole, lambda b, m, n: te.sum(sums[b * tile.parts + part, m, n], axis=part), name="total"
            )
            flat = te.compute(whole, lambda b, m, n: every[b, m, n], name="flat")
        shape = self.tensors(config)[-1].shape
        return [*given, te.compute(shape, lambda *at: flat[self.output_at(at)], name="output")]

    def _factor(self, name: str, given: Sequence[Any], tile: BlockTile, outer: int) -> Any:
        """Return a factor, `[batch * parts, terms, outer]`, with zeros beyond its ends."""
        from tvm import te, tirx

        s, terms = self.sizes, tile.terms(self.sizes)
        factor, number, size = (
            (self.factors[0], self.left, s.rows) if name == _LEFT else (self.factors[1], self.right, s.columns)
        )

        def seen(part: Any, term: Any, place: Any) -> Any:
            term = part % tile.parts * terms + term
            value, inside = number(given, (part // tile.parts, term, place))
            if size != outer:
                inside.append(_first(place, factor.places) < size)
            if tile.parts * terms != s.terms:
                inside.append(_first(term, factor.terms) < s.terms)
            return tirx.if_then_else(tirx.all(*inside), value, tirx.const(0, value.dtype)) if inside else value

        return te.compute((s.batch * tile.parts, terms, outer), seen, name=name)

    def apply(self, sch: Any, config: Config) -> None:
        tile = BlockTile.of(config)
        sums, flat = sch.get_sblock("sums"), sch.get_sblock("flat")
        b, m, n, term = sch.get_loops(sums)
        bm, vm, tm, mi = _divided(sch, m, tile.m, tile.thread_m)
        bn, vn, tn, ni = _divided(sch, n, tile.n, tile.thread_n)
        step, term = sch.split(term, [None, tile.k])
        sch.reorder(b, bm, bn, vm, vn, tm, tn, step, term, mi, ni)
        cuda.bind(sch, blockIdx_z=b, blockIdx_y=bm, blockIdx_x=bn)
        cuda.bind_virtual(sch, [vm, vn])
        cuda.bind(sch, threadIdx_y=tm, threadIdx_x=tn)
        for loop in (mi, ni, term):
            sch.unroll(loop)
        for load in [sch.cache_read(sums, place, "local") for place in range(2)]:
            sch.compute_at(load, term, preserve_unit_loops=True)
            sch.vectorize(sch.get_loops(load)[-1])
        for name, factor in zip((_LEFT, _RIGHT), self.factors, strict=True):
            _copy(sch, sch.get_sblock(name), step, tile, factor)
        at_once = math.gcd(self.sizes.columns, min(tile.thread_n, _VECTOR))
        if tile.parts == 1:
            sch.set_scope(sums, 0, "local")
            sch.reverse_compute_at(flat, tn, preserve_unit_loops=True)
            sch.vectorize(sch.split(sch.get_loops(flat)[-1], [None, at_once])[-1])
        else:
            sch.reverse_compute_at(sch.cache_write(sums, 0, "local"), tn)
            cuda.add_parts(sch, sch.get_sblock("total"), flat, at_once)
        sch.reverse_compute_inline(sch.get_sblock("output"))
        sch.decompose_reduction(sums, step)


def _first(place: Any, beside: int) -> Any:
    """Return the first place of those that are copied at once, which are all inside or all outside."""
    vector = math.gcd(beside, _VECTOR)
    return place // vector * vector if vector > 1 else place


def _divided(sch: Any, loop: Any, side: int, sums: int) -> Iterator[Any]:
    """Divide a loop between blocks, virtual threads, threads, and what a thread computes side by side."""
    beside = min(sums, _VECTOR)
    return iter(sch.split(loop, [None, sums // beside, side // sums, beside]))


def _copy(sch: Any, block: Any, step: Any, tile: BlockTile, factor: Factor) -> None:
    """Let a block's threads copy a tile of a factor into shared memory, in the order in which it lies."""
    sch.set_scope(block, 0, "shared")
    sch.compute_at(block, step, preserve_unit_loops=True)
    if factor.terms > 1:
        sch.storage_align(block, 0, axis=1, factor=2 * _PAD, offset=_PAD)
        sch.reorder(*reversed(sch.get_loops(block)[-2:]))
    fused = sch.fuse(*sch.get_loops(block)[-2:])
    vector = math.gcd(factor.vector, int(sch.get(fused).extent) // math.prod(tile.threads))
    again, ty, tx, numbers = sch.split(fused, [None, *tile.threads, vector])
    cuda.bind(sch, threadIdx_y=ty, threadIdx_x=tx)
    sch.vectorize(numbers)
    sch.unroll(again)


_MULTIPROCESSORS, _LANES, _CLOCK = 132, 128, 1.7e9
_RESIDENT_THREADS, _RESIDENT_BLOCKS, _REGISTERS, _SHARED_BYTES = 2048, 32, 65536, 227 * 1024

_LOAD, _COPY = 1.58, 3.42
"""What reading a number from shared memory takes, and copying one or four there, in multiplications."""

_STEP = 1.3e-7
"""The seconds that a step waits for its copies, while nothing else is done."""

_WARPS = 8.1
"""The warps that keep a multiprocessor busy."""

_OTHER_REGISTERS = 50
"""Those of a thread beside its sums."""

_START, _SECOND_KERNEL = 2e-6, 2.7e-6
"""Seconds."""

_MEMORY, _CACHE = 1.26e12, 4.4e12
"""Bytes a second: of parts of sums, and of factors out of the second-level cache."""


def seconds(tile: BlockTile, sizes: Sizes, factors: Sequence[Factor]) -> Any:
    """Return the estimated time of a kernel on an H100; of many if the tile's knobs are arrays.

    Its constants were fitted to 830 trials of 13 workloads on an NVIDIA H100 80GB HBM3, from which it differs by 14 %
    (mean of the logarithms, of configs up to three times as slow as the best); its choices took 1.04 times as long as
    the best of 64 random configs (geometric mean). On other GPUs it ranks configs only.
    """
    import numpy as np

    left, right = (factor.vector for factor in factors)
    threads_m, threads_n = tile.threads
    threads, blocks, terms = threads_m * threads_n, tile.blocks(sizes), tile.terms(sizes)
    resident = np.minimum.reduce(
        [
            _RESIDENT_THREADS // threads,
            _REGISTERS // (threads * (tile.thread_m * tile.thread_n + _OTHER_REGISTERS)),
            _SHARED_BYTES // (cuda.FLOAT_BYTES * tile.shared(factors) + 1024),
            np.full_like(threads, _RESIDENT_BLOCKS),
        ]
    ).clip(1)
    each = -(-blocks // _MULTIPROCESSORS)
    warps = np.minimum(resident, each) * threads / WARP
    products = tile.m * tile.n * (1 + _LOAD / tile.thread_m + _LOAD / tile.thread_n)
    work = each * terms * (products + _COPY * (tile.m / left + tile.n / right)) * np.maximum(1, _WARPS / warps)
    read = blocks * terms * (tile.m + tile.n) * cuda.FLOAT_BYTES / _CACHE
    summed = sizes.batch * sizes.rows * sizes.columns * cuda.FLOAT_BYTES * (tile.parts + 1) / _MEMORY
    return (
        _START
        + ((work / _LANES / _CLOCK) ** 4 + read**4) ** 0.25
        + -(-each // resident) * (terms / tile.k) * _STEP
        + (tile.parts > 1) * (_SECOND_KERNEL + summed)
    )
