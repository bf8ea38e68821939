"""Which layers fill the tiles of tensor cores: both the tasks of a layer and the templates ask for it."""

from __future__ import annotations

TILE = 16
"""Rows and columns of a tile of sums."""

ROW_OF_GROUP = 128
"""The bytes of a row of factors that four warps of a Hopper GPU, a warpgroup, take at once."""

_FEWEST_ROWS, _FEWEST_COLUMNS, FEWEST_STEPS = 48, 32, 3
"""The smallest products that warpgroups are used for: rows and columns of sums, and rows of factors one after the other
that are added up, so that some are copied while others are multiplied."""

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


def suits_warpgroups(rows: int, columns: int, channels: int, taps: int, vector: int) -> bool:
    """Return whether a matrix product is large enough for the instructions of warpgroups.

    Parameters
    ----------
    rows, columns, channels, taps
        The numbers of sums along both sides, of channels, and of how many times these are added up.
    vector
        How many channels have 16 bytes.
    """
    steps = taps * -(-channels // (vector * ROW_OF_GROUP // 16))
    return rows >= _FEWEST_ROWS and columns >= _FEWEST_COLUMNS and steps >= FEWEST_STEPS
