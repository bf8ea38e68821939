"""What the templates for CUDA share: knobs, tiling and binding, fetching into shared memory, and limits.

Loops are bound as in AutoTVM, so that a record means the same kernel: each axis of the output is split into four
parts, of which the first is bound to blocks, the second to virtual threads and the third to threads.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tophub_registry.errors import InputError
from tophub_registry.records.families import family_of
from tophub_registry.templates.space import KnobSpace, knob, split
from tophub_registry.templates.suggestion import suggest
from tophub_registry.templates.template import Template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tophub_registry.records.record import Config
    from tophub_registry.records.target import Target
    from tophub_registry.templates.convolution_workloads import ConvNd

MAX_THREADS = 1024
"""Threads of a block, on every CUDA device since compute capability 2.0."""

MAX_THREADS_Z = 64
"""Threads of a block along z."""

MAX_BLOCKS_Z = 65535
"""Blocks of a grid along y and along z, on every CUDA device."""

MAX_SHARED_BYTES = 48 * 1024
"""Static shared memory of a block, in bytes, on every CUDA device since compute capability 2.0."""

MAX_REGISTERS = 255
"""Registers of a thread, on every CUDA device since compute capability 3.5; the rest is spilled."""

FLOAT_BYTES = 4

_ADDING = 128
"""Threads of a block that adds parts of sums."""


@dataclass(frozen=True)
class CudaLimits:
    """What a config needs of the device, known without building its kernel.

    Attributes
    ----------
    threads
        Threads of a block along x, y and z.
    shared_bytes
        Shared memory of a block's tiles, in bytes, or an upper bound.
    vthreads
        Virtual threads: how many strided tiles a thread computes.
    sums
        Outputs that a thread accumulates in registers.
    most_shared_bytes
        The most shared memory that some device has for such a block.
    blocks_z
        Blocks of the grid along z, where images or products lie.
    """

    threads: tuple[int, int, int]
    shared_bytes: int
    vthreads: int = 1
    sums: int = 1
    most_shared_bytes: int = MAX_SHARED_BYTES
    blocks_z: int = 1

    @property
    def possible(self) -> bool:
        """Whether any CUDA device can run such a kernel."""
        return (
            math.prod(self.threads) <= MAX_THREADS
            and self.threads[2] <= MAX_THREADS_Z
            and self.shared_bytes <= self.most_shared_bytes
            and self.blocks_z <= MAX_BLOCKS_Z
        )


class CudaTemplate(Template):
    """A template for a CUDA device."""

    forgiving = True  # AutoTVM's default leaves a GPU idle

    def __init__(self, args: list[Any]) -> None:
        super().__init__(args)
        if reason := self._not_served():
            raise InputError(f"{self.task} does not serve this layer: {reason}")

    def _not_served(self) -> str:
        """Return why the layer can't be computed; empty if it can."""
        return ""

    @abstractmethod
    def limits(self, config: Config) -> CudaLimits:
        """Return what a config needs of the device; plain Python, without TVM."""

    @abstractmethod
    def computation(self, config: Config) -> list[Any]:
        """Return the kernel's arguments as `te` tensors; the last is computed from the others."""

    def feasible(self, config: Config, target: Target) -> bool:  # noqa: ARG002  # the same for every device
        """Return whether a block fits a device, and its sums a thread's registers."""
        limits = self.limits(config)
        return limits.possible and limits.sums <= MAX_REGISTERS

    def possible(self, config: Config) -> bool:
        """Return whether any CUDA device can run such a block."""
        return self.limits(config).possible

    def default(self, target: Target) -> Config:  # noqa: ARG002  # the same for every device
        """Return the first option of every knob, AutoTVM's fallback without a reference log."""
        return self.space.config(0)

    def suggestion(self, target: Target) -> Config:
        """Return a config whose blocks, threads and registers are like those of most good configs."""
        return suggest(self, target)


def has_capability(target: Target, least: int) -> bool:
    """Return whether a device has a compute capability, in tenths, as far as the target says which it has."""
    family = family_of(target) if target.kind == "cuda" else None
    return family is None or int(family.removeprefix("sm_")) >= least


