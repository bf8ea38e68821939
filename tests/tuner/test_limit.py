"""How long to tune, as a user writes it, and what of it a log has used up."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.records.rows import row
from tophub_registry.errors import UsageError
from tophub_registry.records.log import write_log
from tophub_registry.records.record import Provenance, Record
from tophub_registry.tuner.limit import Limit

HERE = Provenance(device="this one", threads=2)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("90s", Limit(seconds=90)),
        ("3m", Limit(seconds=180)),
        ("1.5h", Limit(seconds=5400)),
        ("500", Limit(trials=500)),
        (" 3m ", Limit(seconds=180)),
    ],
)
def test_a_time_or_a_number_of_trials(text: str, limit: Limit) -> None:
    assert Limit.parse(text) == limit


@pytest.mark.parametrize("text", ["", "0", "0s", "3 m", "-3m", "3d", "m", "1e9", "nan", "inf", "500.5", "9" * 30])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="neither a time nor a number of trials") as caught:
        Limit.parse(text)
    assert caught.value.remedy == "for example 3m, or 500"


def measured(index: int, *, started: float, after: float, device: str = "this one", threads: int = 2) -> Record:
    fields = row()
    fields["config"]["index"] = index
    fields["result"][3] = started + after
    fields["tophub"] = {"device": device, "threads": threads, "started": started}
    return Record.model_validate_json(Record.model_validate(fields).to_json())


def test_what_was_spent_on_this_device_counts(tmp_path: Path) -> None:
    log = tmp_path / "own.log"
    rows = [
        measured(0, started=1000.0, after=10.0),
        measured(1, started=1000.0, after=40.0),
        measured(2, started=5000.0, after=20.0),
        measured(3, started=9000.0, after=500.0, device="another"),
        measured(4, started=9900.0, after=500.0, threads=1),
    ]
    workloads, target = {rows[0].workload}, rows[0].target
    assert Limit(seconds=100).rest(log, workloads, target, HERE) == Limit(seconds=100)
    write_log(log, rows)
    assert Limit(seconds=100).rest(log, workloads, target, HERE) == Limit(seconds=40, trials=math.inf)
    assert Limit(seconds=62).rest(log, workloads, target, HERE) is None, "two seconds are not worth starting for"
    assert Limit(trials=5).rest(log, workloads, target, HERE) == Limit(trials=2)
    assert Limit(trials=3).rest(log, workloads, target, HERE) is None
    assert Limit(trials=3).rest(log, {"another workload"}, target, HERE) == Limit(trials=3)
