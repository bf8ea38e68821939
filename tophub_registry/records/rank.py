"""A record's rank: who has confirmed its cost. It is kept in the row, in the extra key `tophub`.

Only accepting a contribution gives a rank (`proof.acceptance`). A row without one is `claimed`.
"""

from __future__ import annotations

from enum import IntEnum


class Rank(IntEnum):
    """Who has confirmed a cost; greater is better.

    `CLAIMED`: nobody but its contributor.

    `REPLAYED`: its contributor measured it again, when a maintainer drew it at random.

    `REPRODUCED`: it was measured again on a second machine.
    """

    CLAIMED = 0
    REPLAYED = 1
    REPRODUCED = 2

    def __str__(self) -> str:
        return self.name.lower()

    @staticmethod
    def parse(text: str | None) -> Rank:
        """Return the rank that a row says; `CLAIMED` if it says none, or one that is not known here."""
        return _BY_NAME.get(text or "", Rank.CLAIMED)


_BY_NAME = {str(rank): rank for rank in Rank}