def is_family(target: Target, family: str) -> bool:
    """Return whether a device is of an architecture, as `sm_90`, as far as the target says which it has."""
    return target.kind != "cuda" or family_of(target) in (None, family)


def unroll_knobs(*steps: int) -> list[KnobSpace]:
    """Return the knobs for unrolling: up to how many steps, and whether explicitly in TVM or by the compiler."""
    return [knob("auto_unroll_max_step", steps), knob("unroll_explicit", [0, 1])]


def tile_knobs(parts: int, **extents: int) -> list[KnobSpace]:
    """Return a knob `tile_NAME` for each extent, split into this many parts."""
    return [split(f"tile_{name}", extent, parts=parts) for name, extent in extents.items()]


def blocks(extent: int, config: Config, name: str) -> int:
    """Return into how many blocks a knob splits an axis of this length."""
    inner: int = math.prod(config.value(name)[1:])
    return -(-extent // inner)


def tile_limits(
    config: Config,
    names: Sequence[str],
    *,
    threads: tuple[int, int, int],
    shared: int,
    groups: int = 1,
    blocks_z: int = 1,
) -> CudaLimits:
    """Return what a config needs of the device if some knobs tile the outputs in four parts each.

    Parameters
    ----------
    config
        The config.
    names
        These knobs.
    threads
        Threads of a block along x, y and z.
    shared
        Elements of a block's tiles in shared memory, or an upper bound.
    groups
        Groups of channels, which are virtual threads too.
    blocks_z
        Blocks along z.
    """
    tiles = [config.value(name) for name in names]
    vthreads = groups * math.prod(tile[1] for tile in tiles)
    sums = vthreads * math.prod(tile[3] for tile in tiles)
    return CudaLimits(threads, FLOAT_BYTES * shared, vthreads, sums, blocks_z=blocks_z)


def window(w: ConvNd, tile: Sequence[int], taps: Sequence[int]) -> int:
    """Return how many elements of one channel of the data a tile of outputs and kernel taps reads."""
    return math.prod(
        (outputs - 1) * stride + (reach - 1) * dilation + 1
        for outputs, stride, reach, dilation in zip(tile, w.strides, taps, w.dilation, strict=True)
    )


def in_registers(sch: Any, block: Any) -> tuple[Any, list[Any]]:
    """Let a block accumulate in registers; return the blocks that write its output and that fetch its two inputs."""
    copy = sch.cache_write(block, 0, "local")
    return copy, [sch.cache_read(block, place, "shared") for place in range(2)]


def tile(sch: Any, loop: Any, config: Config, name: str) -> list[Any]:
    """Split a loop by a knob's value."""
    return list(sch.split(loop, [None, *config.value(name)[1:]]))


def tile_image(
    sch: Any, copy: Any, config: Config, names: Sequence[str] = ("tile_f", "tile_y", "tile_x")
) -> tuple[Any, Any, Any]:
    """Tile and bind the loops over an output in NCHW, or NCDHW, by the knobs `names`: all of them but the batch.

    Returns
    -------
    tuple
        The loops over blocks along z (the kernel's outermost) and x, and the loop over threads along x.
    """
    n, *axes = sch.get_loops(copy)
    tiled = [tile(sch, loop, config, name) for loop, name in zip(axes, names, strict=True)]
    (bf, *by, bx), virtual, (*tf, ty, tx), inner = zip(*tiled, strict=True)
    sch.reorder(n, bf, *by, bx, *virtual, *tf, ty, tx, *inner)
    outermost = sch.fuse(n, bf)
    bind(sch, blockIdx_z=outermost, blockIdx_y=sch.fuse(*by), blockIdx_x=bx)
    bind_virtual(sch, virtual)
    bind(sch, threadIdx_z=sch.fuse(*tf), threadIdx_y=ty, threadIdx_x=tx)
    return outermost, bx, tx


def tile_batch(sch: Any, copy: Any, config: Config, groups: int | None = None) -> tuple[Any, Any]:
    """Tile and bind the loops over an output in NCHW by `tile_n`, `tile_f`, `tile_y` and `tile_x`.

    Parameters
    ----------
    groups
        The number of groups of channels, tiled by `tile_g`; None for a kernel without groups.

    Returns
    -------
    tuple
        The kernel's outermost loop and the innermost one over threads.
    """
    n, f, y, x = sch.get_loops(copy)
    bg, vg = [], []
    if groups is not None:
        g, f = sch.split(f, [groups, None])
        bg, vg = ([loop] for loop in tile(sch, g, config, "tile_g"))
    bn, vn, tn, ni = tile(sch, n, config, "tile_n")
    bf, vf, tf, fi = tile(sch, f, config, "tile_f")
    by, vy, ty, yi = tile(sch, y, config, "tile_y")
    bx, vx, tx, xi = tile(sch, x, config, "tile_x")
    sch.reorder(bn, *bg, bf, by, bx, vn, *vg, vf, vy, vx, tn, tf, ty, tx, ni, fi, yi, xi)
    bind(sch, blockIdx_z=bn, blockIdx_y=sch.fuse(*bg, bf) if bg else bf, blockIdx_x=sch.fuse(by, bx))
    bind_virtual(sch, [vn, *vg, vf, vy, vx])
    return bn, bind_four(sch, config, [tn, tf, ty, tx])


def bind(sch: Any, **threads: Any) -> None:
    """Bind loops by axis: `blockIdx_x=loop`, `threadIdx_x=loop`."""
    for axis, loop in threads.items():
        sch.bind(loop, axis.replace("_", "."))


def bind_virtual(sch: Any, loops: Sequence[Any]) -> None:
    """Bind adjacent loops to virtual threads; the last two separately."""
    # TVM's analysis of what fused loops read is coarser, and it would fetch more than needed.
    *rest, y, x = loops
    bind(sch, vthread_y=y, vthread_x=x, **({"vthread_z": sch.fuse(*rest)} if rest else {}))


def fetch(sch: Any, block: Any, at: Any, threads: tuple[int, int, int], *, contiguous: bool) -> Any:
    """Let all threads of a block fetch a tile into shared memory.

    Parameters
    ----------
    sch
        The `tvm.s_tir.Schedule`.
    block
        The copy into shared memory.
    at
        The loop to fetch in.
    threads
        The number of threads along x, y and z.
    contiguous
        Whether each thread fetches adjacent elements; else adjacent threads do.

    Returns
    -------
    tvm.ir.Expr
        The number of elements of the tile.
    """
    x, y, z = threads
    depth = len(sch.get_loops(block))
    sch.compute_at(block, at, preserve_unit_loops=True)
    fused = sch.fuse(*sch.get_loops(block)[-depth:])
    size = sch.get(fused).extent
    if contiguous:
        tz, ty, tx, _ = sch.split(fused, [z, y, x, None])
    else:
        _, tz, ty, tx = sch.split(fused, [None, z, y, x])
    bind(sch, threadIdx_z=tz, threadIdx_y=ty, threadIdx_x=tx)
    return size


def fetch_both(sch: Any, blocks: Sequence[Any], at: Any, threads: tuple[int, int, int], *, contiguous: bool) -> None:
    """Let all threads of a block fetch a tile of data, then one of weights, in each step of a sum.

    Parameters
    ----------
    blocks
        The copies into shared memory. Threads along x read different data, and the same weights.
    sch, at, threads, contiguous
        As for `fetch`.
    """
    size, _ = [fetch(sch, block, at, threads, contiguous=contiguous) for block in blocks]
    around = map(sch.get, sch.get_loops(blocks[0])[:-4])
    steps = math.prod(int(loop.extent) for loop in around if loop.thread_binding is None)
    if steps > 1 and _is_copied_by_some(size, threads):
        _wait_before(sch, at)


def _is_copied_by_some(size: Any, threads: tuple[int, int, int]) -> bool:
    """Return whether a tile may be so small that only threads with the same y or z copy anything."""
    from tvm.sym import Analyzer

    x, y, z = threads
    return any(some < x * y * z and not Analyzer().can_prove(size > some) for some in (x, x * y))


def _wait_before(sch: Any, at: Any) -> None:
    """Let each step of a loop begin with a barrier, since others may still read the last step's data.

    TVM does the same, unless data are written and read at the same index and this contains `threadIdx.x`: it takes this
    for the same thread, and puts the barrier before the weights. If only threads with `threadIdx.z == 0` copy data, the
    index lacks z, and those with another z read the same data.
    """
    from tvm import tirx
    from tvm.script import tirx as T  # noqa: N812  # as TVM script calls it

    loop = sch.get(at)
    body = tirx.SeqStmt([tirx.Evaluate(T.tvm_storage_sync("shared")), *loop.body.seq])
    step = tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body, annotations=loop.annotations)
    sch.state.replace(sch.get_sref(at), step)


