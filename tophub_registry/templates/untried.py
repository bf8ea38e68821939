"""The expected gain of a template without records on another template's record of the same layer.

Logs tuned with AutoTVM's templates alone have direct convolutions only. On large layers the default config of
Winograd's convolution beats even a tuned direct kernel, since it needs a fourth of the multiplications. On 63 layers of
at least 100 million operations, 34 timed with AVX2 and 29 with AVX-512 code (`benchmarks/untried.py`), it took 0.4
times as long as the record in the median, and 0.82 times at most. On small layers it sometimes loses, so the rule does
not apply to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tophub_registry.templates.template import Template

DIRECT, WINOGRAD = "conv2d_NCHWc.x86", "conv2d_NCHWc_winograd.x86"

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
    if (untried.task, recorded.task) != (WINOGRAD, DIRECT) or untried.flop < _LARGE:
        return None
    data, kernel = untried.workload.inputs
    return _SHARE if min(data[1], kernel[0]) >= _CHANNELS else None
