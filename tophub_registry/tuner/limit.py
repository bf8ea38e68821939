"""How long to tune: a time or a number of trials, as a user writes it, and what of it a log has used up."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from tophub_registry.errors import UsageError
from tophub_registry.records.log import read_records
from tophub_registry.records.record import Provenance
from tophub_registry.records.target import Target

_UNITS = {"s": 1, "m": 60, "h": 3600}

_HARDLY = 0.05
"""The rest of a time that is not worth starting for."""


class Limit(NamedTuple):
    """How long to tune: until either is used up.

    Attributes
    ----------
    seconds
        Of building and measuring.
    trials
        Measured configs.
    """

    seconds: float = math.inf
    trials: float = math.inf

    @staticmethod
    def parse(text: str) -> Limit:
        """Read `90s`, `3m`, `1.5h` or `500`; UsageError if the text is something else."""
        found = re.fullmatch(r"([0-9]{1,6}(?:[.][0-9]{1,3})?)([smh])|([0-9]{1,9})", text.strip())
        number = 0.0 if found is None else float(found[1] or found[3])
        if found is None or not number:
            raise UsageError(f"neither a time nor a number of trials: {text[:40]!r}", remedy="for example 3m, or 500")
        return Limit(seconds=number * _UNITS[found[2]]) if found[2] else Limit(trials=int(number))

    def rest(self, log: Path, workloads: Collection[str], target: Target, here: Provenance) -> Limit | None:
        """Return what is left after the trials of these workloads in a log; None if it is not worth starting.

        Parameters
        ----------
        log
            The log; it may be missing.
        here
            The device: what was measured on others, or with other threads, does not count.
        """
        ends: defaultdict[float, float] = defaultdict(float)
        trials = 0
        for record in read_records(log) if log.exists() else ():
            made = record.tophub
            if record.workload in workloads and record.target == target and made and made.where == here.where:
                trials += 1
                if made.started is not None:
                    ends[made.started] = max(ends[made.started], record.result.timestamp)
        spent = sum(end - began for began, end in ends.items())
        rest = Limit(self.seconds - spent, self.trials - trials)
        return None if spent >= (1 - _HARDLY) * self.seconds or rest.trials <= 0 else rest
