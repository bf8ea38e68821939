"""Sound inputs to begin with: lines of this repository's packages, in both log versions, and of others at hand.

Logs of others are read where they are, and copied to the fuzzer's own folder only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path

from tophub_registry.errors import InputError
from tophub_registry.records.conversion import to_old
from tophub_registry.records.rows import parse_record

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "registry_data"
_SHARED = ROOT.parent / "shared" / "data"

_LINES = 6
_SMALL = 1 << 14
_WHOLE = 1 << 12

WORDS = (
    "input", "config", "result", "version", "tvm_version", "tophub", "index", "code_hash", "entity", "i", "r", "v", "t",
    "c", "e", "TENSOR", "sp", "re", "ot", "an", "float32", "int8", "NCHW", "NHWC", "NCHW16c", "direct", "winograd",
    "int8", "llvm", "cuda", "cuda -model=h100", "llvm -keys=x86-64-v3 -mcpu=x86-64-v3",
    "llvm -device=arm_cpu -target=aarch64-linux-gnu", "opencl -device=mali", "opencl -device=intel_graphics", "ext_dev",
    "topi_nn_conv2d", "topi_x86_conv2d_NCHWc", "topi_nn_dense", "topi_nn_depthwise_conv2d_nchw",
    "topi_nn_conv2d_transpose_nchw", "conv2d_nchw.cuda", "conv2d_NCHWc.x86", "dense_pack.x86", "dense_nopack.x86",
    "dense_small_batch.gpu", "dense_small_batch.cuda", "dense_large_batch.cuda", "conv2d_transpose_nchw.cuda",
    "conv2d_nchw_winograd.cuda", "depthwise_conv2d_nchw.cuda", "group_conv2d_nchw.cuda", "tile_x", "tile_y", "tile_k",
    "device", "threads", "weights", "cold", "rank", "replayed", "measured", "converted", "log_version", "task",
    "slower_in", "trials", "started", "0.1", "0.2",
)  # fmt: skip
"""What stands in rows."""


@cache
def rows() -> tuple[bytes, ...]:
    """Return rows of both log versions."""
    lines = [line for path in _logs() for line in _spread(path)]
    return tuple(dict.fromkeys([*lines, *filter(None, map(_old, lines))]))


def logs() -> list[bytes]:
    """Return logs of a few lines each."""
    every = rows()
    whole = [path.read_bytes() for path in _logs() if path.stat().st_size <= _WHOLE]
    return [*(line + b"\n" for line in every), *whole, b"# a comment\n" + every[0] + b"\n\n" + every[-1], b""]


def _logs() -> list[Path]:
    upstream = Path(os.environ.get("TOPHUB_UPSTREAM_DATA", _SHARED / "tophub_upstream"))
    own = [min(DATA.glob(f"{package}_v*.log")) for package in ("cuda", "llvm")]
    return [*own, *sorted(upstream.glob("*.log")), *sorted((_SHARED / "cases").glob("*.log"))]


def _spread(path: Path) -> Iterator[bytes]:
    """Yield a few lines from all over a log."""
    with path.open("rb") as stream:
        lines = [
            line.rstrip(b"\n") for line in islice(stream, 3000) if len(line) < _SMALL and not line.startswith(b"#")
        ]
    yield from lines[:: max(1, len(lines) // _LINES)][:_LINES]


def _old(line: bytes) -> bytes | None:
    try:
        return to_old(parse_record(line)).to_json().encode()
    except InputError:
        return None
