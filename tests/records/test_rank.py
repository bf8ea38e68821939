"""Ranks: kept in the row, said by look-up and `show`, and preferred where costs are about the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.records.rows import record, text
from tophub_registry.cli import main
from tophub_registry.records.log import read_records
from tophub_registry.records.lookup import Source, lookup
from tophub_registry.records.merge import merge_logs
from tophub_registry.records.rank import Rank
from tophub_registry.records.rows import parse_record

HERE = "llvm -mcpu=znver4"


def write(path: Path, *rows: str) -> Path:
    path.write_text("".join(row + "\n" for row in rows))
    return path


def ranked(cost: float, rank: str | None = None, **changes: Any) -> str:
    return text(costs=[cost], tophub={"device": "x"} | ({} if rank is None else {"rank": rank}), **changes)


def test_a_row_without_a_rank_is_claimed_and_stays_as_it_is() -> None:
    for row in (text(), ranked(1e-3), ranked(1e-3, "of a later version")):
        assert parse_record(row).rank is Rank.CLAIMED
        assert parse_record(row).to_json() == row
    assert parse_record(ranked(1e-3, "reproduced")).rank is Rank.REPRODUCED


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        ([ranked(1.000e-3), ranked(1.005e-3, "replayed")], 1.005e-3),
        ([ranked(1.000e-3, "replayed"), ranked(1.005e-3, "reproduced")], 1.005e-3),
        ([ranked(1.000e-3, "replayed"), ranked(1.005e-3, "replayed")], 1.000e-3),
        ([ranked(1.000e-3), ranked(1.100e-3, "reproduced")], 1.000e-3),
    ],
    ids=["replayed", "reproduced", "the same rank", "a clear difference"],
)
def test_look_up_and_merge_prefer_the_higher_rank_unless_the_costs_decide(
    tmp_path: Path, rows: list[str], best: float
) -> None:
    log = write(tmp_path / "some.log", *rows)
    answer = lookup(HERE, record().workload, [Source("some", log)])
    assert answer.record is not None
    assert (answer.record.mean_cost, answer.rank) == (best, answer.record.rank)
    merge_logs(write(tmp_path / "none.log"), [log], tmp_path / "merged.log")
    assert [kept.mean_cost for kept in read_records(tmp_path / "merged.log")] == [best]


def test_a_closer_match_is_preferred_to_a_higher_rank(tmp_path: Path) -> None:
    rows = ranked(1e-3, target=HERE), ranked(1e-3, "reproduced", target="llvm -mcpu=icelake-server")
    answer = lookup(HERE, record().workload, [Source("some", write(tmp_path / "some.log", *rows))])
    assert answer.rank is Rank.CLAIMED


def test_show_says_the_rank(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write(tmp_path / "some.log", ranked(1e-3), ranked(1e-3, "replayed", channels=128))
    for arguments, said in (([], "1 replayed"), (["--best"], "   rank     replayed\n")):
        with pytest.raises(SystemExit):
            main(["show", str(log), *arguments])
        assert said in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["show", str(log), "--json"])
    assert json.loads(capsys.readouterr().out)["groups"][0]["ranks"] == {"replayed": 1, "claimed": 1}
