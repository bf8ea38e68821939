"""The expected gain of a template without records on another template's record of the same layer.

Logs tuned with AutoTVM's templates alone have direct convolutions only. On large layers the default config of
Winograd's convolution beats even a tuned direct kernel, since it needs a fourth of the multiplications. On 63 layers of
at least 100 million operations, 34 timed with AVX2 and 29 with AVX-512 code (`benchmarks/untried.py`), it took 0.4
times as long as the record in the median, and 0.82 times at most. On small layers it sometimes loses, so the rule does
not apply to them. AutoTVM's dense layers compute one row at a time, or all at once, where the number of rows has no
divisor that suits the registers; tiles of any number of rows then take less than half of the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tophub_registry.templates.template import Template

DIRECT, WINOGRAD = "conv2d_NCHWc.x86", "conv2d_NCHWc_winograd.x86"
DENSE, TILED = ("dense_nopack.x86", "dense_pack.x86"), "dense_tiled.x86"

_TILES = range(4, 17)
"""Rows that `dense_pack.x86` accumulates at once in its good configs."""

_LARGE = 10**8
"""Floating-point operations of the direct convolution."""

_CHANNELS = 16
"""Minimum number of input and output channels: the three of an image leave most of a vector idle."""

_SHARE = 0.7
"""The relative time that nearly all of these layers stay below."""


def expected_share(untried: Template, recorded: Template) -> float | None:
    """Return the expected time of another template's default config, relative to a record of the same layer.

    None if no gain is expected.
    """
    if untried.task == TILED and recorded.task in DENSE:
        rows = untried.workload.output[0]
        return None if rows < _TILES.start or any(rows % tile == 0 for tile in _TILES) else _SHARE
    if (untried.task, recorded.task) != (WINOGRAD, DIRECT) or untried.flop < _LARGE:
        return None
    data, kernel = untried.workload.inputs
    return _SHARE if min(data[1], kernel[0]) >= _CHANNELS else None