def unroll(sch: Any, outermost: Any, config: Config) -> None:
    """Annotate the kernel's outermost loop with the unrolling pragmas."""
    sch.annotate(outermost, "pragma_auto_unroll_max_step", config.value("auto_unroll_max_step"))
    sch.annotate(outermost, "pragma_unroll_explicit", config.value("unroll_explicit"))


def threads_of(config: Config, names: Mapping[str, str] | None = None) -> tuple[int, int, int]:
    """Return the threads along x, y and z: the third factors of three knobs."""
    knobs = names or {"x": "tile_x", "y": "tile_y", "z": "tile_f"}
    x, y, z = (config.value(knobs[axis])[2] for axis in "xyz")
    return x, y, z


def threads_of_four(config: Config) -> tuple[int, int, int]:
    """Return the threads along x, y and z if four axes are tiled; see `bind_four`."""
    n, f, y, x = (config.value(name)[2] for name in ("tile_n", "tile_f", "tile_y", "tile_x"))
    return (y * x, f, n) if config.value("fuse_yx") else (x, y, n * f)


def bind_four(sch: Any, config: Config, loops: Sequence[Any]) -> Any:
    """Bind the thread loops of four axes, the last two fused if `fuse_yx` says so; return the innermost loop."""
    n, f, y, x = loops
    z, y, x = (n, f, sch.fuse(y, x)) if config.value("fuse_yx") else (sch.fuse(n, f), y, x)
    bind(sch, threadIdx_z=z, threadIdx_y=y, threadIdx_x=x)
    return x


