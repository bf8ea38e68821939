"""Which layers fill the tiles of tensor cores: both the tasks of a layer and the templates ask for it."""

from __future__ import annotations

TILE = 16
"""Rows and columns of a tile of sums."""

_FEWEST_CHANNELS = 4
"""Input and output channels of a group from which tensor cores are worth their while."""


def groups_together(groups: int, filters: int, channels: int, vector: int) -> int:
    """Return how many of a convolution's groups are computed at once: as few as fill a tile; 0 if that can't be.

    Parameters
    ----------
    filters, channels
        A group's output and input channels.
    vector
        How many channels are copied at once.
    """
    if min(filters, channels) < _FEWEST_CHANNELS:
        return 0
    fitting = (
        number
        for number in range(1, groups + 1)
        if groups % number == 0 and number * filters >= TILE and number * channels % vector == 0
    )
    return next(fitting, 0)
