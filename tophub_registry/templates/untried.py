"""What a template of our own may be expected to gain on another template's record where it has none itself.

Logs that were tuned with AutoTVM's templates alone, old ones above all, have direct convolutions only. On large layers
Winograd's default config beats even the tuned direct kernel, since it multiplies a fourth as often: of 63 layers of 100
million operations and more, 34 timed with AVX2 and 29 with AVX-512 code (`benchmarks/untried.py`), it took 0.4 of the
record's time in the median and 0.82 at most. On small ones it loses now and then, and nothing is said of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tophub_registry.templates.template import Template

DIRECT, WINOGRAD = "conv2d_NCHWc.x86", "conv2d_NCHWc_winograd.x86"

_LARGE = 10**8
"""Floating-point operations of the direct convolution."""

_CHANNELS = 16
"""Of the data and of the output at least; an image's three leave most of a vector idle."""

_SHARE = 0.7
"""What nearly all of the layers took at most."""


def expected_share(untried: Template, recorded: Template) -> float | None:
    """Return the share of a record's time that the default config of another template of the layer needs at most.

    None where nothing is known, or no gain.
    """
    if (untried.task, recorded.task) != (WINOGRAD, DIRECT) or untried.flop < _LARGE:
        return None
    data, kernel = untried.workload.inputs
    return _SHARE if min(data[1], kernel[0]) >= _CHANNELS else None