def add_parts(sch: Any, total: Any, output: Any, at_once: int) -> None:
    """Schedule a kernel that adds the parts of sums, and writes them.

    Parameters
    ----------
    sch
        The `tvm.s_tir.Schedule`.
    total, output
        The blocks that add, and that write `[batch, rows, columns]`.
    at_once
        How many columns a thread adds and writes at once; it divides their number.
    """
    sch.set_scope(total, 0, "local")
    batch, m, n = sch.get_loops(output)
    columns = int(sch.get(n).extent) // at_once
    across = min(_ADDING, 1 << (columns - 1).bit_length())  # the next power of two
    m, row = sch.split(m, [None, _ADDING // across])
    n, column, numbers = sch.split(n, [None, across, at_once])
    sch.reorder(batch, m, n, row, column, numbers)
    bind(sch, blockIdx_x=sch.fuse(batch, m, n), threadIdx_y=row, threadIdx_x=column)
    sch.vectorize(numbers)
    sch.compute_at(total, column)
    *number, part = sch.get_loops(total)[3:]
    for loop in number:  # none if a thread adds up one number
        sch.reorder(part, loop)
        sch.vectorize(loop)
    sch.decompose_reduction(total, part)
    sch.unroll(part)


def in_tiles(sch: Any, block: Any, shape: tuple[int, int]) -> Any:
    """Divide a block's last two loops into tiles, and unroll the loops over these; return the outer loop of a tile."""
    i, j = sch.get_loops(block)[-2:]
    outer_i, inner_i = sch.split(i, [None, shape[0]])
    outer_j, inner_j = sch.split(j, [None, shape[1]])
    sch.reorder(outer_i, outer_j, inner_i, inner_j)
    sch.unroll(outer_i)
    sch.unroll(outer_j)
    return inner_i
